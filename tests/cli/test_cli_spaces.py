"""`decision-phases spaces`, on a small random model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from decision_phases import compare_spaces, generation_drift, load, questions, skip
from decision_phases.hierarchy.reference import Reference

SMALL = ("--model", "tiny-llama", "--limit", "6", "--threads", "1")


def test_leaves_a_complete_folder_with_the_library_s_numbers(type_in):
    result = type_in(
        "spaces", *SMALL, "--skip", "2", "--skip-mlp", "4", "--temperature", "0.5", "--steps", "4", "--prompts", "3",
        "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    folder = Path("out")
    assert {path.name for path in folder.iterdir()} == {
        "spaces.parquet", "spaces.json", "generation.parquet", "generation.json", "texts.parquet", "manifest.json",
        "report.html", "figures", "results",
    }  # fmt: skip
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "generation.png",
        *(f"{what}_{kind}.png" for what in ("deviation", "options") for kind in ("accumulated", "local")),
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["arguments"]["temperature"] == 0.5
    chosen = questions("facts").limit(6, 0)
    found = compare_spaces(
        load("tiny-llama", quiet=True), chosen, under=skip(2) + skip(4, part="mlp"), temperature=0.5
    )
    kept = pd.read_parquet(folder / "spaces.parquet")
    pd.testing.assert_frame_equal(kept, found.to_pandas(), check_dtype=False, rtol=1e-6, atol=1e-9)
    assert str(found).splitlines()[0] in result.stdout
    assert result.stdout.splitlines()[-2:] == ["folder  out", "report  out/report.html"]
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "skip {2} + skip mlp {4}" in page
    assert "<script" not in page
    value = kept.query("kind == 'final' and tokens == 'options' and space == 'p' and measure == 'cosine'")[
        "value"
    ]
    assert f"{value.item():.3g}" in page
    drift = generation_drift(
        load("tiny-llama", quiet=True), chosen.limit(3, 0), under=skip(2) + skip(4, part="mlp"), steps=4
    )
    kept = pd.read_parquet(folder / "generation.parquet")
    pd.testing.assert_frame_equal(kept, drift.to_pandas(), check_dtype=False, rtol=1e-6, atol=1e-9)
    written = pd.read_parquet(folder / "texts.parquet")
    assert written["intact"].tolist() == list(drift.intact.texts)
    assert written["shared_prefix"].tolist() == drift.shared_prefix.tolist()
    assert str(drift) in result.stdout


def test_texts_without_local_and_resuming(type_in, monkeypatch):
    """Nothing is measured again, and what a file is called is escaped."""
    Path("<b>.txt").write_text("Is water wet? Yes, it is.\n\nIs fire cold? No, it is not.\n\nIs ice hot? No.")
    given = (
        "spaces", *SMALL, "--skip", "1", "--texts", "<b>.txt", "--no-local", "--norm", "none", "--steps", "2",
        "--out", "out",
    )  # fmt: skip
    result = type_in(*given)
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("out/figures").iterdir()} == {
        "deviation_accumulated.png",
        "generation.png",
    }
    before = pd.read_parquet("out/spaces.parquet")
    assert set(before["kind"]) == {"accumulated", "final"}
    assert np.isfinite(before["value"]).all()
    page = Path("out/report.html").read_text()
    assert "without the final norm" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    monkeypatch.setattr(Reference, "deviations", None)
    monkeypatch.setattr("decision_phases.studies.writing.generation_drift", None)
    again = type_in(*given, "--resume")
    assert again.exit_code == 0, again.output
    pd.testing.assert_frame_equal(pd.read_parquet("out/spaces.parquet"), before)
    assert type_in(*given, "--resume", "--temperature", "2").exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing is cut"),
        (("--skip", "2", "--texts", "pydoc", "--questions", "facts"), "exclude each other"),
        (("--skip", "2", "--temperature", "0"), "temperature=0.0"),
        (("--skip", "2", "--norm", "finale"), "did you mean 'final'"),
        (("--skip", "9"), "layer 9"),
        (("--skip", "2", "--steps", "-1"), "--steps"),
        (("--skip", "2", "--steps", "4000"), "4000 are to follow"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(type_in, words, message):
    result = type_in("spaces", *SMALL, *words, "--out", "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("out").exists()
