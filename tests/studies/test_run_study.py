"""The folder that a run leaves: complete, resumable, never overwritten, equal however it came about."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import insert, skip
from decision_phases.pruning import prune
from decision_phases.readout import find_phases, read
from decision_phases.report import write_figures, write_report
from decision_phases.studies import RunSettings, run_study
from decision_phases.studies import run as run_module
from decision_phases.tasks import questions

STRATEGIES = ("margin", "random", "within_silent", "deepest")
SETTINGS = RunSettings(limit=40, split=0.4, strategies=STRATEGIES, up_to=2, draws=2, last_blocks=1)


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)


def refuse(text):
    raise AssertionError(f"{text} in JSON")


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "whole"
    return run_study(tiny, SETTINGS, out=out, command="decision-phases run --limit 40", progress=False)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(f"Is water number {i} wet? Yes, it is." for i in range(12)))
    return path


def test_a_text_that_is_another_by_now_is_another_run(tiny, texts, tmp_path):
    settings = replace(SETTINGS, strategies=("kl:greedy",), texts=str(texts), up_to=1)
    run_study(tiny, settings, out=tmp_path / "run", progress=False)
    run_study(tiny, settings, out=tmp_path / "run", resume=True, progress=False)
    texts.write_text("\n\n".join(f"No fire of {i} is cold, or is it?" for i in range(12)))
    with pytest.raises(InputError, match="texts_hash"):
        run_study(tiny, settings, out=tmp_path / "run", resume=True, progress=False)


def test_texts_are_looked_at_before_anything_runs(tiny, texts, tmp_path):
    texts.write_text("Is water wet? Yes, it is.\n\na")
    with pytest.raises(InputError, match="no token to predict"):
        run_study(
            tiny,
            replace(SETTINGS, evaluate=("perplexity",), texts=str(texts)),
            out=tmp_path / "run",
            progress=False,
        )
    assert not (tmp_path / "run").exists()


def test_the_folder_holds_everything(folder):
    kept = {path for path in folder.rglob("*") if path.is_file() and "results" not in path.parts}
    names = {path.relative_to(folder).as_posix() for path in kept}
    assert [path.name for path in (folder / "results").iterdir() if path.is_file()] == ["index.sqlite"]
    assert list((folder / "results").glob("arrays/*/*.parquet"))
    assert names == {
        "manifest.json",
        "summary.json",
        "decisions.parquet",
        "pruning.parquet",
        "pictures.json",
        *(f"pruning/{name}.json" for name in STRATEGIES),
    }


def test_no_json_holds_what_json_does_not_know(folder):
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_summary_has_what_is_promised(folder, tiny):
    summary = summary_of(folder)
    promised = {
        "model", "questions", "scoring", "n_questions", "n_layers", "margin", "accuracy", "option_frequency",
        "transition", "phases", "pruning",
    }  # fmt: skip
    assert promised <= set(summary)
    assert {"layer", "ci_low", "ci_high", "method"} <= set(summary["transition"])
    assert summary["n_layers"] == len(summary["margin"]) == len(summary["accuracy"]) == 6
    assert summary["n_questions"] == 24
    assert summary["scoring"] == "first_token"
    assert summary["option_frequency"] is None
    assert "do not share one closed set" in summary["option_frequency_reason"]
    assert summary["command"] == "decision-phases run --limit 40"
    assert summary["questions"]["n_search"] == 16
    assert summary["questions"]["n_evaluation"] == 24
    assert summary["model"]["fingerprint"] == tiny.fingerprint
    assert list(summary["pruning"]) == ["margin", "random", "deepest"]
    for rows in summary["pruning"].values():
        assert all({"step", "removed", "cut", "seed", "margin", "accuracy"} <= set(row) for row in rows)
        intact = [row for row in rows if row["step"] == 0]
        assert intact
        for row in intact:
            assert (row["removed"], row["cut"]) == (None, [])
            assert row["accuracy"] == summary["final"]["accuracy"]
            assert row["margin"] == summary["final"]["margin"]


def test_the_numbers_are_those_of_reading_and_pruning_by_hand(folder, tiny):
    summary = summary_of(folder)
    chosen = questions("facts").limit(40, 0)
    _, evaluation = chosen.split(0.4, 0)
    decisions = read(tiny, evaluation)
    np.testing.assert_allclose(summary["margin"], decisions.margin.mean(axis=0), atol=1e-9)
    assert summary["accuracy"] == decisions.accuracy.tolist()
    assert summary["transition"]["p_value"] == find_phases(decisions).p_value
    curves = prune(tiny, chosen, by=["margin", "random", "deepest"], split=0.4, up_to=2, draws=2)
    for name, rows in curves.to_dict().items():
        assert [row["cut"] for row in summary["pruning"][name]] == [row["cut"] for row in rows]
        assert [row["accuracy"] for row in summary["pruning"][name]] == [row["accuracy"] for row in rows]


def test_the_table_of_pruning_has_the_columns_of_the_summary_and_the_strategy(folder):
    table, summary = pd.read_parquet(folder / "pruning.parquet"), summary_of(folder)
    assert {"strategy", "step", "removed", "cut", "seed", "margin", "accuracy"} <= set(table)
    rows = [(name, row["step"], row["accuracy"]) for name, own in summary["pruning"].items() for row in own]
    assert list(zip(table["strategy"], table["step"], table["accuracy"], strict=True)) == rows


def test_what_was_not_applicable_is_said_with_its_reason(folder):
    summary = summary_of(folder)
    assert summary["transition"]["layer"] is None
    assert summary["phases"] is None
    assert list(summary["not_applicable"]) == ["within_silent"]
    assert "no phases to target" in summary["not_applicable"]["within_silent"]


def test_option_frequency_is_there_where_a_category_shares_its_options(folder, tiny):
    summary = summary_of(folder)
    _, evaluation = questions("facts").limit(40, 0).split(0.4, 0)
    closed = {c for c in evaluation.categories if evaluation.closed_options(c) is not None}
    assert set(summary["option_frequency_by_category"]) == closed
    assert closed
    decisions = read(tiny, evaluation)
    for category, entry in summary["option_frequency_by_category"].items():
        table = decisions.option_frequency(category)
        assert entry["options"] == list(table)
        np.testing.assert_allclose(entry["values"], table.drop(index="gold"))
        np.testing.assert_allclose(entry["gold"], table.loc["gold"])
        distance = np.abs(table.drop(index="gold") - table.loc["gold"]).sum(axis=1) / 2
        np.testing.assert_allclose(entry["distance_from_gold"], distance)
        assert all(0 <= value <= 1 for value in entry["entropy"])


def test_the_manifest_is_complete(folder, tiny):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["seconds"] > 0
    assert manifest["model_fingerprint"] == tiny.fingerprint
    assert manifest["question_hash"] == questions("facts").limit(40, 0).content_hash
    assert manifest["arguments"]["strategies"] == list(STRATEGIES)
    assert manifest["arguments"]["up_to"] == 2


@pytest.mark.usefixtures("blank_figures")
def test_the_report_can_be_written_from_it(folder):
    assert write_report(folder).stat().st_size > 10_000
    assert len(write_figures(folder)) >= 3


def test_a_run_is_never_overwritten(folder, tiny):
    before = (folder / "summary.json").read_bytes()
    with pytest.raises(InputError, match="exists and is not empty"):
        run_study(tiny, SETTINGS, out=folder, progress=False)
    assert (folder / "summary.json").read_bytes() == before


def interrupted(tiny, out, monkeypatch, after, settings=SETTINGS):
    """Ctrl-C in the strategy after the first `after`."""
    real, ran = run_module.prune_one, []

    def stop(setting, name, **rest):
        if len(ran) == after:
            raise KeyboardInterrupt
        ran.append(name)
        return real(setting, name, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "prune_one", stop)
        with pytest.raises(KeyboardInterrupt):
            run_study(tiny, settings, out=out, command="decision-phases run --limit 40", progress=False)
    return ran


def test_an_interrupted_run_is_a_usable_folder(tiny, tmp_path, monkeypatch):
    interrupted(tiny, tmp_path / "x", monkeypatch, 2)
    summary = summary_of(tmp_path / "x")
    assert list(summary["pruning"]) == ["margin", "random"]
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert manifest["seconds"] > 0
    assert "Partial run." in write_report(tmp_path / "x").read_text(encoding="utf-8")


def test_resuming_gives_what_an_uninterrupted_run_gives(tiny, tmp_path, monkeypatch, folder):
    out = tmp_path / "x"
    assert interrupted(tiny, out, monkeypatch, 2) == ["margin", "random"]
    started = json.loads((out / "manifest.json").read_text())["started"]
    real, ran = run_module.prune_one, []

    def watch(setting, name, **rest):
        ran.append(name)
        return real(setting, name, **rest)

    monkeypatch.setattr(run_module, "prune_one", watch)
    run_study(tiny, SETTINGS, out=out, resume=True, command="decision-phases run --resume", progress=False)
    assert ran == ["within_silent", "deepest"]
    assert summary_of(out) == summary_of(folder)
    for name in ("decisions.parquet", "pruning.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(out / name), pd.read_parquet(folder / name))
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["complete"], manifest["started"]) == (True, started)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"up_to": 3}, r"other arguments: up_to \(2 then, 3 now\)"),
        ({"seed": 1}, "question hash|seed"),
        ({"strategies": ("margin",)}, "strategies"),
        ({"limit": 41}, "question hash"),
    ],
)
def test_a_run_with_other_arguments_is_not_resumed(tiny, folder, changes, message):
    before = (folder / "summary.json").read_bytes()
    with pytest.raises(InputError, match=message):
        run_study(tiny, replace(SETTINGS, **changes), out=folder, resume=True, progress=False)
    assert (folder / "summary.json").read_bytes() == before


def test_another_intervention_is_another_run():
    one, two = replace(SETTINGS, under=skip(2)), replace(SETTINGS, under=skip(3))
    assert one.arguments() != two.arguments()
    alike = [replace(SETTINGS, under=insert(2, np.eye(32) * value)) for value in (1.0, 2.0)]
    assert str(alike[0].under) == str(alike[1].under)
    assert alike[0].arguments() != alike[1].arguments()
    json.dumps(one.arguments(), allow_nan=False)


def test_reading_only_uses_every_question_and_says_so(tiny, tmp_path):
    settings = replace(SETTINGS, strategies=(), under=skip(2))
    out = run_study(tiny, settings, out=tmp_path / "read", progress=False)
    summary = summary_of(out)
    assert summary["n_questions"] == 40
    assert summary["questions"]["split"] is None
    assert summary["questions"]["n_search"] == 0
    assert summary["pruning"] == {}
    assert summary["margin"][2] is None
    assert summary["margin_ci"][2] == [None, None]
    assert summary["survivors"] == [0, 1, 3, 4, 5]
    assert not (out / "pruning.parquet").exists()
    assert write_report(out).exists()


def test_one_set_for_choosing_and_measuring_is_said(tiny, tmp_path):
    settings = replace(SETTINGS, split=None, strategies=("margin",), up_to=1)
    summary = summary_of(run_study(tiny, settings, out=tmp_path / "x", progress=False))
    assert summary["questions"]["split"] is None
    assert summary["questions"]["n_search"] == summary["questions"]["n_evaluation"] == 40
    text = " ".join(summary["caveats"])
    assert "One and the same set of questions was used throughout" in text
    assert "searched curves are optimistic" in text


def test_a_strategy_named_twice_is_run_once(tiny, tmp_path):
    settings = replace(SETTINGS, strategies=("deepest", "deepest"), up_to=1)
    summary = summary_of(run_study(tiny, settings, out=tmp_path / "x", progress=False))
    assert [row["step"] for row in summary["pruning"]["deepest"]] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ("margins",)}, "margin"),
        ({"up_to": 5}, r"5 blocks cannot be removed: 4 of 6 are not protected.*1\.\.4"),
        ({"up_to": 0}, "0 blocks"),
        ({"protect": (9,)}, "9"),
        ({"draws": 0}, "0 random draws"),
        ({"under": skip(2)}, "pruning starts from the intact model"),
        ({"split": 1.0}, "split 1.0"),
        ({"questions": "fact"}, "fact"),
        ({"scoring": "first_tokn"}, "first_token"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(tiny, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run_study(tiny, replace(SETTINGS, **changes), out=tmp_path / "x", progress=False)
    assert not (tmp_path / "x").exists()


def test_a_damaged_step_file_is_named(tiny, tmp_path, monkeypatch):
    out = tmp_path / "x"
    interrupted(tiny, out, monkeypatch, 1)
    (out / "pruning" / "margin.json").write_text("[{")
    with pytest.raises(InputError, match=r"margin\.json is damaged.*remove it"):
        run_study(tiny, SETTINGS, out=out, resume=True, progress=False)


def test_quick_settings_only_shrink():
    assert RunSettings().quick().limit == 40
    small = RunSettings(limit=10, up_to=1, draws=1)
    assert small.quick() == small
    assert RunSettings(limit=None).quick().limit == 40


def test_every_number_of_the_table_of_decisions_is_finite(folder):
    table = pd.read_parquet(folder / "decisions.parquet")
    assert len(table) == 24 * 6
    for name in ("margin", "excess_margin", "logit_margin", "p_gold"):
        assert all(math.isfinite(value) for value in table[name])
