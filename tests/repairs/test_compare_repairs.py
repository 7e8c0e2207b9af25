"""The table of repairs says what each of its models says by itself."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.readout import ask, find_phases, perplexity, read
from decision_phases.readout.perplexity import Perplexity
from decision_phases.repairs import RepairComparison, RepairRow, compare_repairs, repair
from decision_phases.stats import paired_difference, resample_weights
from decision_phases.studies.repairing import run_repairs
from decision_phases.tasks import TextSet, questions
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
SMALL = {"texts": TEXTS, "window": 32, "limit": 16, "held_out": 8}
CUT = skip(1, 2, 4)


@pytest.fixture(scope="module")
def some():
    return questions("facts").limit(30, 0)


@pytest.fixture(scope="module")
def compared(tiny, some):
    return compare_repairs(tiny, CUT, methods=["mean_bias", "ghost"], questions=some, **SMALL)


def row(method, correct, margins, nll, tokens):
    ppl = Perplexity(np.array(nll, float), np.array(tokens), 8, 8, False, "texts", Intervention(), "model")
    return RepairRow(
        method, Intervention(), np.array(correct, bool), np.array(margins, float), ppl, None, None, "no transition",
        None if method in ("intact", "nothing") else repair("tiny-llama", skip(2), method="diagonal", texts=TEXTS),
    )  # fmt: skip


def test_every_row_is_what_its_model_says_by_itself(compared, tiny, some):
    assert [r.method for r in compared.rows] == ["intact", "nothing", "mean_bias", "ghost"]
    assert compared.methods == ("mean_bias", "ghost")
    maps = {
        name: repair(tiny, CUT, method=name, texts=TEXTS, window=32, limit=16) for name in compared.methods
    }
    unders = {"intact": Intervention(), "nothing": CUT} | {name: CUT + found for name, found in maps.items()}
    for found in compared.rows:
        alone = read(tiny, some, under=unders[found.method])
        assert found.under == unders[found.method]
        np.testing.assert_array_equal(found.correct, alone.final.correct)
        np.testing.assert_allclose(found.margins, alone.final.margin, atol=1e-5)
        ppl = perplexity(tiny, TEXTS.evaluation, window=32, limit=8, under=unders[found.method])
        np.testing.assert_allclose(found.perplexity.log_value, ppl.log_value, rtol=1e-6)
        assert found.transition == find_phases(alone, n_boot=500, n_perm=1000).transition
    assert [r.fit and r.fit.parameters_added for r in compared.rows] == [None, None, 2 * 32, 2 * 32 * 32]


def test_the_table_has_gains_and_shares_with_intervals(compared):
    table = compared.to_pandas().set_index("method")
    ghost = compared.of("ghost")
    gain = paired_difference(ghost.margins, compared.of("nothing").margins, seed=0)
    assert table.loc["ghost", "margin_gain"] == gain.difference
    assert table.loc["ghost", "margin_gain_low"] == gain.low
    assert table.loc["ghost", "margin_gain_p"] >= gain.p_value
    assert np.isnan(table.loc["intact", "margin_gain"])
    for name in ("accuracy", "margin", "log_perplexity"):
        shares = table.loc[
            ["mean_bias", "ghost"], [f"recovered_{name}{end}" for end in ("_low", "", "_high")]
        ]
        known = shares.dropna().to_numpy()
        assert (np.diff(known, axis=1) >= 0).all()


def test_it_prints_plots_and_is_json(compared):
    assert "ghost" in str(compared)
    assert len(compared.plot().axes) == 2
    again = json.loads(json.dumps(compared.to_dict(), allow_nan=False))
    assert again["rows"][3]["fit"]["method"] == "ghost"
    assert again["cut"] == "skip {1, 2, 4}"
    assert "<table" in compared._repr_html_()


def test_a_share_of_what_was_lost():
    intact = row("intact", [1] * 20, [1.0] * 20, [10.0, 10.0], [10, 10])
    cut = row("nothing", [1] * 10 + [0] * 10, [0.0] * 20, [20.0, 20.0], [10, 10])
    half = row("half", [1] * 15 + [0] * 5, [0.5] * 20, [15.0, 15.0], [10, 10])
    worse = row("worse", [0] * 20, [-1.0] * 20, [30.0, 30.0], [10, 10])
    table = RepairComparison((intact, cut, half, worse), skip(2), "model", "questions", 0.25, 0)
    assert table.recovered("half").share == 0.5
    assert table.recovered("half").low < 0.5 < table.recovered("half").high
    assert table.recovered("half", "margin") == table.recovered("half", "log_perplexity")
    assert (table.recovered("half", "margin").low, table.recovered("half", "margin").high) == (0.5, 0.5)
    assert table.recovered("worse").share == table.recovered("worse", "margin").share == -1.0
    for of in ("accuracy", "margin", "log_perplexity"):
        assert (table.recovered("intact", of).share, table.recovered("nothing", of).share) == (1.0, 0.0)
    assert table.to_pandas().set_index("method").loc["half", "recovered_log_perplexity"] == 0.5
    assert table.gain("half").difference == 0.25
    assert table.gain("half", "log_perplexity").difference == 0.5


def test_a_share_of_nothing_is_not_testable():
    intact = row("intact", [1] * 10 + [0] * 10, [0.1, -0.1] * 10, [20.0, 20.0], [10, 10])
    cut = row("nothing", [1] * 10 + [0] * 10, [0.1, -0.1] * 10, [20.0, 20.0], [10, 10])
    ghost = row("ghost", [1] * 20, [1.0] * 20, [10.0, 10.0], [10, 10])
    table = RepairComparison((intact, cut, ghost), skip(2), "model", "questions", 0.25, 0)
    for of in ("accuracy", "margin", "log_perplexity"):
        assert np.isnan(table.recovered("ghost", of).share)
    assert " back " not in str(table).splitlines()[3]


def test_a_share_has_an_interval_where_a_few_resamples_lose_nothing():
    """Few questions are lost, so that some resamples lose and gain nothing: 0 / 0 says nothing about the others."""
    intact = row("intact", [1] * 60, [1.0] * 60, [10.0, 10.0], [10, 10])
    cut = row("nothing", [1] * 55 + [0] * 5, [0.5] * 60, [20.0, 20.0], [10, 10])
    ghost = row("ghost", [1] * 56 + [0] * 4, [1.0] * 60, [10.0, 10.0], [10, 10])
    found = RepairComparison((intact, cut, ghost), skip(2), "model", "questions", 0.25, 0).recovered("ghost")
    assert found.share == pytest.approx(0.2)
    assert 0.0 == found.low < 0.2 < found.high < 1.0
    weights = resample_weights(60, 2000, seed=0)
    lost = weights @ (intact.correct.astype(float) - cut.correct)
    shares = (weights @ (ghost.correct.astype(float) - cut.correct))[lost > 0] / lost[lost > 0]
    assert len(shares) < 2000
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))


def test_the_table_says_what_a_repair_takes_and_when_the_transition_comes(compared):
    table = compared.to_pandas().set_index("method")
    gain = compared.gain("ghost", "log_perplexity")
    assert table.loc["ghost", "log_perplexity_gain"] == gain.difference
    assert table.loc["ghost", "log_perplexity_gain_p"] >= gain.p_value
    for found in compared.rows:
        ends = table.loc[found.method, ["transition_low", "transition_high"]]
        assert ends.isna().all() if found.transition_ci is None else tuple(ends) == found.transition_ci
    assert f"{2 * 32 * 32} parameters trained, {2 * 32 * 32} added in" in str(compared).splitlines()[-2]


def test_an_infinite_perplexity_has_no_gain(compared):
    first, cut, mean, ghost = compared.rows
    broken = replace(mean, perplexity=replace(mean.perplexity, nll=np.full_like(mean.perplexity.nll, np.inf)))
    table = replace(compared, rows=(first, cut, broken, ghost)).to_pandas().set_index("method")
    assert np.isnan(table.loc["mean_bias", "log_perplexity_gain"])
    assert np.isnan(table.loc["mean_bias", "log_perplexity_gain_p"])
    assert np.isfinite(table.loc["ghost", "log_perplexity_gain_p"])


def test_ghost_gives_back_what_a_linear_block_did(some):
    """A block whose MLP is switched off and whose attention copies every token onto itself is a linear map of x̂."""
    hf = tiny_hf("llama")
    with torch.no_grad():
        hf.model.layers[3].self_attn.o_proj.weight.zero_()
        hf.model.layers[3].mlp.down_proj.weight.zero_()
    idle = load(hf, tokenizer=tiny_tokenizer(), consume=True, quiet=True)
    table = compare_repairs(idle, skip(3), methods=["ghost"], questions=some, **SMALL)
    margins = [found.margins for found in table.rows]
    np.testing.assert_allclose(margins[1], margins[0], atol=1e-6)
    np.testing.assert_allclose(margins[2], margins[0], atol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": []}, "give at least one"),
        ({"methods": ["ghost", "ghost"]}, "each with its own name"),
        ({"methods": ["goast"]}, "did you mean"),
        ({"texts": TEXTS.fit}, "give the whole set"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(given, message, tiny, some, monkeypatch):
    monkeypatch.setattr("decision_phases.repairs.compare.fit_all", None)
    with pytest.raises(InputError, match=message):
        compare_repairs(tiny, CUT, questions=some, **SMALL | given)


def test_the_seed_draws_solved_examples_too(tiny, some):
    found = compare_repairs(
        tiny, CUT, methods=["mean_bias"], questions=some, **SMALL | {"seed": 7, "shots": 2}
    )
    own, other = (read(tiny, ask(tiny, some, shots=2, seed=seed)).final.margin for seed in (7, 0))
    np.testing.assert_allclose(found.rows[0].margins, own, atol=1e-6)
    assert np.abs(own - other).max() > 1e-4


def test_a_name_that_was_not_compared(compared):
    with pytest.raises(InputError, match="did you mean 'ghost'"):
        compared.of("goast")


def test_the_folder_of_a_comparison(tiny, some, tmp_path, monkeypatch):
    from decision_phases.studies.repairing import run_repairs

    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS.documents))
    settings = {"methods": ["diagonal"], "texts": str(path), "window": 32, "limit": 16, "held_out": 8}
    settings |= {"out": tmp_path / "out", "progress": False}
    folder, found = run_repairs(tiny, CUT, some, **settings)
    assert json.loads((folder / "manifest.json").read_text())["complete"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "repairs.parquet").drop(columns="seconds"),
        found.to_pandas().drop(columns="seconds"), check_dtype=False,
    )  # fmt: skip
    assert json.loads((folder / "repairs.json").read_text())["rows"][2]["method"] == "diagonal"
    assert (folder / "figures" / "repairs.png").stat().st_size > 0
    assert Intervention.load(folder / "fitted" / "diagonal") == found.of("diagonal").repair
    with pytest.raises(InputError, match="not empty"):
        run_repairs(tiny, CUT, some, **settings)
    with pytest.raises(InputError, match="needs at least 32 tokens"):
        run_repairs(
            tiny,
            CUT,
            some,
            **settings | {"methods": ["ghost"], "limit": 1, "window": 8, "out": tmp_path / "no"},
        )
    assert not (tmp_path / "no").exists()
    with pytest.raises(InputError, match="other arguments"):
        run_repairs(tiny, CUT, some, **settings | {"seed": 1}, resume=True)
    # Nothing that was measured is measured again.
    monkeypatch.setattr(sys.modules["decision_phases.engine.evaluate"], "walk_all", None)
    monkeypatch.setattr(
        "decision_phases.repairs.compare.fit_all", lambda *_, **__: (found.of("diagonal").repair,)
    )
    _, again = run_repairs(tiny, CUT, some, **settings, resume=True)
    np.testing.assert_array_equal(again.of("diagonal").margins, found.of("diagonal").margins)


def test_one_question_is_refused_before_anything_is_fitted(tiny, tmp_path, monkeypatch):
    """Nothing can be compared on it, and no transition be told from chance."""
    monkeypatch.setattr("decision_phases.repairs.dispatch.fit_maps", None)
    with pytest.raises(InputError, match="1 question was given; give at least 2"):
        compare_repairs(tiny, skip(2), methods=["ghost"], questions=questions("facts").limit(1, 0), limit=8)
    with pytest.raises(InputError, match="1 question was given; give at least 2"):
        run_repairs(tiny, skip(2), questions("facts").limit(1, 0), methods=["ghost"], out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
