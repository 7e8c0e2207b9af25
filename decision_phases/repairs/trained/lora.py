"""Low-rank adapters on what surrounds a cut, trained on text and merged into the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from decision_phases.interventions import Edit, Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.loading import cast
from decision_phases.repairs.contract import Task
from decision_phases.repairs.trained.adapters import Adapter, check_targets, merged, peft_package, put_in
from decision_phases.repairs.trained.layers import around
from decision_phases.repairs.trained.on_text import Prepared, TextTrained
from decision_phases.repairs.trained.student import PARTS, Student


@dataclass(frozen=True)
class LoraRepair(TextTrained):
    """W + (alpha / rank) · B A for the matrices of some blocks, with B = 0 at the start, trained with Adam.

    The cut model is trained in the number format of the loaded model and where that is; adapters of a model in half
    precision are kept in float32. What comes back has the adapters merged: edits that add to weights, and nothing that
    would have to run beside them. The sum is rounded to the number format of the weights, so that in half precision it
    is a little less than what was trained.

    Attributes:
        rank: Directions of each adapter.
        alpha: What an adapter adds is multiplied by alpha / rank.
        neighbours: How many surviving blocks on each side of every gap are adapted; None for all that survive.
        targets: Which matrices get an adapter, by the last part of their name in `ModelAccess.parameters` ("q_proj",
            "down_proj"); None for all that are plain linear layers. Where a family keeps queries, keys and values in
            one matrix, naming one of them adapts all three.
    """

    loss: str = "next_token"
    rank: int = 8
    alpha: float = 16.0
    neighbours: int | None = 2
    targets: tuple[str, ...] | None = None

    def check(self, task: Task) -> None:
        """Refuse what cannot be trained, and the checkpoint of another training, before anything runs.

        Args:
            task: What is asked.

        Raises:
            InputError: Saying what is missing.
            MissingPackageError: If peft is not installed.
        """
        peft_package()
        super().check(task)
        check_targets(task.model, self.layers(task.model, task.cut), _parts_gone(task.cut), self.targets)

    def layers(self, model: ModelAccess, cut: Intervention) -> tuple[int, ...]:
        """The blocks that are adapted.

        Args:
            model: The model.
            cut: The cut.

        Returns:
            The layers, ascending.
        """
        return around(model.n_layers, cut, self.neighbours)

    def prepare(self, task: Task) -> Prepared:
        """Put adapters that do nothing yet into the cut model; see `TextTrained.prepare`."""
        model, cut = task.model, task.cut
        student, adapters = self.student(model, cut, seed=task.seed)

        def edits() -> tuple[Edit, ...]:
            return merged(adapters, self.name).edits

        return Prepared(
            student,
            min(cut.earliest_layer or 0, *self.layers(model, cut)),
            {name: p for adapter in adapters for name, p in adapter.parameters.items()},
            edits,
        )

    def student(
        self, model: ModelAccess, cut: Intervention, *, seed: int = 0
    ) -> tuple[Student, list[Adapter]]:
        """Make the cut model with adapters that do nothing yet, on a fresh copy of the weights.

        Args:
            model: The model.
            cut: The cut.
            seed: Of the directions that the adapters begin with.

        Returns:
            The cut model and its adapters.
        """
        hf = model.fresh_hf()
        cast(hf, model.dtype)
        blocks, adapters = put_in(
            model, hf, self.layers(model, cut), without=_parts_gone(cut), targets=self.targets, rank=self.rank,
            alpha=self.alpha, seed=seed,
        )  # fmt: skip
        return Student(cut, blocks), adapters

    def _own(self, task: Task) -> Task:
        """The task with the seed that holds, and without what concerns only maps."""
        return replace(super()._own(task), sequential=False)

    def _above_zero(self) -> dict[str, float]:
        own: dict[str, float] = {"rank": self.rank, "alpha": self.alpha}
        if self.neighbours is not None:
            own["neighbours"] = self.neighbours
        return {**own, **super()._above_zero()}


def _parts_gone(cut: Intervention) -> dict[int, tuple[str, ...]]:
    """Layer → parts that are removed from it."""
    layers = {layer for part in PARTS for layer in cut.removed(part)}
    return {layer: tuple(part for part in PARTS if layer in cut.removed(part)) for layer in sorted(layers)}


LORA = LoraRepair("lora", "trains the blocks around the cut on the text", "LoRA, arXiv 2106.09685")
LORA_DISTIL = LoraRepair(
    "lora_distil",
    "trains the blocks around the cut to predict what the intact model does",
    "LoRA, arXiv 2106.09685; distillation, arXiv 1503.02531",
    loss="logits",
)
LORA_TRAJECTORY = LoraRepair(
    "lora_trajectory",
    "the same, and to keep the stream at every layer",
    "this package",
    loss="residuals",
)
LORA_LENS = LoraRepair(
    "lora_lens",
    "the same, and to keep what the logit lens says at every layer",
    "this package",
    loss="lens",
)
