"""From a comparison to the arrays of its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decision_phases.errors import InputError, unknown_name
from decision_phases.plots.spaces import SpaceCurve, SpacePanel, space_panels
from decision_phases.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from decision_phases.hierarchy.comparison import SpaceComparison

#: How h, z and p are drawn: the residual as the unembedding sees it, logits up to the shift that no softmax sees.
DRAWN = {"h": "h_normed", "z": "z_centred", "p": "p"}
_HOW = {"accumulated": "pruned throughout", "local": "one layer changed on the dense context"}


def draw(comparison: SpaceComparison, *, kind: str) -> Figure:
    """Draw the deviation by layer in h, z and p, raw and relative, and the amplification between them.

    Args:
        comparison: What to draw.
        kind: "accumulated" or "local".

    Returns:
        A figure of three panels.
    """
    _check(kind)

    def lines(*, relative: bool) -> tuple[SpaceCurve, ...]:
        return tuple(
            _curve(name, comparison.deviation(space, kind=kind, relative=relative))
            for name, space in DRAWN.items()
        )

    grown = tuple(
        _curve(f"{start} to {end}", comparison.amplification(DRAWN[start], DRAWN[end], kind=kind))
        for start, end in (("h", "z"), ("z", "p"))
    )
    return space_panels(
        [
            SpacePanel("1 − cos", lines(relative=False)),
            SpacePanel("over that of two prompts", lines(relative=True)),
            SpacePanel("amplification", grown, level=1.0),
        ],
        n_layers=comparison.n_layers,
        edited=comparison.edited,
        title=_title(comparison, kind),
    )


def draw_options(comparison: SpaceComparison, *, kind: str) -> Figure:
    """Draw the deviation among the options beside that among random tokens of like rank.

    Args:
        comparison: What to draw.
        kind: "accumulated" or "local".

    Returns:
        A figure of three panels.

    Raises:
        InputError: If there are no options.
    """
    _check(kind)
    if "options" not in comparison.subspaces:
        msg = (
            "these inputs have no options; give questions in letter or first_token scoring, or options=[...]"
        )
        raise InputError(msg)
    sets = {"options": "options", "random": "random tokens of like rank", "all": "whole vocabulary"}

    def lines(measure: str, *, relative: bool = False) -> tuple[SpaceCurve, ...]:
        return tuple(
            _curve(name, comparison.deviation("p", measure, tokens, kind=kind, relative=relative))
            for tokens, name in sets.items()
        )

    return space_panels(
        [
            SpacePanel("1 − cos in p", lines("cosine")),
            SpacePanel("over that of two prompts", lines("cosine", relative=True)),
            SpacePanel("KL(dense ‖ pruned), nats", lines("kl_dense_from_pruned")),
        ],
        n_layers=comparison.n_layers,
        edited=comparison.edited,
        title=_title(comparison, kind),
    )


def _curve(name: str, interval: Interval) -> SpaceCurve:
    return SpaceCurve(name, interval.estimate, interval.low, interval.high)


def _check(kind: str) -> None:
    if kind not in _HOW:
        raise unknown_name("kind", kind, _HOW)


def _title(comparison: SpaceComparison, kind: str) -> str:
    return f"{comparison.name}: {_HOW[kind]}"
