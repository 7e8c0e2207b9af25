"""`decision-phases patch`, on a small random model."""

import json
from pathlib import Path

import pandas as pd
import pytest

import decision_phases as dp

SMALL = ("--model", "tiny-llama", "--limit", "all", "--pairs", 3, "--least", 2, "--threads", 1)


def test_leaves_a_complete_folder_with_the_library_s_numbers(type_in):
    given = ("patch", *SMALL, "--sites", "mlp_out,resid_post", "--positions", "answer,question", "--skip", 2)
    result = type_in(*given, "--out", "out")
    assert result.exit_code == 0, result.output
    folder = Path("out")
    assert {path.name for path in folder.iterdir()} == {
        "sweep.parquet", "transition.parquet", "pairs.parquet", "patches.json", "manifest.json", "figures", "results",
    }  # fmt: skip
    assert json.loads((folder / "manifest.json").read_text())["complete"] is True
    pairs = dp.pairs("tiny-llama", "facts", limit=3, least=2)
    sweep = dp.patch_sweep(
        "tiny-llama",
        pairs,
        sites=["mlp_out", "resid_post"],
        positions=["answer", "question"],
        under=dp.skip(2),
    )
    kept = pd.read_parquet(folder / "sweep.parquet")
    pd.testing.assert_frame_equal(kept, sweep.to_pandas(), check_dtype=False, rtol=1e-5, atol=1e-6)
    assert str(pairs) in result.stdout
    told = json.loads((folder / "patches.json").read_text())
    assert told["command"].startswith("decision-phases patch --model tiny-llama")
    assert (
        told["transition"]["layer"] == dp.causal_transition("tiny-llama", pairs, under=dp.skip(2)).transition
    )
    assert result.stdout.splitlines()[-2] == "folder  out"
    files = sorted(folder.joinpath("results").rglob("*.parquet"))
    before = [path.stat().st_mtime_ns for path in files]
    again = type_in(*given, "--out", "out", "--resume")
    assert again.exit_code == 0, again.output
    assert [
        path.stat().st_mtime_ns for path in sorted(folder.joinpath("results").rglob("*.parquet"))
    ] == before
    other = type_in(*given, "--out", "out", "--resume", "--direction", "noise")
    assert other.exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "letters"), "did you mean 'letter_order'"),
        (("--kind", "symbol"), "does not bind letters"),
        (("--direction", "denoised"), "did you mean 'denoise'"),
        (("--sites", "mlp"), "did you mean 'mlp_out'"),
        (("--positions", "end"), "unknown position 'end'"),
        (("--positions", "option:0"), "no position 'option:0'"),
        (("--skip", 9), "out of range"),
        (("--pairs", 300, "--least", 300), "too few for an interval"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(type_in, words, message):
    result = type_in("patch", *SMALL, *words, "--out", "out")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("out").exists()
