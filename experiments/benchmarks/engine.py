"""How much faster is the engine than the same work written without it, and how far from what the machine could do?

    uv run python experiments/benchmarks/engine.py             # within an hour on 2 idle cores
    uv run python experiments/benchmarks/engine.py --quick     # fewer questions, variants and steps, in minutes
    python experiments/benchmarks/engine.py --device cuda --dtype bfloat16 --random-layers 32 --random-width 4096

Every ratio is taken in one process, ours and the baselines in turn, as the median of at least three repetitions; what
is computed is first shown to be the same. Writes one row after the other to --json, and with --resume goes on with what is
missing there; a full run on the bundled model writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import settings
import torch
from baselines import BASELINES
from measure import measured
from random_model import random_model
from table import tell

import decision_phases as dp
from decision_phases.store import write_json

HERE = Path(__file__).parent


def main(given: list[str] | None = None) -> None:
    """Measure every workload against every baseline."""
    args = arguments().parse_args(given)
    if args.threads:
        torch.set_num_threads(args.threads)
    default = HERE / "results.json" if not args.quick and args.model is None else Path("runs/benchmark.json")
    out: Path = args.json or default
    out.parent.mkdir(parents=True, exist_ok=True)
    s = sizes(args)
    model = load(args)
    baselines = {name: BASELINES[name](model, s.BATCH) for name in args.baseline or s.BASELINES}
    of = about(model, args)
    rows = known(out, {**of, "questions": s.N_QUESTIONS}) if args.resume else []
    done = {(row["shots"], row["workload"], row["baseline"]) for row in rows}
    for shots in args.shots or s.SHOTS:
        encoded = dp.ask(model, dp.questions(s.QUESTIONS, limit=s.N_QUESTIONS), shots=shots, seed=s.SEED)
        for workload in args.workload or s.WORKLOADS:
            if all((shots, workload, name) in done for name in baselines):
                continue
            for row in measured(model, encoded, workload, baselines, s):
                rows = with_floor([*rows, {**row, **of}])
                write_json(out, rows)
                sys.stderr.write(line(rows[-1]))
    if out == HERE / "results.json":
        rows = with_floor(rows)
        rows.sort(key=lambda row: (row["shots"], s.WORKLOADS.index(row["workload"])))
        write_json(out, rows)
        where = HERE / "where.json"
        profile = json.loads(where.read_text("utf-8")) if where.exists() else None
        (HERE / "README.md").write_text(tell(rows, profile), encoding="utf-8")
    sys.stderr.write(f"written to {out}\n")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--resume",
        action="store_true",
        help="keep the rows that are there already, if they are of the same kind",
    )
    add("--quick", action="store_true", help="fewer questions, variants and steps")
    add("--json", type=Path, default=None, help="where the rows are written")
    add(
        "--model",
        default=None,
        help="as for dp.load, a model of the Llama kind; the bundled model by default",
    )
    add("--dtype", default="float32", choices=list(settings.TOLERANCE))
    add("--device", default="auto")
    add("--threads", type=int, default=None)
    add("--workload", action="append", choices=settings.WORKLOADS, help="this one only (may be repeated)")
    add("--baseline", action="append", choices=settings.BASELINES, help="this one only (may be repeated)")
    add("--shots", type=int, action="append", help="so many only (may be repeated)")
    for name, what in (
        ("questions", "questions put"),
        ("masks", "random masks"),
        ("steps", "blocks that the greedy search removes"),
        ("repetitions", "repetitions, at least 3"),
        ("sampled", "variants that a baseline is timed on in a repetition"),
        ("random-layers", "blocks of a Llama with random weights, instead of --model"),
        ("random-width", "its residual width"),
        ("random-heads", "its heads"),
        ("random-kv-heads", "its key-value heads"),
        ("random-mlp", "width of its MLP"),
    ):
        add(f"--{name}", type=int, default=None, help=what)
    return parser


def sizes(args: argparse.Namespace) -> SimpleNamespace:
    """The settings, as the command line changes them."""
    given = {name: getattr(settings, name) for name in dir(settings) if name.isupper()}
    s = SimpleNamespace(**{**given, **(settings.QUICK if args.quick else {})})
    s.N_QUESTIONS = args.questions or s.N_QUESTIONS
    s.MASKS, s.STEPS = args.masks or s.MASKS, args.steps or s.STEPS
    s.REPETITIONS = max(3, args.repetitions or s.REPETITIONS)
    s.SAMPLED = dict.fromkeys(args.shots or s.SHOTS, args.sampled) if args.sampled else s.SAMPLED
    return s


def load(args: argparse.Namespace) -> dp.ModelAccess:
    """The model that is measured."""
    if args.random_layers is None:
        return dp.load(args.model, dtype=args.dtype, device=args.device)
    hf, tokenizer = random_model(args)
    return dp.load(hf, tokenizer=tokenizer, consume=True)


def known(path: Path, kind: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier run on the same model and machine."""
    rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [row for row in rows if kind.items() <= row.items()]


def with_floor(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put every workload's share of the floor beside it, at the highest rate of products in the run."""
    found = []
    for row in rows:
        rate = max(other["rate"] for other in rows if other["positions"] == row["positions"])
        floor = row["operations"] / rate
        found.append({**row, "floor_seconds": floor, "floor_share": floor / row["seconds"]})
    return found


def about(model: dp.ModelAccess, args: argparse.Namespace) -> dict[str, Any]:
    """What a row must say of model and machine."""
    cuda = model.device.type == "cuda"
    return {
        "model": model.name,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "parameters": model.n_params,
        "dtype": args.dtype,
        "device": torch.cuda.get_device_name(model.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "quick": args.quick,
    }


def line(row: dict[str, Any]) -> str:
    """A row in a line."""
    return (
        f"{row['workload']} {row['shots']} shots: {row['ratio']:.1f}x {row['baseline']} "
        f"({row['seconds']:.1f} s, {row['floor_share']:.0%} of the floor; "
        f"margins within {row['max_margin_difference']:.1e})\n"
    )


if __name__ == "__main__":
    main()
