"""The pages of papers say what the experiments found, and nothing is written by hand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def modules(monkeypatch):
    """The modules of experiments/, found beside each other and forgotten afterwards."""
    import importlib
    import sys

    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    yield {name: importlib.import_module(name) for name in ("claims", "judges", "papers", "pages")}
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(ROOT / "experiments")):
            del sys.modules[name]


def test_pages_are_those_of_the_results(modules):
    for path, text in modules["pages"].written(ROOT / "docs" / "papers").items():
        assert path.read_text("utf-8") == text, f"{path.name}: run experiments/pages.py"


def test_every_paper_has_a_page_and_every_page_a_paper(modules):
    pages = {path.stem for path in (ROOT / "docs" / "papers").glob("*.md")} - {"index"}
    assert pages == {paper.page for paper in modules["papers"].PAPERS}
    for paper in modules["papers"].PAPERS:
        text = (ROOT / "docs" / "papers" / f"{paper.page}.md").read_text("utf-8")
        assert f"arXiv {paper.arxiv}" in text


def test_every_claim_can_be_tested_or_says_why_not(modules):
    for paper in modules["papers"].PAPERS:
        assert paper.claims
        for claim in paper.claims:
            ways = [bool(claim.experiment and claim.judge), bool(claim.command), bool(claim.why)]
            assert sum(ways) == 1, claim.says
            if claim.experiment:
                assert (ROOT / "experiments" / claim.experiment.partition("/")[0] / "run.py").is_file()


def test_an_experiment_that_was_not_run_is_told_so(modules, monkeypatch):
    pages = modules["pages"]
    monkeypatch.setattr(pages, "results", lambda _: None)
    paper = modules["papers"].PAPERS[0]
    tables = re.findall(r"\*\*(.+?)\*\*", pages.claims_of(paper))
    assert set(tables) == {"not run yet", "not testable here"}


# -- verdicts follow numbers -----------------------------------------------------------------------------------------


def test_a_tally(modules):
    tally = modules["judges"].tally
    assert [tally(*counts) for counts in ((3, 0, 3), (1, 0, 3), (0, 2, 3), (1, 1, 3), (0, 0, 3), (0, 0, 0))] == [
        "holds here", "holds here in part", "fails here", "depends on what is compared", "cannot be told",
        "not testable here",
    ]  # fmt: skip


@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds here"), (-1, "fails here"), (0, "cannot be told")])
def test_comparisons_of_phases(modules, sign, verdict):
    pair = {
        "comparison": "decisive - silent",
        "low": sign - 0.5,
        "high": sign + 0.5,
        "p_holm": 0.5 - 0.49 * abs(sign),
    }
    found = modules["judges"].cheaper_decisive({"comparisons": [pair, {**pair, "comparison": "other"}]})
    assert found[1] == verdict
    assert "of 1 comparisons" in found[0]


def test_a_transition_with_and_without_spurious_ones(modules):
    judge = modules["judges"].one_transition
    overall = {
        "transition": {"layer": 3, "ci_low": 2, "ci_high": 4},
        "n_layers": 6,
        "width": 1.5,
        "outcome": "transition",
    }
    controls = {
        "shuffled_labels": {"transitions": 0, "n": 20},
        "random_models": [{"outcome": "no transition"}],
    }
    told, verdict = judge({"overall": overall, "controls": controls})
    assert verdict == "holds here"
    assert "layer 3 of 6 (95% interval 2 to 4), 10–90 width of the rise 1.5 layers" in told
    controls["shuffled_labels"]["transitions"] = 1
    assert judge({"overall": overall, "controls": controls})[1] == "holds here in part"
    overall |= {"transition": {"layer": None}, "outcome": "no transition"}
    assert judge({"overall": overall, "controls": controls})[1] == "fails here"


def test_a_theorem_that_is_close_in_part(modules):
    judge = modules["judges"].theorem("theorem_2", "cosine")
    row = {"estimate": "theorem_2", "of": "cosine", "temperature": 1.0, "n": 10}
    small, large = {**row, "size": 1e-4, "close": 1.0}, {**row, "size": 1e-1, "close": 0.2}
    r = {"temperatures": [0.5, 1.0], "close": 0.1, "sizes": [small, large]}
    told, verdict = judge(r)
    assert verdict == "holds here in part"
    assert told.startswith(
        "within 10% of the exact value in 60% of 20 cases at T = 1; where the exact value is 1e-01"
    )
    assert judge({**r, "sizes": [small]})[1] == "holds here"
    assert judge({**r, "sizes": [large]})[1] == "fails here"
    assert judge({**r, "sizes": []})[1] == "not testable here"


def test_a_repair_that_is_better_everywhere_or_nowhere(modules):
    judge = modules["judges"].repair_beats("ghost", "linear_patch")

    def row(method, accuracy, perplexity):
        return {"group": "criterion", "sequential": True, "chosen_by": "margin", "size": "mild", "method": method,
                "accuracy": accuracy, "perplexity": perplexity}  # fmt: skip

    better, worse = row("ghost", 0.7, 20.0), row("linear_patch", 0.5, None)
    assert judge({"rows": [better, worse]})[1] == "holds here"
    assert (
        judge({"rows": [{**better, "method": "linear_patch"}, {**worse, "method": "ghost"}]})[1]
        == "fails here"
    )
    assert judge({"rows": [better]})[1] == "not testable here"


@pytest.mark.parametrize(
    ("low", "high", "expected", "verdict"),
    [
        (0.2, 0.8, True, "holds here"), (-0.3, 0.3, True, "cannot be told"), (-0.8, -0.2, True, "fails here"),
        (0.2, 0.8, False, "fails here"), (-0.3, 0.3, False, "cannot be told"), (-0.8, -0.2, False, "holds here"),
    ],
)  # fmt: skip
def test_a_criterion_that_foretells(modules, low, high, expected, verdict):
    row = {"criterion": "cka", "set": "not protected", "damage": "margin", "estimate": (low + high) / 2,
           "low": low, "high": high, "shift_p": 0.04 if low > 0 else 0.96}  # fmt: skip
    others = [{**row, "criterion": "margin"}, {**row, "set": "all"}]
    judge = modules["judges"].foretells("cka", "cka, texts", expected=expected)
    found, told = judge({"correlations": {"rows": [row, *others]}})
    assert told == verdict
    assert found.count("rank correlation") == 1
    assert judge({"correlations": {"rows": others}}) == ("refused, or does not vary", "not testable here")
    smooth = {**row, "shift_p": 0.1 if low > 0 else 0.9}  # shifted along the layers, it does as well
    assert judge({"correlations": {"rows": [smooth]}})[1] == "cannot be told"


@pytest.mark.parametrize(
    ("high", "shift_p", "verdict"),
    [(0.5, 0.3, "holds here"), (0.95, 0.04, "fails here"), (0.95, 0.3, "cannot be told")],
)
def test_two_rankings_that_differ(modules, high, shift_p, verdict):
    row = {
        "set": "not protected",
        "estimate": 0.4,
        "low": 0.3,
        "high": high,
        "shift_p": shift_p,
        "ceiling": 0.9,
    }
    told, found = modules["judges"].perplexity_disagrees({"perplexity": [{**row, "set": "all"}, row]})
    assert found == verdict
    assert "where 0.90 could be expected" in told


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.6, 0.8, "holds here"), (0.2, 0.4, "holds here in part"), (-0.1, 0.3, "fails here")],
)
def test_a_surrogate_that_others_beat(modules, low, high, verdict):
    own = {"surrogate": "published", "n_masks": 9, "r2": (low + high) / 2, "r2_low": low, "r2_high": high}
    other = {**own, "surrogate": "trees", "r2": 0.7, "r2_low": 0.65, "r2_high": 0.75}
    early = {**own, "n_masks": 5, "r2_low": -1.0}
    judge = modules["judges"].surrogate_knows
    assert judge({"quality": [early, own, other]})[1] == verdict
    assert judge({"quality": [other]})[1] == "not testable here"


def test_commitment_against_a_published_range(modules):
    judge = modules["judges"].late_commitment(0.85, 1.0)

    def verdict(layer, low, high):
        found = {"detector": "commitment", "layer": layer, "ci_low": low, "ci_high": high}
        return judge({"overall": {"n_layers": 20, "detectors": [found]}})[1]

    assert [verdict(18, 17, 19), verdict(17, 14, 18), verdict(10, 8, 12)] == [
        "holds here",
        "cannot be told",
        "fails here",
    ]
