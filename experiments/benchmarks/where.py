"""Where does the time of the largest workload go, and how fast are matrix products when they are not repeated?

    uv run python experiments/benchmarks/where.py             # a few minutes on 2 idle cores

Writes where.json beside this file, from which `engine.py` puts a paragraph into README.md. The floor takes the fastest
pass over the matrices of one block, which then stay in the caches of the processor and are multiplied while it may run
above its lasting speed; a model of many blocks has neither.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn.functional import linear
from torch.profiler import ProfilerActivity, profile

import decision_phases as dp
from decision_phases.readout.observe import FinalObserver
from decision_phases.store import write_json

sys.path.insert(0, str(Path(__file__).parent))
import settings
from floor import block_operations, operations, positions, rate
from workloads import cuts_of

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
REPETITIONS = 3


def main(argv: list[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--masks", type=int, default=24)
    parser.add_argument("--questions", type=int, default=settings.N_QUESTIONS)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "where.json")
    args = parser.parse_args(argv)
    s = SimpleNamespace(**{name: getattr(settings, name) for name in dir(settings) if name.isupper()})
    s.MASKS = args.masks
    model, shots = dp.load(args.model), max(s.SHOTS)
    asked = dp.questions(s.QUESTIONS, limit=args.questions, seed=s.SEED)
    encoded = dp.ask(model, asked, shots=shots, seed=s.SEED)
    cuts = cuts_of("random_masks", model.n_layers, s)

    def work() -> None:
        list(dp.evaluate(model, encoded, [dp.skip(*cut) for cut in cuts], [FinalObserver()]))

    work()
    rows, seconds, fastest, lasting = len(positions(encoded)[0]), list[float](), list[float](), list[float]()
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
        fastest.append(rate(model, rows, s.RATE_SECONDS))
        lasting.append(rate_of_all_blocks(model, rows, 4 * s.RATE_SECONDS))
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as trace:
        work()
    events = trace.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = [event for event in events if event.key in PRODUCTS]
    spent = sum(event.self_cpu_time_total for event in products)
    attention = sum(e.self_cpu_time_total for e in events if "scaled_dot_product" in e.key)
    needed, took = operations(model, encoded, cuts, dense=False), float(np.median(seconds))
    result = {
        "model": model.name,
        "workload": "random_masks",
        "shots": shots,
        "masks": len(cuts),
        "questions": len(encoded),
        "positions": rows,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": took,
        "products_share": spent / total,
        "attention_share": attention / total,
        "products_rate": sum(event.flops for event in products) / (spent / 1e6),
        "fastest_rate": max(fastest),
        "lasting_rate": float(np.median(lasting)),
        "floor_share": needed / max(fastest) / took,
        "lasting_floor_share": needed / float(np.median(lasting)) / took,
    }
    write_json(args.json, result)
    sys.stderr.write(f"{result}\n")


def rate_of_all_blocks(model: dp.ModelAccess, rows: int, seconds: float) -> float:
    """Measure the rate of matrix products over the matrices of all blocks in turn.

    Args:
        model: The model whose matrices are multiplied.
        rows: Positions.
        seconds: For how long at least.

    Returns:
        Operations a second, of the median pass.
    """
    blocks = [
        [p.detach() for p in model.parameters(layer).values() if p.ndim == 2]
        for layer in range(model.n_layers)
    ]
    xs = [torch.randn(rows, p.shape[1]).to(p.dtype) for p in blocks[0]]
    times = list[float]()
    with torch.no_grad():
        while sum(times) < seconds or len(times) < 5:
            start = time.perf_counter()
            for block in blocks:
                for x, weight in zip(xs, block, strict=True):
                    linear(x, weight)
            times.append(time.perf_counter() - start)
    return rows * block_operations(model) * model.n_layers / float(np.median(times))


if __name__ == "__main__":
    main()
