"""What decides the result of a run, as one value that is cheap to make and to check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from decision_phases.errors import InputError

if TYPE_CHECKING:  # the command line shows these defaults, and help should not wait for numpy
    from decision_phases.interventions import Intervention

#: What a run compares when nothing is said.
DEFAULT_STRATEGIES = ("margin", "random", "within_decisive", "within_silent", "deepest", "shallowest")


def _intact() -> Intervention:
    from decision_phases.interventions import Intervention

    return Intervention()


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the result of a run.

    Attributes:
        questions: A name or a file.
        scoring: How options are scored; the set's own by default.
        template: Prompt template; the set's own by default.
        show_options: Whether options stand in the prompt; by default only in letter scoring.
        shots: Solved examples in front of each question.
        limit: Most questions used, a seeded subset stratified by category; None for all.
        split: Share of the questions that choose; the others measure. None uses all for both.
        strategies: Names of strategies; empty for reading only.
        up_to: Most units to remove, or a share of the parameters such as "30%".
        protect: Layers never touched; the first and the last by default.
        draws: Random orders.
        texts: What criteria that need no labels are measured on; the search questions by default.
        seed: Of everything random.
        screen: "bfloat16" or "float16" for searches that screen their candidates in it; None measures all in the
            model's own precision.
        under: What is done to the model throughout, for reading; pruning starts from the intact model.
        sparsify: A method and its amount, such as "wanda:0.5", that set weights to zero throughout, for reading; it is
            calibrated on the texts.
        objective: What searches make best that have no objective of their own.
        width: How many cuts of each size a beam search keeps.
        evaluate: What else is measured of every cut, names in `OBJECTIVES`.
        splits: Choose and measure on so many splits of the questions.
        timing: Shape of the forward passes that are timed, as "1x128"; None for no timing.
        compare: Write the comparison of the strategies too.
        last_blocks: The second lens runs a layer's residual through this many last blocks; 0 leaves it out.
    """

    questions: str = "facts"
    scoring: str | None = None
    template: str | None = None
    show_options: bool | None = None
    shots: int = 0
    limit: int | None = 160
    split: float | None = 0.4
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    up_to: int | str = 6
    protect: tuple[int, ...] | None = None
    draws: int = 3
    texts: str | None = None
    seed: int = 0
    screen: str | None = None
    under: Intervention = field(default_factory=_intact)
    sparsify: str | None = None
    objective: str = "margin"
    width: int = 4
    evaluate: tuple[str, ...] = ()
    splits: int = 1
    timing: str | None = None
    compare: bool = False
    last_blocks: int = 2

    def quick(self) -> RunSettings:
        """The same job, small enough for a first look.

        Returns:
            Settings with at most 40 questions, 2 blocks and 2 draws.
        """
        limit = 40 if self.limit is None else min(self.limit, 40)
        up_to = min(self.up_to, 2) if isinstance(self.up_to, int) else self.up_to
        return replace(self, limit=limit, up_to=up_to, draws=min(self.draws, 2))

    def check(self) -> None:
        """Refuse what no model could make right, so that none need be loaded to find out.

        Raises:
            InputError: If a strategy, an objective or a precision to screen in is not known, a budget or a shape cannot
                be read, an objective lacks its texts, or pruning is to start from a model that is cut already.
        """
        from decision_phases.pruning.budget import find_budget
        from decision_phases.pruning.checks import check_request
        from decision_phases.pruning.timing import find_timing

        find_budget(self.up_to)
        check_request(
            self.strategies,
            objective=self.objective,
            width=self.width,
            evaluate=self.evaluate,
            timing=find_timing(self.timing),
            texts=self.texts,
            split=self.split,
            splits=self.splits,
        )
        if self.screen is not None:
            from decision_phases.pruning.screening import check_precision

            check_precision(self.screen)
        changes = [*([str(self.under)] if self.under else []), *([self.sparsify] if self.sparsify else [])]
        if self.strategies and changes:
            msg = f"pruning starts from the intact model; leave out {' and '.join(changes)}, or read only"
            raise InputError(msg)
        if self.sparsify is not None:
            from decision_phases.pruning.sparsity import find_sparsity

            find_sparsity(self.sparsify)[0].check_texts(self.texts)

    def arguments(self) -> dict[str, Any]:
        """As JSON values, for the manifest.

        Returns:
            Name → value.
        """
        given = {**asdict(replace(self, under=_intact())), "under": str(self.under)}
        given["under_key"] = self.under.key  # what looks alike in words may hold other arrays
        given["strategies"], given["evaluate"] = list(self.strategies), list(self.evaluate)
        given["protect"] = None if self.protect is None else list(self.protect)
        return given
