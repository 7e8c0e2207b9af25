"""The job of `decision-phases spaces`: a pruned model against the dense one, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decision_phases.engine import texts as read_texts
from decision_phases.errors import InputError
from decision_phases.hierarchy import SpaceComparison, compare_spaces
from decision_phases.models import ModelAccess
from decision_phases.plots import save_figure
from decision_phases.store import ResultStore, write_json, write_table
from decision_phases.studies.keeping import kept_folder
from decision_phases.studies.run import choose_questions
from decision_phases.studies.settings import RunSettings
from decision_phases.studies.writing import Writing
from decision_phases.tasks import QuestionSet, TextSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SpacesSettings:
    """Everything that decides the result.

    Attributes:
        asked: Questions, or texts in their place; how many; seed; what is done to the model.
        temperature: T of the softmax.
        norm: "final", or "none" for logits without the final norm.
        local: Whether each edited layer is also changed by itself.
        steps: Tokens that both models write after each prompt, to compare them while they do; 0 for none.
        prompts: How many of the questions or texts are written on.
    """

    asked: RunSettings = field(default_factory=lambda: RunSettings(strategies=()))
    temperature: float = 1.0
    norm: str = "final"
    local: bool = True
    steps: int = 16
    prompts: int = 32

    def arguments(self) -> dict[str, Any]:
        """As JSON values, for the manifest.

        Returns:
            Name → value.
        """
        own = {
            "temperature": self.temperature, "norm": self.norm, "local": self.local, "steps": self.steps,
            "prompts": self.prompts,
        }  # fmt: skip
        kept = ("questions", "scoring", "template", "show_options", "shots", "limit", "texts", "seed")
        given = self.asked.arguments()
        inputs = {name: given[name] for name in kept} | {
            "under": given["under"],
            "under_key": given["under_key"],
        }
        return {"job": "spaces", **inputs, **own}


def run_spaces(
    model: ModelAccess,
    settings: SpacesSettings,
    *,
    out: Path | None = None,
    resume: bool = False,
    command: str = "",
    progress: bool = True,
) -> Path:
    """Compare a pruned model with the dense one in h, z and p, and keep tables and figures in a folder.

    `spaces.parquet` has every deviation by layer, `spaces.json` what it ends with, `generation.parquet` the deviation
    while text is written, `texts.parquet` the texts, `figures/` the figures and `results/` every variant that was run,
    so that with `resume` none is run again.

    Args:
        model: The model.
        settings: What to do.
        out: The folder; `runs/<time>-<model>` by default.
        resume: Continue the job in `out` (or the newest under `runs/`).
        command: The command that was typed, for the page.
        progress: Show bars.

    Returns:
        The folder.

    Raises:
        InputError: If something does not fit, before anything runs.
    """
    asked = settings.asked
    source: QuestionSet | TextSet
    if not asked.under:
        msg = (
            "nothing is done to the model, so there is nothing to compare; give an intervention (--skip 5,8)"
        )
        raise InputError(msg)
    if asked.texts is None:
        chosen = choose_questions(asked)
        inputs: dict[str, Any] = {
            "questions": chosen, "scoring": asked.scoring, "template": asked.template, "shots": asked.shots,
            "show_options": asked.show_options,
        }  # fmt: skip
        content, source = chosen.content_hash, chosen
    else:
        read = read_texts(asked.texts, model=model)
        inputs, content, source = {"texts": read, "limit": asked.limit}, read.content_hash, read
    writing = Writing.prepare(
        model, source, under=asked.under, steps=settings.steps, limit=settings.prompts, shots=asked.shots,
        seed=asked.seed,
    )  # fmt: skip
    with (
        kept_folder(model, settings.arguments(), content, seed=asked.seed, out=out, resume=resume) as folder,
        closing(ResultStore(folder / "results")) as store,
    ):
        comparison = compare_spaces(
            model, under=asked.under, temperature=settings.temperature, norm=settings.norm, local=settings.local,
            seed=asked.seed, store=store, progress=progress, **inputs,
        )  # fmt: skip
        write_table(folder / "spaces.parquet", comparison.to_pandas())
        for name, figure in _figures(comparison).items():
            save_figure(figure(), folder / "figures" / f"{name}.png")
        if writing is not None:
            writing.keep(folder, progress=progress)
        write_json(folder / "spaces.json", _told(comparison, command))
    return folder


def _figures(comparison: SpaceComparison) -> Mapping[str, Callable[[], Figure]]:
    """The figures that there are numbers for, by name; each is drawn when it is called."""
    kinds = ["accumulated", "local"] if "local" in set(comparison.to_pandas()["kind"]) else ["accumulated"]
    found: dict[str, Callable[[], Figure]] = {}
    for kind in kinds:
        found[f"deviation_{kind}"] = partial(comparison.plot, kind=kind)
        if "options" in comparison.subspaces:
            found[f"options_{kind}"] = partial(comparison.plot_options, kind=kind)
    return found


def _told(comparison: SpaceComparison, command: str) -> dict[str, Any]:
    """What the page says beside its tables."""
    return {
        "command": command,
        "summary": str(comparison),
        "under": comparison.name,
        "model": comparison.provenance["model"],
        "weights": comparison.provenance["weights"],
        "data": comparison.data,
        "resampled": comparison.resampled,
        "n_groups": len(comparison.labels),
        "n_layers": comparison.n_layers,
        "edited": list(comparison.edited),
        "confidence": comparison.confidence,
        "temperature": comparison.settings.temperature,
        "norm": comparison.settings.norm,
    }
