"""A patch sweep and the causal transition on the same pairs, kept in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from decision_phases.circuits import (
    CausalTransition,
    Pairs,
    PatchSweep,
    causal_transition,
    pairs,
    patch_sweep,
)
from decision_phases.circuits.cells import cells_of
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.plots import save_figure
from decision_phases.store import ResultStore, write_json, write_table
from decision_phases.studies.keeping import kept_folder
from decision_phases.tasks import QuestionSet


def run_patching(
    model: ModelAccess,
    questions: QuestionSet,
    *,
    kind: str = "content",
    sites: Sequence[str],
    positions: Sequence[str] = ("answer",),
    direction: str = "denoise",
    under: Intervention,
    most: int | None = 32,
    least: int = 8,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = False,
    command: str = "",
    progress: bool = True,
    **wording: Any,
) -> tuple[Path, Pairs, PatchSweep, CausalTransition]:
    """Pair questions, patch every place, interchange residuals, and keep everything in a folder.

    The folder holds `manifest.json`, `patches.json`, `pairs.parquet`, `sweep.parquet`, `transition.parquet` and
    `figures/`. `results/` has what an interrupted run goes on with.

    Args:
        model: The model.
        questions: What is paired.
        kind: Of pairs, as in `pairs`.
        sites: As in `patch_sweep`.
        positions: As in `patch_sweep`.
        direction: As in `patch_sweep`.
        under: The intervention that every run is under.
        most: Most pairs.
        least: Fewest pairs.
        seed: Of everything random.
        out: The folder; `runs/<time>-<model>` by default.
        resume: Continue the run in `out` (or the newest under `runs/`).
        command: The command that was typed.
        progress: Show bars.
        **wording: Of `tasks.encode_questions`.

    Returns:
        The folder, the pairs, the sweep and the transition.

    Raises:
        InputError: If something does not fit, or pairs are too few or not testable, before anything is patched.
    """
    cells_of(model, under, sites, None, positions)
    found = pairs(model, questions, kind=kind, limit=most, least=least, seed=seed, **wording)
    clean, corrupted = found.sides
    for position in positions:
        found.check_position(position)
    arguments = {
        "job": "patch",
        "kind": kind,
        "clean": clean.key,
        "corrupted": corrupted.key,
        "sites": list(sites),
        "positions": list(positions),
        "direction": direction,
        "under": str(under),
        "under_key": under.key,
        "seed": seed,
    }
    with kept_folder(model, arguments, questions.content_hash, seed=seed, out=out, resume=resume) as folder:
        with closing(ResultStore(folder / "results")) as store:
            sweep = patch_sweep(
                model, found, sites=sites, positions=positions, direction=direction, under=under, seed=seed,
                store=store, progress=progress,
            )  # fmt: skip
            moved = causal_transition(model, found, under=under, seed=seed, store=store, progress=progress)
        _keep(folder, found, sweep, moved, command)
    return folder, found, sweep, moved


def _keep(folder: Path, found: Pairs, sweep: PatchSweep, moved: CausalTransition, command: str) -> None:
    write_table(folder / "pairs.parquet", found.to_pandas())
    write_table(folder / "sweep.parquet", sweep.to_pandas())
    write_table(folder / "transition.parquet", moved.to_pandas())
    save_figure(sweep.plot(), folder / "figures" / "sweep.png")
    save_figure(moved.plot(), folder / "figures" / "transition.png")
    told = {
        "command": command,
        "pairs": {"kind": found.kind, "n": len(found), "dropped": dict(found.dropped)},
        "transition": {"layer": moved.transition, "ci": moved.ci, "share": moved.share},
        "lens": moved.lens.to_dict(),
        "summary": [str(found), str(sweep), str(moved)],
    }
    write_json(folder / "patches.json", told)
