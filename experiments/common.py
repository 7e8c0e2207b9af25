"""What the experiments share: their command line, their settings, and what every result says of how it was made."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

import decision_phases as dp
from decision_phases.store import versions, write_json


@dataclass(frozen=True)
class Job:
    """One run of an experiment.

    Attributes:
        model: The model.
        settings: Sizes and seeds.
        out: Where results go.
        quick: Whether this is only a check that the scripts still work.
        began: When it began, of a clock that never goes back.
        resumed: Whether an earlier run left evaluated variants behind.
    """

    model: dp.ModelAccess
    settings: SimpleNamespace
    out: Path
    quick: bool
    began: float
    resumed: bool

    @property
    def store(self) -> Path:
        """Where every evaluated variant is kept and found again."""
        return self.out / "store"

    def provenance(self) -> dict[str, Any]:
        """What decides the numbers."""
        return {
            "model": self.model.name,
            "weights": self.model.weights,
            "fingerprint": self.model.fingerprint,
            "n_layers": self.model.n_layers,
            "device": self.model.device.type,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "seed": self.settings.SEED,
            "settings": vars(self.settings),
            "versions": versions(),
        }

    def say(self, what: str) -> None:
        """Tell on stderr how far the experiment is."""
        sys.stderr.write(f"{time.monotonic() - self.began:7.0f} s  {what}\n")

    def write(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write results.json, and give what is in it."""
        spent = {"seconds": round(time.monotonic() - self.began), "resumed": self.resumed}
        told = clean({**self.provenance(), **result, **spent})
        write_json(self.out / "results.json", told)
        return told


def begin(
    description: str | None,
    settings: ModuleType,
    folder: Path,
    argv: list[str] | None = None,
    *,
    asks: bool = False,
) -> Job:
    """Read the command line of an experiment and load its model.

    Args:
        description: The script's docstring.
        settings: Its module of settings; `QUICK` there has those of a quick check, and `DTYPE`, if there is one, the
            number format of the model.
        folder: The experiment's folder, where results go unless told otherwise.
        argv: The command line; that of the process by default.
        asks: Whether other questions can be given; a file of them has the settings `ON_FILES`, and a folder of its own
            for its results.

    Returns:
        The job.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None, help="as for dp.load; the bundled model by default")
    parser.add_argument("--quick", action="store_true", help="a small random model and few questions")
    parser.add_argument("--out", type=Path, default=None, help="where results go")
    parser.add_argument("--threads", type=int, default=None)
    if asks:
        parser.add_argument("--questions", default=None, help="a name or a file, as for dp.questions")
        parser.add_argument("--scoring", default=None, help="how options are scored; needed for a file")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    variants = ("QUICK", "ON_FILES")
    given = {
        name: getattr(settings, name) for name in dir(settings) if name.isupper() and name not in variants
    }
    if asks and args.questions is not None:
        given |= {**settings.ON_FILES, "QUESTIONS": args.questions, "SCORING": args.scoring}
        folder = folder / Path(args.questions).stem
    own = SimpleNamespace(**{**given, **(settings.QUICK if args.quick else {})})
    out = args.out or (Path(f"runs/experiment-{folder.name}-quick") if args.quick else folder)
    out.mkdir(parents=True, exist_ok=True)
    model = dp.load(args.model or ("tiny-llama" if args.quick else None), dtype=given.get("DTYPE", "auto"))
    return Job(model, own, out, args.quick, time.monotonic(), resumed=(out / "store").exists())


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table, None where there is nothing."""
    rows: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def divided(job: Job) -> tuple[Any, Any]:
    """Draw the questions that choose and others that measure, both stratified by category.

    Args:
        job: Its settings name the questions, `N_SEARCH`, `N_EVALUATION` and the seed.

    Returns:
        Search and evaluation questions, encoded.
    """
    s = job.settings
    every = dp.questions(s.QUESTIONS)
    search = every.limit(s.N_SEARCH, s.SEED)
    chosen = {item.id for item in search}
    rest = dp.questions(
        [item for item in every if item.id not in chosen], name=every.name, scoring=every.scoring
    )
    return dp.ask(job.model, search), dp.ask(job.model, rest.limit(s.N_EVALUATION, s.SEED))


def clean(value: Any) -> Any:
    """JSON values: no NaN, no numpy."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def made_by(r: dict[str, Any], command: str) -> str:
    """Say how results came about.

    Args:
        r: What is in results.json.
        command: What is typed to make them again.

    Returns:
        A sentence.
    """
    return (
        f"Made by `{command}`; every number below is from `results.json`, written by the same run ({r['model']}, "
        f"{r['weights']}, fingerprint `{r['fingerprint']}`, {r['dtype']} on {r['device']} with {r['threads']} threads, "
        f"seed {r['seed']}, "
        + ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        + f"; {r['seconds']} s{', what an earlier run had stored not counted' if r.get('resumed') else ''})."
    )


def interval(r: dict[str, Any], digits: int = 2) -> str:
    """Write an estimate with its interval, "–" where there is none.

    Args:
        r: With "estimate", "low" and "high".
        digits: Behind the point.

    Returns:
        For instance "+0.41 [+0.20, +0.60]".
    """
    if r["estimate"] is None:
        return "–"
    if r["low"] is None:
        return f"{r['estimate']:+.{digits}f}"
    return f"{r['estimate']:+.{digits}f} [{r['low']:+.{digits}f}, {r['high']:+.{digits}f}]"


def table(header: list[str], rows: list[list[object]]) -> str:
    """Write a Markdown table.

    Args:
        header: Names of the columns.
        rows: The rows.

    Returns:
        Markdown.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
