"""Multiple choice: the right one among given options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decision_phases.engine import evaluate
from decision_phases.engine.lower import check_variant
from decision_phases.hierarchy.families.contract import Measured, Task, TaskFamily
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.readout.ask import Questions, ask
from decision_phases.readout.decisions import Final
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import EncodedQuestions
from decision_phases.tasks import questions as read_questions


@dataclass(frozen=True)
class MultipleChoice(TaskFamily):
    """Questions with options, of which the model's favourite counts.

    Attributes:
        name: Under which results are found.
        questions: A name, a file, questions, or a question set.
        scoring: How options are scored; the set's own by default.
        shots: Solved examples in front.
    """

    name: str = "multiple_choice"
    questions: Questions = "facts"
    scoring: str | None = None
    shots: int = 0
    what: str = "accuracy"
    floor: str = "exact: guessing, the mean of 1 / number of options"

    def prepare(self, model: ModelAccess, *, limit: int | None, seed: int) -> Task:
        """Encode the questions."""
        if isinstance(self.questions, EncodedQuestions):
            return _Choosing(model, self.questions)
        every = read_questions(self.questions)
        asked = every if limit is None else every.limit(limit, seed)
        encoded = ask(model, asked, scoring=self.scoring, shots=self.shots, examples=every, seed=seed)
        return _Choosing(model, encoded)


class _Choosing(Task):
    def __init__(self, model: ModelAccess, encoded: EncodedQuestions) -> None:
        super().__init__(model)
        self.encoded, self.key = encoded, f"multiple choice {encoded.key}"

    def check(self, under: Intervention) -> None:
        check_variant(self.model, under, self.encoded.sequences, len(self.encoded))

    def measure(self, under: Intervention) -> Measured:
        (run,) = evaluate(self.model, self.encoded, [under], [FinalObserver()])
        final: Final = run["final"]
        floor = 1.0 / self.encoded.n_options
        return Measured(final.correct.astype(np.float64), floor, {"margin": final.margin})
