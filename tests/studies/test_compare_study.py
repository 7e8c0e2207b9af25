"""The folder that a comparison leaves: complete, resumable, told in the report."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from decision_phases.errors import InputError
from decision_phases.pruning import prune
from decision_phases.report import write_figures, write_report
from decision_phases.studies import RunSettings, run_study
from decision_phases.studies import run as run_module
from decision_phases.tasks import questions

NAMES = ("margin:beam", "cosine_mlp", "random_mlp", "random", "deepest")
SETTINGS = RunSettings(
    limit=40, split=0.5, strategies=NAMES, up_to=2, draws=2, last_blocks=0, splits=2, width=2, compare=True,
    evaluate=("self_margin", "kl"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "whole"
    return run_study(tiny, SETTINGS, out=out, command="decision-phases compare", progress=False)


@pytest.fixture(scope="module")
def by_hand(tiny):
    return prune(
        tiny, questions("facts").limit(40, 0), by=list(NAMES), controls=False, up_to=2, draws=2, splits=2, width=2,
        evaluate=["self_margin", "kl"],
    )  # fmt: skip


def comparison_of(folder):
    return json.loads((folder / "comparison.json").read_text("utf-8"))


def test_the_folder_holds_everything(folder):
    kept = {path for path in folder.rglob("*") if path.is_file() and "results" not in path.parts}
    files = [f"pruning/{where}{name.replace(':', '-')}.json" for where in ("", "split-1/") for name in NAMES]
    assert {path.relative_to(folder).as_posix() for path in kept} == {
        "manifest.json", "summary.json", "decisions.parquet", "pictures.json", "pruning.parquet", "comparison.json",
        "comparison.parquet", *files,
    }  # fmt: skip
    assert json.loads((folder / "manifest.json").read_text())["complete"] is True


def test_the_numbers_are_those_of_pruning_by_hand(folder, by_hand):
    content = comparison_of(folder)
    table = by_hand.summary()
    assert [row["strategy"] for row in content["strategies"]] == list(NAMES) == table["strategy"].tolist()
    for name in ("area", "difference", "p_holm", "area_split_mean", "parameters"):
        found = [np.nan if row[name] is None else row[name] for row in content["strategies"]]
        np.testing.assert_allclose(found, table[name].to_numpy(dtype=float), atol=1e-9)
    assert (content["splits"], content["unit"], content["n_search"]) == (2, "unit", 20)
    steps = pd.read_parquet(folder / "comparison.parquet")
    pd.testing.assert_frame_equal(steps, by_hand.by_step(), check_dtype=False)
    rows = pd.read_parquet(folder / "pruning.parquet")
    assert rows["split"].unique().tolist() == [0, 1]
    np.testing.assert_allclose(rows["kl"], by_hand.to_pandas()["kl"], atol=1e-7)


@pytest.mark.usefixtures("blank_figures")
def test_report_and_figures_tell_it(folder):
    page = write_report(folder).read_text("utf-8")
    assert 'id="comparison"' in page
    assert "Accuracy against units removed" in page
    assert "random cuts" in page
    assert "Area over 2 splits" in page
    assert "p of luck" in page
    assert "Lead over margin:beam" in page
    names = {path.name for path in write_figures(folder)}
    assert {"comparison.png", "pruning_curves.png", "transition_path_margin-beam.png"} <= names


def test_an_interrupted_comparison_goes_on_where_it_was(tiny, folder, tmp_path, monkeypatch):
    real, ran = run_module.prune_one, []

    def stop(setting, name, **rest):
        if len(ran) == 7:  # in the second split
            raise KeyboardInterrupt
        ran.append(name)
        return real(setting, name, **rest)

    out = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "prune_one", stop)
        with pytest.raises(KeyboardInterrupt):
            run_study(tiny, SETTINGS, out=out, progress=False)
    assert not (out / "comparison.json").exists()
    assert write_report(out).exists()  # what there is can be shown
    ran.clear()
    monkeypatch.setattr(
        run_module, "prune_one", lambda setting, name, **rest: ran.append(name) or real(setting, name, **rest)
    )
    run_study(tiny, SETTINGS, out=out, resume=True, progress=False)
    assert ran == list(NAMES[2:])
    assert comparison_of(out) == comparison_of(folder)


def test_a_run_without_comparison_writes_none(tiny, tmp_path):
    plain = replace(SETTINGS, strategies=("deepest",), compare=False, splits=1, evaluate=(), up_to=1)
    out = run_study(tiny, plain, out=tmp_path / "plain", progress=False)
    assert not (out / "comparison.json").exists()
    assert "split" not in pd.read_parquet(out / "pruning.parquet")
    assert 'id="comparison"' not in write_report(out).read_text("utf-8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategies": ("perplexity:beam",)}, "needs texts"),
        ({"splits": 2, "split": None}, "splits=2 with split=None"),
        ({"up_to": "0.3"}, "is no budget"),
        ({"up_to": "90%"}, "90% of the parameters cannot be removed"),
        ({"timing": "big"}, "is no shape"),
        ({"evaluate": ("perplexity",)}, "evaluate='perplexity' needs texts"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_folder(tiny, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run_study(tiny, replace(SETTINGS, **settings), out=tmp_path / "x", progress=False)
    assert not (tmp_path / "x").exists()
