"""Every experiment runs from its command line, tells what is in its results, and does not run again what it kept."""

import json
import math

import pytest

EXPERIMENTS = {
    "criteria": {"scores.csv", "correlations.csv", "cuts.csv"},
    "surrogates": {"quality.csv", "estimates.csv"},
    "noise": {"noise.csv"},
    "depth": {"pairs.csv", "pairs"},
    "strategies": {"strategies.csv", "steps.csv"},
    "contrast": {"scores.csv", "details.csv", "differences.csv"},
    "open_decisions": {"layers.csv", "drift.csv", "texts.csv"},
    "circuits": {"attribution.csv", "sweep.csv", "transition.csv", "restoration.csv"},
    "repairs": {"repairs.csv"},
    "trained_repairs": {"repairs.csv", "pooled.csv", "differences.csv", "losses.csv"},
    "transition": {"phases.csv", "cuts.csv", "comparisons.csv"},
    "amplification": {"amplification.csv", "options.csv"},
    "lenses": {"specifications.csv", "divergence.csv", "curve.png"},
}


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for one in value for leaf in flat(one)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_and_tells(name, module_of, tmp_path):
    run = module_of(name, "run")
    run.main(["--quick", "--out", str(tmp_path), "--threads", "1"])
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"results.json", "README.md", "figure.png", "store"} | EXPERIMENTS[name]
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert module_of(name, "story").tell(results) == (tmp_path / "README.md").read_text("utf-8")
    assert all(math.isfinite(leaf) for leaf in flat(results) if isinstance(leaf, float))
    one = results["pairs"][0] if name == "depth" else results
    assert one["model"] == "tiny-llama"
    assert one["seed"] == 0
    assert one["fingerprint"]
    assert one["versions"]["torch"]
    judge_claims(name, results, module_of)
    kept = sorted(path for path in (tmp_path / "store").rglob("*.parquet"))
    assert kept
    before = [path.stat().st_mtime_ns for path in kept]
    if name == "noise":  # the quickest
        run.main(["--quick", "--out", str(tmp_path), "--threads", "1"])
        assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "store").rglob("*.parquet"))] == before
        again = json.loads((tmp_path / "results.json").read_text("utf-8"))
        assert again["rows"] == results["rows"]


def judge_claims(name, results, module_of):
    """The pages of papers can make something of these results."""
    for paper in module_of("", "papers").PAPERS:
        for claim in paper.claims:
            if claim.experiment == name:
                found, verdict = claim.judge(results)
                assert found
                assert verdict in module_of("", "claims").VERDICTS


def test_what_a_planted_result_says(module_of):
    """Words follow numbers: with the sign turned, the noise is told to cost less."""
    story = module_of("noise", "story")
    row = {"excluded": "none", "positions": "answer", "silent_variance": 0.1, "decisive_variance": 0.1, "silent": 0.3,
           "decisive": 0.1, "estimate": 0.2, "low": 0.1, "high": 0.3, "p": 0.001, "detectable": 0.05}  # fmt: skip
    r = {"comparisons": [row], "excluded_at_edges": [0], "settings": {"PUBLISHED": [0.02, 0.1]}}
    assert "more in the Silent Phase in 1 of 1 comparisons, less in 0" in story._phases(r)[-1]
    r["comparisons"] = [row | {"estimate": -0.2, "low": -0.3, "high": -0.1}]
    assert "more in the Silent Phase in 0 of 1 comparisons, less in 1" in story._phases(r)[-1]
    r["comparisons"] = []
    assert story._phases(r) == ["Not testable: there are no two phases to compare on the search questions."]
