"""What a cut does while text is written: the part of `decision-phases spaces` that follows a generation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from decision_phases.engine.generating import check_generation
from decision_phases.errors import InputError
from decision_phases.hierarchy import GenerationDrift, generation_drift
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.plots import save_figure
from decision_phases.store import write_json, write_table
from decision_phases.tasks import OpenPrompts, QuestionSet, TextSet, encode_prompts


@dataclass(frozen=True, eq=False)
class Writing:
    """Prompts that an intact and a cut model write on.

    Attributes:
        model: The model.
        prompts: What is written on.
        under: The cut.
        steps: Tokens to write.
        seed: Of the bootstrap over prompts.
    """

    model: ModelAccess
    prompts: OpenPrompts
    under: Intervention
    steps: int
    seed: int

    @classmethod
    def prepare(
        cls,
        model: ModelAccess,
        source: QuestionSet | TextSet,
        *,
        under: Intervention,
        steps: int,
        limit: int,
        shots: int = 0,
        seed: int = 0,
    ) -> Writing | None:
        """Encode prompts, and refuse what cannot be written before anything runs.

        Args:
            model: The model.
            source: Questions, asked openly, or texts, of which the beginnings are taken.
            under: The cut.
            steps: Tokens to write; 0 for none.
            limit: How many of them.
            shots: Solved examples in front of questions.
            seed: Of the draw of prompts and of the bootstrap over them.

        Returns:
            What is to be done; None if no token is to be written.

        Raises:
            InputError: If numbers are out of range, or prompts, model and cut do not fit.
        """
        if steps < 0 or limit < 1:
            msg = f"steps={steps}, prompts={limit} given; steps must be at least 0 and prompts at least 1"
            raise InputError(msg)
        if steps == 0:
            return None
        questions = isinstance(source, QuestionSet)
        prompts = encode_prompts(
            source,
            model.tokenizer,
            limit=min(limit, len(source)) if questions else limit,
            seed=seed,
            context_length=model.context_length,
            **({"shots": shots} if questions else {}),
        )
        check_generation(model, prompts, under, steps=steps, temperature=None)
        return cls(model, prompts, under, steps, seed)

    def keep(self, folder: Path, *, progress: bool) -> None:
        """Compare the two models while they write, and keep what is found; nothing if it is there already.

        Args:
            folder: Where `generation.parquet`, `generation.json`, `texts.parquet` and the figure go.
            progress: Show bars.
        """
        last = folder / "generation.parquet"
        if last.is_file():
            return
        drift = generation_drift(
            self.model, self.prompts, under=self.under, steps=self.steps, seed=self.seed, progress=progress
        )
        save_figure(drift.plot(), folder / "figures" / "generation.png")
        write_table(folder / "texts.parquet", _texts(drift))
        told = {
            "summary": str(drift),
            "steps": self.steps,
            "prompts": len(self.prompts),
            "quality": drift.texts_to_pandas().to_dict("records"),
        }
        write_json(folder / "generation.json", told)
        write_table(last, drift.to_pandas())


def _texts(drift: GenerationDrift) -> pd.DataFrame:
    """What either model wrote after each prompt, and for how many tokens they agree."""
    assert drift.changed is not None, "free is among the modes"
    return pd.DataFrame(
        {
            "prompt": list(drift.intact.prompts.labels),
            "intact": list(drift.intact.texts),
            "cut": list(drift.changed.texts),
            "shared_prefix": drift.shared_prefix,
        }
    )
