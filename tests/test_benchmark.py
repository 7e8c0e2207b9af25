"""The benchmark runs, compares what it measures, and counts the operations that cannot be avoided."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decision_phases.models import ModelAccess
from decision_phases.readout import ask
from decision_phases.tasks import questions

FOLDER = Path(__file__).parent.parent / "experiments/benchmarks"
COLUMNS = {
    "workload", "shots", "dtype", "baseline", "ratio", "floor_share", "peak_mib", "max_margin_difference",
    "goal", "seconds", "baseline_seconds", "device", "threads",
}  # fmt: skip


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    import engine  # type: ignore[import-not-found]

    yield engine
    for name in {path.stem for path in FOLDER.glob("*.py")} - before:
        sys.modules.pop(name, None)


def test_every_workload_against_every_baseline(engine: ModuleType, tmp_path: Path) -> None:
    small = ["--quick", "--questions", "6", "--shots", "2", "--masks", "3", "--steps", "1", "--sampled", "1"]
    engine.main([*small, "--model", "tiny-llama", "--json", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    settings = sys.modules["settings"]
    kinds = [(row["shots"], row["workload"], row["baseline"]) for row in rows]
    assert kinds == [(2, w, b) for w in settings.WORKLOADS for b in settings.BASELINES]
    for row in rows:
        assert set(row) >= COLUMNS
        assert 0 <= row["max_margin_difference"] < 1e-5
        assert row["ratio"] == np.median(row["ratios"]) > 0
        assert len(row["ratios"]) == 3
        assert 0 < row["floor_share"] < 1
        assert row["peak_mib"] > 10
    before = (tmp_path / "rows.json").read_bytes()
    engine.main([*small, "--model", "tiny-llama", "--json", str(tmp_path / "rows.json"), "--resume"])
    assert (tmp_path / "rows.json").read_bytes() == before
    text = sys.modules["table"].tell(rows)
    assert text.count("\n| ") == 2 + len(rows) // 2
    assert all(f"{row['ratio']:.1f}" in text for row in rows)


def test_where_the_time_goes(engine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import where  # type: ignore[import-not-found]

    monkeypatch.setattr(where.settings, "RATE_SECONDS", 0.05)
    given = [
        "--model",
        "tiny-llama",
        "--masks",
        "3",
        "--questions",
        "6",
        "--json",
        str(tmp_path / "where.json"),
    ]
    where.main(given)
    found = json.loads((tmp_path / "where.json").read_text("utf-8"))
    assert 0 < found["attention_share"] < found["products_share"] + found["attention_share"] < 1
    assert 0 < found["floor_share"] < 1
    assert found["products_rate"] > 0


def test_another_result_is_not_measured(engine: ModuleType, tiny: ModelAccess) -> None:
    measure, encoded = sys.modules["measure"], ask(tiny, questions("facts", limit=2))
    scores = np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    assert measure.largest_gap(encoded, scores, scores + 1.0) < 1e-12
    measure.same_choices(encoded, scores, scores + 1.0, (1e-9, 1e-9), "")
    with pytest.raises(AssertionError, match="this: margins differ by"):
        measure.same_choices(encoded, scores, scores * 1.1, (1e-4, 1e-2), "this")
    with pytest.raises(AssertionError, match="1 clear choices differ"):
        measure.same_choices(
            encoded, scores, scores[:, [1, 0, 2, 3]] * [[1], [0]] + scores * [[0], [1]], (2, 1), ""
        )


def test_what_float64_cannot_excuse_is_refused(
    engine: ModuleType, tiny: ModelAccess, monkeypatch: Any
) -> None:
    """Differences beyond the tolerance are allowed as far as the baseline itself is from float64, and no further."""
    settings, measure = sys.modules["settings"], sys.modules["measure"]
    s = SimpleNamespace(**{n: getattr(settings, n) for n in dir(settings) if n.isupper()})
    s.REPETITIONS, s.RATE_SECONDS, s.TOLERANCE = 1, 0.01, {"float32": (1e-12, 1e-2)}
    encoded = ask(tiny, questions("facts", limit=4))
    baselines = {"transformers": sys.modules["baselines"].BASELINES["transformers"](tiny, 4)}
    monkeypatch.setattr(measure, "largest_gap", lambda *_: 1e-7)
    (row,) = measure.measured(tiny, encoded, "leave_one_out", baselines, s)
    assert row["arbitrated_by_float64"] == row["variants_timed"] > 0
    s.ROUNDING = 0.5
    with pytest.raises(AssertionError, match="margins differ by 1e-07"):
        list(measure.measured(tiny, encoded, "leave_one_out", baselines, s))


def test_the_floor_is_what_counting_by_hand_gives(engine: ModuleType, tiny: ModelAccess) -> None:
    """Two prompts; 6 blocks. Without block 1, blocks 2 to 5 run once more than in the intact model."""
    floor, encoded = sys.modules["floor"], ask(tiny, questions("facts", limit=2))
    a, b = (s.tokens for s in encoded.sequences)
    common = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    depths = [*range(1, len(a) + 1), *range(common + 1, len(b) + 1)]
    d, heads, mlp, pair = 32, 16, 48, 4 * 4 * 8
    keys = 2 * 2 * d * heads
    block = 2 * (2 * d * d + 3 * d * mlp) + keys
    whole = len(depths) * block + pair * sum(depths)
    last = len(depths) * keys + 2 * (block - keys) + pair * (len(a) + len(b))
    options = 2 * d * sum(map(len, encoded.option_ids))
    counted = floor.operations(tiny, encoded, [(), (1,)], dense=False)
    assert counted == (5 + 3) * whole + 2 * last + 2 * options
    assert floor.operations(tiny, encoded, [()], dense=True) == 5 * whole + last + 6 * options
