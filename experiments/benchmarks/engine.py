"""How much faster is the engine than running every variant by itself, and how far from what cannot be avoided?

    uv run python experiments/benchmarks/engine.py            # about an hour on 2 cores
    uv run python experiments/benchmarks/engine.py --quick    # within 8 minutes
    uv run python experiments/benchmarks/engine.py --random 2048,16 --dtype bfloat16 --device cuda

Writes results.json and README.md beside this file, or only --json FILE. Ratios are taken in one run: in every repetition
the engine and each baseline run one after the other, and medians over repetitions are divided. Before that, every row
checks that the numbers agree.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import decision_phases as dp
from decision_phases.engine.local import plan_for
from decision_phases.models.bundled import bundled_folder
from decision_phases.pruning.search import greedy
from decision_phases.readout.observe import FinalObserver
from decision_phases.store import versions, write_json

sys.path.insert(0, str(Path(__file__).parent))
import settings
from baselines import BASELINES, Baseline
from floor import operations, rate, unique_positions
from table import tell

HERE = Path(__file__).parent


def main() -> None:
    """Run every row that was asked for, writing after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer questions, masks and steps")
    parser.add_argument("--json", type=Path, help="write the rows there, and nothing else")
    parser.add_argument("--model", help="as for dp.load; the bundled model by default")
    parser.add_argument("--random", metavar="WIDTH,LAYERS", help="a random Llama of this size instead")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--questions", type=int, help="how many")
    parser.add_argument("--repetitions", type=int, default=settings.REPETITIONS)
    for name in ("workloads", "baselines", "shots"):
        parser.add_argument(f"--{name}", help="only these, with commas")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    given = {name: getattr(settings, name) for name in dir(settings) if name.isupper()}
    s = SimpleNamespace(**{**given, **(settings.QUICK if args.quick else {})})
    s.N_QUESTIONS, s.REPETITIONS = args.questions or s.N_QUESTIONS, args.repetitions
    s.WORKLOADS = tuple(args.workloads.split(",")) if args.workloads else s.WORKLOADS
    s.BASELINES = tuple(args.baselines.split(",")) if args.baselines else s.BASELINES
    s.SHOTS = tuple(map(int, args.shots.split(","))) if args.shots else s.SHOTS
    s.GREEDY_STEPS = (
        s.GREEDY_STEPS if not args.random else min(s.GREEDY_STEPS, int(args.random.split(",")[1]) - 2)
    )
    model = make_model(args)
    result: dict[str, Any] = {
        "model": model.name,
        "n_params": model.n_params,
        "device": describe_device(model),
        "threads": torch.get_num_threads(),
        "quick": args.quick,
        "n_questions": s.N_QUESTIONS,
        "repetitions": s.REPETITIONS,
        "versions": versions(),
        "rows": [],
    }
    target = args.json or HERE / "results.json"
    began = time.monotonic()
    for shots in s.SHOTS:
        encoded = dp.ask(model, dp.questions(s.QUESTIONS, limit=s.N_QUESTIONS), shots=shots, seed=s.SEED)
        rivals = [BASELINES[name](model, encoded, s.BATCH) for name in s.BASELINES]
        for name in s.WORKLOADS:
            result["rows"] += measure(model, encoded, shots, name, rivals, s)
            result["seconds"] = round(time.monotonic() - began)
            write_json(target, result)
            sys.stderr.write(f"{name}, {shots} shots: " + said(result["rows"][-len(rivals) :]) + "\n")
    if args.json is None:
        (HERE / "README.md").write_text(tell(result), encoding="utf-8")


def make_model(args: argparse.Namespace) -> dp.ModelAccess:
    """The model that was asked for."""
    if not args.random:
        return dp.load(args.model, dtype=args.dtype, device=args.device)
    width, layers = map(int, args.random.split(","))
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width * 7 // 2, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=max(1, width // 256), bos_token_id=1, eos_token_id=2,
        attn_implementation="eager",
    )  # fmt: skip
    hf = LlamaForCausalLM(config).to(getattr(torch, args.dtype))
    return dp.load(hf, tokenizer=tokenizer, dtype=args.dtype, device=args.device, consume=True)


def cuts_of(name: str, model: dp.ModelAccess, encoded: Any, s: SimpleNamespace) -> list[tuple[int, ...]]:
    """The cuts of a workload."""
    n = model.n_layers
    if name == "dense":
        return [()]
    if name == "leave_one_out":
        return [(k,) for k in range(n)]
    if name == "random_masks":
        rng = np.random.default_rng(s.SEED)
        kept = rng.integers(round(s.KEPT[0] * n), round(s.KEPT[1] * n) + 1, size=s.N_MASKS)
        return [tuple(sorted(rng.choice(n, n - k, replace=False).tolist())) for k in kept]
    found = greedy(model, encoded, objective="margin", candidates=range(n), steps=s.GREEDY_STEPS)
    gone = [step.removed for step in found]
    return [tuple(sorted({*gone[:i], k})) for i, step in enumerate(found) for k in step.candidates]


def work_of(
    name: str, model: dp.ModelAccess, encoded: Any, cuts: Sequence[tuple[int, ...]], s: Any
) -> Callable[[], Any]:
    """The workload as the engine does it: margins by cut, or by question and layer."""
    if name == "dense":
        return lambda: {(): dp.read(model, encoded).margin}
    variants = [dp.skip(*cut) for cut in cuts]

    def every() -> dict[tuple[int, ...], np.ndarray]:
        runs = dp.evaluate(model, encoded, variants, [FinalObserver()])
        return {cut: run["final"].margin for cut, run in zip(cuts, runs, strict=True)}

    def search() -> dict[tuple[int, ...], np.ndarray]:
        known: dict[dp.Intervention, Any] = {}
        greedy(
            model,
            encoded,
            objective="margin",
            candidates=range(model.n_layers),
            steps=s.GREEDY_STEPS,
            known=known,
        )
        return {variant.removed_blocks: final.margin for variant, final in known.items()}

    return search if name == "greedy" else every


def measure(
    model: dp.ModelAccess, encoded: Any, shots: int, name: str, rivals: Sequence[Baseline], s: SimpleNamespace
) -> list[dict[str, Any]]:
    """One row a baseline, after checking that all agree."""
    cuts = cuts_of(name, model, encoded, s)
    work, rng = work_of(name, model, encoded, cuts, s), np.random.default_rng(s.SEED + 1)
    size = min(len(cuts), s.SAMPLED[shots] if shots in s.SAMPLED else min(s.SAMPLED.values()))
    samples = [[cuts[i] for i in rng.choice(len(cuts), size, replace=False)] for _ in range(s.REPETITIONS)]
    rows_per = unique_positions(encoded)
    engine, rates, peaks = [], [], []
    times: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    apart: dict[str, float] = {rival.name: 0.0 for rival in rivals}
    for sample in samples:
        rates.append(rate(model, rows_per))
        with Peak(model) as peak:
            seconds, ours = timed(model, work)
        engine.append(seconds)
        peaks.append(peak.mib)
        rates.append(rate(model, rows_per))
        for rival in rivals:
            spent = 0.0
            for cut in sample:
                seconds, theirs = timed(
                    model,
                    rival.margins_by_layer if name == "dense" else partial(rival.margins, cut),
                )
                spent += seconds
                apart[rival.name] = max(
                    apart[rival.name], check(ours[cut], theirs, model, name, rival.name, s)
                )
            times[rival.name].append(spent / len(sample) * len(cuts))
    layers = model.n_layers if name == "dense" else 1
    needed = operations(model, encoded, cuts, layers)
    plan = plan_for(
        model, encoded, [dp.skip(*cut) if cut else dp.Intervention() for cut in cuts], [FinalObserver()]
    )
    took, speed = float(np.median(engine)), float(np.median(rates))
    return [
        {
            "workload": name,
            "shots": shots,
            "dtype": str(model.dtype).removeprefix("torch."),
            "baseline": rival.name,
            "ratio": float(np.median(times[rival.name])) / took,
            "ratio_low": min(times[rival.name]) / max(engine),
            "ratio_high": max(times[rival.name]) / min(engine),
            "seconds": took,
            "baseline_seconds": float(np.median(times[rival.name])),
            "floor_share": needed / speed / took,
            "floor_seconds": needed / speed,
            "operations": needed,
            "rate": speed,
            "variants": len(cuts),
            "saved_by_depth": plan.saved,
            "peak_mib": max(peaks),
            "max_margin_difference": apart[rival.name],
        }
        for rival in rivals
    ]


def check(
    ours: np.ndarray, theirs: np.ndarray, model: dp.ModelAccess, work: str, rival: str, s: Any
) -> float:
    """Refuse to time what does not agree.

    In float32 and above, choices must agree too, unless the two best options are nearer than the tolerance.
    """
    number = str(model.dtype).removeprefix("torch.")
    gap = float(np.nanmax(np.abs(ours - theirs)))
    if gap > s.TOLERANCE[number]:
        raise SystemExit(
            f"{work}: the margins of {rival} differ by {gap:.1e}, more than {s.TOLERANCE[number]:.0e}"
        )
    clear = np.abs(ours) > s.TOLERANCE[number]
    if ((ours > 0) != (theirs > 0))[clear].any():
        raise SystemExit(f"{work}: {rival} chooses otherwise")
    return gap


def timed(model: dp.ModelAccess, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    began = time.perf_counter()
    found = work()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


class Peak:
    """Memory taken beyond what was taken before, in MiB, looked at every 10 ms (on CUDA: exact)."""

    def __init__(self, model: dp.ModelAccess) -> None:
        self.cuda, self.mib, self.over = model.device.type == "cuda", 0.0, threading.Event()

    def __enter__(self) -> Peak:
        self.before = self.now()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def now(self) -> float:
        """MiB at this moment."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    def watch(self) -> None:
        """Look until it is over."""
        while not self.over.wait(0.01):
            self.mib = max(self.mib, self.now() - self.before)

    def __exit__(self, *error: object) -> None:
        self.mib = max(self.mib, self.now() - self.before)
        self.over.set()
        self.thread.join()


def describe_device(model: dp.ModelAccess) -> str:
    """What it ran on."""
    if model.device.type == "cuda":
        return torch.cuda.get_device_name(model.device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return f"{' '.join(sorted(names)) or 'CPU'}, {torch.backends.cpu.get_cpu_capability()}"


def said(rows: Sequence[dict[str, Any]]) -> str:
    """A line for the terminal."""
    return (
        ", ".join(f"{r['ratio']:.2f} times {r['baseline']}" for r in rows)
        + f", floor {rows[0]['floor_share']:.0%}"
    )


if __name__ == "__main__":
    main()
