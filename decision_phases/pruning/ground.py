"""What cuts are valued on: a model, questions, texts, and all that is known of it already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from decision_phases.engine import Inputs, Store, evaluate
from decision_phases.engine.inputs import Sequences
from decision_phases.engine.observers import AnyObserver
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.pruning.criteria.data import Data, question_data
from decision_phases.tasks import EncodedQuestions

#: (inputs, observer, variant) by key → what was seen.
Known = dict[tuple[str, str, Intervention], Any]


@dataclass(frozen=True, eq=False)
class Ground:
    """What cuts are valued on.

    Attributes:
        model: The model that runs.
        questions: The questions, if there are any.
        texts: Windows of texts, if there are any.
        under: What is done to the model besides, and is what "intact" means here.
        store: Where the engine keeps and finds results.
        known: What was seen already, which searches on the same ground share.
        reference: Where the intact model is looked at, if that is another (a twin in low precision is compared with
            the model itself).
    """

    model: ModelAccess
    questions: EncodedQuestions | None = None
    texts: Data | None = None
    under: Intervention = field(default_factory=Intervention)
    store: Store = None
    known: Known = field(default_factory=dict, repr=False)
    reference: Ground | None = field(default=None, repr=False)

    @cached_property
    def text_inputs(self) -> Inputs:
        """The windows of the texts, or where there are none the questions, as sequences with targets."""
        return Sequences(self._text_data.sequences)

    @cached_property
    def _text_data(self) -> Data:
        if self.texts is not None:
            return self.texts
        assert self.questions is not None
        return question_data(self.questions)

    def by_document(self, values: Num[np.ndarray, " sequence"]) -> Float[np.ndarray, " document"]:
        """Sum over the windows of each document, or over the sequences of each question where there are no texts.

        Args:
            values: One a sequence of `text_inputs`.

        Returns:
            One a document or question.
        """
        return self._text_data.by_group(np.asarray(values, dtype=np.float64))

    def see(
        self, inputs: Inputs, look: AnyObserver, variants: Sequence[Intervention], *, progress: bool = False
    ) -> list[Any]:
        """Look at the model under interventions; what is known is not run again.

        Args:
            inputs: What is put to it.
            look: What to look at.
            variants: The interventions.
            progress: Show a bar.

        Returns:
            What was seen of each.
        """
        place = self._place(inputs, look)
        missing = [variant for variant in dict.fromkeys(variants) if (*place, variant) not in self.known]
        if missing:
            for run in evaluate(self.model, inputs, missing, [look], store=self.store, progress=progress):
                self.known[*place, run.variant] = run[look.name]
        return [self.known[*place, variant] for variant in variants]

    def knows(
        self, inputs: Inputs, look: AnyObserver, variants: Sequence[Intervention]
    ) -> list[Intervention]:
        """What was seen already.

        Args:
            inputs: What is put to the model.
            look: What to look at.
            variants: The interventions.

        Returns:
            Those of them that were seen.
        """
        place = self._place(inputs, look)
        return [variant for variant in variants if (*place, variant) in self.known]

    def tell(self, inputs: Inputs, look: AnyObserver, variant: Intervention, seen: Any) -> None:
        """Remember what was seen elsewhere, where nothing is known yet.

        Args:
            inputs: What was put to the model.
            look: What was looked at.
            variant: The intervention.
            seen: The result.
        """
        self.known.setdefault((*self._place(inputs, look), variant), seen)

    def intact(self, inputs: Inputs, look: AnyObserver, *, kept: bool = True) -> Any:
        """Look at the intact model.

        Args:
            inputs: What is put to it.
            look: What to look at.
            kept: Whether a store can keep it.

        Returns:
            What was seen.
        """
        where = self.reference or self
        if not kept:
            where = replace(where, store=None)
        (seen,) = where.see(inputs, look, [where.under])
        return seen

    @staticmethod
    def _place(inputs: Inputs, look: AnyObserver) -> tuple[str, str]:
        return inputs.key, look.key
