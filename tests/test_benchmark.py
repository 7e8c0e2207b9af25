"""The benchmark runs on a small model, checks that results agree, and has the columns that it promises."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "experiments/benchmarks/engine.py"
COLUMNS = {
    "workload", "shots", "dtype", "baseline", "ratio", "floor_share", "peak_mib", "max_margin_difference",
}  # fmt: skip


def test_every_row_is_checked_and_complete(tmp_path):
    out = tmp_path / "rows.json"
    words = ["--model", "tiny-llama", "--quick", "--questions", "6", "--repetitions", "1", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--json", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 2 * 4 * 2
    for row in rows:
        assert set(row) >= COLUMNS
        assert row["max_margin_difference"] <= 1e-4
        assert row["ratio"] > 0
        assert 0 < row["floor_share"] < 1
