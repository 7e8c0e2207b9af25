"""`decision-phases repair`, on a small random model."""

import json
import shlex

import pytest

from decision_phases.interventions import Intervention, skip
from decision_phases.models import load
from decision_phases.readout import read
from decision_phases.tasks import questions

SMALL = ("--model", "tiny-llama", "--limit", 20, "--windows", 8, "--window", 32, "--threads", 1)


def test_it_compares_prints_and_keeps(type_in, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(f"Is water number {i} wet? Yes, it is, and fire is hot." for i in range(80)))
    cut = ("--skip", "2-3", "--skip-mlp", 4)
    result = type_in("repair", *SMALL, *cut, "--method", "ghost,diagonal", "--texts", path, "--out", "out")
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "repairs.json").read_text())
    assert [row["method"] for row in kept["rows"]] == ["intact", "nothing", "ghost", "diagonal"]
    assert kept["cut"] == "skip {2, 3} + skip mlp {4}"
    assert kept["command"].startswith("decision-phases repair --model tiny-llama")
    for row in kept["rows"]:
        assert f"accuracy {row['accuracy']:.3f}" in result.stdout
    maps = Intervention.load(tmp_path / "out" / "fitted" / "ghost")
    assert (skip(2, 3) + skip(4, part="mlp") + maps).removed_blocks == (2, 3)
    assert result.stdout.splitlines()[-2] == "folder  out"


def test_what_cannot_be_used_is_said_at_once(type_in):
    nothing = type_in("repair", *SMALL)
    assert nothing.exit_code == 2
    assert "nothing is removed" in nothing.stderr
    unknown = type_in("repair", *SMALL, "--skip", 2, "--method", "goast")
    assert unknown.exit_code == 2
    assert "did you mean 'ghost'" in unknown.stderr
    everything = type_in("repair", *SMALL, "--skip", "0-5")
    assert everything.exit_code == 2
    assert "leaves nothing" in everything.stderr


def test_weights_set_to_zero_are_made_up_for(type_in, tmp_path):
    sparse = ("--skip", 2, "--sparsify", "magnitude:0.5")
    result = type_in("repair", *SMALL, *sparse, "--rank", 3, "--steps", 2, "--out", "out")
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "repairs.json").read_text())
    rows = {row["method"]: row for row in kept["rows"]}
    assert list(rows) == ["intact", "nothing", "lost_components", "learned_components"]
    assert kept["cut"].startswith("skip {2} + magnitude:0.5 {0, 1, 3..5}")
    assert all("rank=3" in rows[name]["fit"]["settings"] for name in list(rows)[2:])
    assert len(rows["learned_components"]["fit"]["losses"]) == 2
    added = Intervention.load(tmp_path / "out" / "fitted" / "lost_components")
    assert {(edit.op, edit.site) for edit in added} == {("add", "head_out"), ("weights", "block")}
    model = load("tiny-llama", quiet=True)
    made = read(
        model, questions("facts").limit(20, 0), under=skip(2) + added
    )  # all that it takes to have it again
    assert made.final.margin.mean() == pytest.approx(rows["lost_components"]["margin"], abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--limit", 1), "1 question was given"),
        (("--template", "nope"), "unknown template 'nope'"),
        (("--model", "tiny-mamba"), "does not show"),
    ],
)
def test_nothing_is_calibrated_before_everything_is_checked(wrong, said, type_in, tmp_path, monkeypatch):
    monkeypatch.setattr("decision_phases.pruning.sparsity.sparse.calibrated", None)
    result = type_in("repair", *SMALL, "--sparsify", "wanda:0.5", *wrong, "--out", "out")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_makes_up_for_one_thing_is_refused_for_another(type_in):
    cut = type_in("repair", *SMALL, "--skip", 2, "--method", "lost_components")
    assert cut.exit_code == 2
    assert "lost_components makes up for weights that are set to zero; give --sparsify too" in cut.stderr
    sparse = type_in("repair", *SMALL, "--sparsify", "wanda:0.5", "--method", "ghost")
    assert sparse.exit_code == 2
    assert "with --sparsify give lost_components or learned_components" in sparse.stderr
    unknown = type_in("repair", *SMALL, "--sparsify", "wonder:0.5")
    assert unknown.exit_code == 2
    assert "did you mean 'wanda'" in unknown.stderr


@pytest.mark.parametrize("job", [("repair", "--skip", 2), ("patch",), ("run",)])
def test_a_folder_that_cannot_be_used_is_refused_before_a_model_is_loaded(
    job, type_in, tmp_path, monkeypatch
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    monkeypatch.setattr("decision_phases.models.load", None)
    result = type_in(*job, "--out", "taken")
    assert result.exit_code == 2
    assert "exists and is not empty" in result.stderr


def test_training_has_its_options_and_goes_on_after_ctrl_c(type_in, tmp_path, monkeypatch):
    from decision_phases.repairs.trained.batches import Rows

    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(f"Is water number {i} wet? Yes, it is, and fire is hot." for i in range(120)))
    words = [
        "repair",
        *SMALL[:4],
        "--windows",
        40,
        "--window",
        32,
        "--threads",
        1,
        "--skip",
        "2",
        "--texts",
        path,
    ]
    words += ["--method", "lora_distil,bottleneck", "--steps", 3, "--rank", 2, "--lr", 0.01]
    words += ["--autocast", "bfloat16"]
    real, calls = Rows.of, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "of", stopping)
        stopped = type_in(*words, "--out", "out")
    assert stopped.exit_code == 130
    assert "lora_distil was stopped after 2 of 3 steps" in stopped.stderr
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("continue with: ")]
    typed = shlex.split(line.removeprefix("continue with: "))
    assert typed == ["decision-phases", *map(str, words), "--out", "out", "--resume"]
    result = type_in(*typed[1:])
    assert result.exit_code == 0, result.output
    rows = {row["method"]: row for row in json.loads((tmp_path / "out" / "repairs.json").read_text())["rows"]}
    assert len(rows["lora_distil"]["fit"]["losses"]) == 3
    assert "rank=2" in rows["lora_distil"]["fit"]["settings"]
    assert "autocast='bfloat16'" in rows["lora_distil"]["fit"]["settings"]
    assert "steps=3" in rows["bottleneck"]["fit"]["settings"]
    assert "rate=0.01" in rows["bottleneck"]["fit"]["settings"]
    assert [edit.op for edit in Intervention.load(tmp_path / "out" / "fitted" / "lora_distil")] == [
        "weights"
    ] * 4


def test_options_of_training_are_refused_where_nothing_is_trained(type_in):
    useless = type_in("repair", *SMALL, "--skip", 2, "--method", "ghost,bottleneck", "--rank", 4)
    assert useless.exit_code == 2
    assert (
        "--rank is of no use to ghost, bottleneck; it is for what is trained, such as --method lora"
        in useless.stderr
    )
