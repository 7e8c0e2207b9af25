"""Which edits go together, and which a model can take."""

from collections.abc import Collection, Iterable, Mapping

from decision_phases.errors import InputError
from decision_phases.interventions.edit import ACTIVATIONS, PARTS, Edit

_PARTS_AROUND: Mapping[str, tuple[str, ...]] = {
    "head_out": ("block", "attention"),
    "attn_out": ("block", "attention"),
    "mlp_out": ("block", "mlp"),
}
_OVERLAPS: Mapping[str, tuple[str, ...]] = {
    "block": PARTS,
    "attention": ("block", "attention"),
    "mlp": ("block", "mlp"),
}


def check_composition(edits: Iterable[Edit]) -> None:
    """Refuse edits that cannot be applied together.

    Nothing may be removed twice, and nothing may be edited within or at a removed part; the exception is a
    map at `resid_pre` of a removed block, which stands in for it. Whether `weights` touches a removed
    sublayer cannot be seen without the model and is not checked.

    Args:
        edits: The edits, in any order.

    Raises:
        InputError: If two edits conflict; it names both.

    Example:
        >>> check_composition([Edit("skip", "attention", 3), Edit("skip", "block", 3)])
        Traceback (most recent call last):
        ...
        decision_phases.errors.InputError: layer 3 is removed twice, by 'skip attention of layer 3' and ...
    """
    edits = tuple(edits)
    removed: dict[tuple[int, str], Edit] = {}
    bound: Edit | None = None
    for edit in edits:
        if edit.op == "skip":
            _check_removed_once(edit, removed)
            removed[edit.layer, edit.site] = edit
        if edit.n_questions is not None:
            if bound is not None and bound.n_questions != edit.n_questions:
                raise InputError(
                    f"'{bound}' holds values for {bound.n_questions} questions and '{edit}' for "
                    f"{edit.n_questions}; edits that go together must be made from equally many."
                )
            bound = edit
    for edit in edits:
        if edit.op != "skip":
            _check_not_removed(edit, removed)


def _check_removed_once(edit: Edit, removed: Mapping[tuple[int, str], Edit]) -> None:
    for part in _OVERLAPS[edit.site]:
        other = removed.get((edit.layer, part))
        if other is not None:
            raise InputError(
                f"layer {edit.layer} is removed twice, by '{other}' and '{edit}'; keep one of them "
                "(a removed block is without its attention and its MLP)."
            )


def left_by(edits: Iterable[Edit], removals: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return the edits that still have something to act on once parts are removed.

    What is done within a part, or at its ends, goes with it; so does the removal of a sublayer with its block.

    Args:
        edits: The edits.
        removals: What removes parts.

    Returns:
        The edits that are left, in the order given.

    Example:
        >>> without_mlp = [Edit("skip", "mlp", 3), Edit("skip", "mlp", 4)]
        >>> [str(edit) for edit in left_by(without_mlp, [Edit("skip", "block", 3)])]
        ['skip mlp of layer 4']
    """
    gone = {(edit.layer, edit.site) for edit in removals if edit.op == "skip"}
    return tuple(edit for edit in edits if not any((edit.layer, part) in gone for part in _around(edit)))


def _around(edit: Edit) -> tuple[str, ...]:
    """The parts without which an edit has nothing to act on."""
    if edit.op == "skip":
        return () if edit.site == "block" else ("block",)
    stands_in = edit.op == "map" and edit.site == "resid_pre"
    return () if stands_in else _PARTS_AROUND.get(edit.site, ("block",))


def _check_not_removed(edit: Edit, removed: Mapping[tuple[int, str], Edit]) -> None:
    for part in _around(edit):
        skip = removed.get((edit.layer, part))
        if skip is not None:
            raise InputError(
                f"'{edit}' has nothing to act on, because '{skip}' removes it; drop one of the two. "
                "Only a map inserted at a removed block is possible: it takes the place of the block."
            )


def check_model(
    edits: Iterable[Edit],
    *,
    n_layers: int,
    n_heads: int | None = None,
    d_model: int | None = None,
    d_head: int | None = None,
    sites: Collection[str] | None = None,
) -> None:
    """Refuse edits that a model of these sizes and sites cannot take.

    Args:
        edits: The edits.
        n_layers: The number of blocks.
        n_heads: The number of heads; None leaves heads unchecked.
        d_model: The width of the residual stream; None leaves widths there unchecked.
        d_head: The width of what one head puts out; None leaves it unchecked.
        sites: The activations that can be edited, of `ACTIVATIONS`; None leaves sites unchecked.
            Removing attention needs `attn_out`, removing the MLP `mlp_out`.

    Raises:
        InputError: If a layer or head is out of range, a width differs, or a site is missing.

    Example:
        >>> check_model([Edit("skip", "mlp", 9)], n_layers=8)
        Traceback (most recent call last):
        decision_phases.errors.InputError: 'skip mlp of layer 9' is out of range: the model has layers 0..7.
    """
    for edit in edits:
        if edit.layer >= n_layers:
            raise InputError(f"'{edit}' is out of range: the model has layers 0..{n_layers - 1}.")
        needed = {"attention": "attn_out", "mlp": "mlp_out"}.get(edit.site, edit.site)
        if sites is not None and needed in ACTIVATIONS and needed not in sites:
            has = ", ".join(site for site in ACTIVATIONS if site in sites) or "none"
            raise InputError(f"'{edit}' needs the site {needed}, which this model lacks; it has: {has}.")
        if edit.head is not None and n_heads is not None and edit.head >= n_heads:
            raise InputError(f"'{edit}' is out of range: the model has heads 0..{n_heads - 1}.")
        width = d_model if edit.head is None else d_head
        if width is not None and edit.width is not None and edit.width != width:
            raise InputError(
                f"'{edit}' holds values of width {edit.width}, but the model's {edit.site} has width {width}."
            )
