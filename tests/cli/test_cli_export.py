"""`decision-phases export`, on a small random model."""

import numpy as np
import pytest

from decision_phases.exports.check import check
from decision_phases.interventions import insert, skip
from decision_phases.models import load


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr("decision_phases.exports.reload.in_fresh_process", check)


def test_it_saves_a_cut_and_says_so(type_in, tmp_path, quickly):
    result = type_in("export", "short", "--model", "tiny-llama", "--skip", "1-2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("saved short: a plain transformers model of 4 blocks")
    assert load(tmp_path / "short", quiet=True).n_layers == 4


def test_maps_come_from_a_folder(type_in, tmp_path, quickly):
    maps = insert(1, np.eye(32))
    maps.save(tmp_path / "maps")
    result = type_in("export", "healed", "--model", "tiny-llama", "--skip", 1, "--maps", "maps")
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "healed", quiet=True).intervention == skip(1) + maps


def test_weights_are_set_to_zero_on_the_way(type_in, tmp_path, quickly):
    words = ("export", "sparse", "--model", "tiny-gpt2", "--skip", "1-2", "--sparsify", "magnitude:0.5")
    result = type_in(*words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("saved sparse: a plain transformers model of 4 blocks")
    kept = load(tmp_path / "sparse", quiet=True).parameters(0)["attn.q.weight"]
    assert (kept == 0).float().mean() == 0.5
    refused = type_in("export", "other", "--model", "no-such-model", "--sparsify", "wanda:0.5")
    assert refused.exit_code == 2
    assert "texts" in refused.stderr
    useless = type_in("export", "other", "--skip", 1, "--texts", "pydoc")
    assert useless.exit_code == 2
    assert "give --sparsify too" in useless.stderr


def test_what_cannot_be_saved_is_said(type_in, tmp_path):
    assert "nothing is changed" in type_in("export", "short", "--model", "tiny-llama").stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    refused = type_in("export", "full", "--model", "tiny-llama", "--skip", 1)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr
    early = type_in("export", "full", "--model", "no-such-model", "--skip", 1)
    assert "exists already" in early.stderr
