"""From edits, which are values, to what runs: functions at hook points, replaced parameters, replaced blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from decision_phases.engine.batches import Rows
from decision_phases.engine.maps import like, mapped
from decision_phases.errors import InputError
from decision_phases.interventions import (
    Affine,
    Array,
    Bottleneck,
    Edit,
    Held,
    Intervention,
    LowRank,
    Noise,
    PerQuestion,
    Weights,
    noise_values,
    resample_index,
    resolve,
)
from decision_phases.models import ModelAccess
from decision_phases.tasks import TokenSequence

Hook = tuple[int, str, Callable[[Tensor], "Tensor | None"]]


def check_variant(
    model: ModelAccess,
    variant: Intervention,
    sequences: Sequence[TokenSequence] = (),
    n_questions: int | None = None,
) -> None:
    """Refuse an intervention that the model or the inputs cannot take, before anything runs.

    Args:
        model: The model.
        variant: The intervention.
        sequences: What will run; every one must have the positions that are edited, and values for them.
        n_questions: Number of questions of the inputs; None leaves that unchecked.

    Raises:
        InputError: Naming the edit and what it clashes with.
    """
    sites = model.sites if model.capabilities.resid_mid else model.sites - {"resid_mid"}
    variant.validate(
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        d_model=model.d_model,
        d_head=model.d_head,
        sites=sites,
    )
    if n_questions is not None:
        variant.check_questions(n_questions)
    for edit in variant.edits:
        if isinstance(edit.value, Weights):
            _check_weights(model, edit, edit.value)
        else:
            _check_places(edit, sequences)


def _check_weights(model: ModelAccess, edit: Edit, weights: Weights) -> None:
    own = model.parameters(edit.layer)
    for name, array in weights.parameters:
        if name not in own:
            msg = f"'{edit}': block {edit.layer} has no parameter {name!r}; it has {', '.join(own)}"
            raise InputError(msg)
        if tuple(own[name].shape) != array.shape:
            msg = f"'{edit}': {name} is {tuple(own[name].shape)}, the replacement {array.shape}"
            raise InputError(msg)
        if own[name].is_meta:
            msg = (
                f"'{edit}': device_map leaves {name} of block {edit.layer} elsewhere and fetches it whenever the block "
                "runs, so it cannot be replaced; keep that block on a device that computes"
            )
            raise InputError(msg)


def _check_places(edit: Edit, sequences: Sequence[TokenSequence]) -> None:
    ragged = isinstance(edit.value, PerQuestion) and edit.op != "resample"
    if edit.positions == "all" and not ragged:
        return
    for sequence in sequences:
        try:
            columns = resolve(edit.positions, sequence.spans, len(sequence))
            if ragged and isinstance(edit.value, PerQuestion):
                edit.value.at_positions(sequence.owner, len(columns))
        except InputError as error:
            msg = f"'{edit}' does not fit question {sequence.owner}: {error}"
            raise InputError(msg) from error


def layer_hooks(edits: Sequence[Edit], rows: Rows | None, readers: Sequence[Hook] = ()) -> list[Hook]:
    """Lower the edits of one layer whose block is kept.

    Args:
        edits: Edits of one layer, in order.
        rows: What runs; None if only edits at all positions, equal for all questions, are allowed.
        readers: Hooks of the same layer that look on; they see what the edits at their own site leave.

    Returns:
        (layer, site, function) triples for `ModelAccess.hooked`.
    """
    hooks: list[Hook] = []
    late: list[Hook] = []
    for edit in edits:
        if edit.op == "weights":
            continue
        if edit.op == "skip":
            site = {"attention": "attn_out", "mlp": "mlp_out"}[edit.site]
            hooks.append((edit.layer, site, torch.zeros_like))
        elif edit.site == "resid_mid":
            late.extend(_at_resid_mid(edit, rows))  # writes by way of attn_out, after that has been read
        else:
            hooks.append((edit.layer, edit.site, _edited(edit, rows)))
    return [*hooks, *readers, *late]


def stand_in(edits: Sequence[Edit], rows: Rows | None) -> Callable[[Tensor], Tensor]:
    """Lower the edits of a layer whose block is removed: the identity, or the map inserted in its place.

    Args:
        edits: Edits of one layer.
        rows: What runs.

    Returns:
        A function of the residual entering the block.
    """
    maps = [_edited(edit, rows) for edit in edits if edit.op != "skip"]

    def run(x: Tensor) -> Tensor:
        for fn in maps:
            x = fn(x)
        return x

    return run


def removes_block(edits: Sequence[Edit]) -> bool:
    """Whether these edits of one layer remove its block.

    Args:
        edits: Edits of one layer.

    Returns:
        True if one of them skips the block.
    """
    return any(edit.op == "skip" and edit.site == "block" for edit in edits)


@contextmanager
def replaced_weights(model: ModelAccess, edits: Sequence[Edit]) -> Iterator[None]:
    """Put other parameters into blocks for the length of a `with` block.

    Args:
        model: The model.
        edits: Edits, of which those with op "weights" count; they passed `check_variant`.

    Yields:
        Nothing; on leaving, the parameters are bit for bit what they were.
    """
    undo: list[tuple[torch.nn.Parameter, Tensor]] = []
    try:
        for edit in edits:
            if not isinstance(edit.value, Weights):
                continue
            own = model.parameters(edit.layer)
            for name, array in edit.value.parameters:
                parameter = own[name]
                undo.append((parameter, parameter.data))
                parameter.data = changed(parameter.data, array)
        yield
    finally:
        for parameter, old in reversed(undo):
            parameter.data = old


def changed(parameter: Tensor, held: Held) -> Tensor:
    """What an edit of weights makes of a parameter.

    Args:
        parameter: Its value.
        held: What the edit holds of it, of the same shape.

    Returns:
        The new value, in the number format of the old one and where that is.

    Example:
        >>> by_hand = LowRank(Array.of([[1.0]], "left"), Array.of([[0.5, 2.0]], "right"))
        >>> changed(torch.ones(1, 2), by_hand).tolist()
        [[1.5, 3.0]]
    """
    if isinstance(held, LowRank):
        wide = parameter.to(torch.promote_types(parameter.dtype, torch.float32))
        return (wide + like(held.left.data, wide) @ like(held.right.data, wide)).to(parameter.dtype)
    new = torch.from_numpy(held.data.copy()).to(parameter.device)
    return parameter * new if new.dtype == torch.bool else new.to(parameter.dtype)


def _at_resid_mid(edit: Edit, rows: Rows | None) -> list[Hook]:
    """The stream between attention and MLP is edited by way of what attention adds to it.

    A bridge has its hook there on the input of the second norm, past the point where the stream branches.
    """
    entering: list[Tensor] = []
    change = _edited(edit, rows)

    def remember(x: Tensor) -> None:
        entering[:] = [x]

    def write(attn_out: Tensor) -> Tensor:
        return change(entering[0] + attn_out) - entering[0]

    return [(edit.layer, "resid_pre", remember), (edit.layer, "attn_out", write)]


def _edited(edit: Edit, rows: Rows | None) -> Callable[[Tensor], Tensor]:
    if rows is None and (edit.positions != "all" or edit.per_question):
        msg = (
            f"'{edit}' depends on the question or on positions in it; give the questions that will be run, or use "
            "dp.read(model, questions, under=...)"
        )
        raise InputError(msg)

    def fn(x: Tensor) -> Tensor:
        out = x.clone()
        view = out if edit.head is None else out[:, :, edit.head]
        if rows is None or (edit.positions == "all" and not edit.per_question):
            view[...] = _changed(edit, view, None)
            return out
        if tuple(x.shape[:2]) != (len(rows.sequences), rows.width):
            msg = (
                f"'{edit}' was made for sequences of the shape {(len(rows.sequences), rows.width)}, but the model runs "
                f"on {tuple(x.shape[:2])}; run exactly the sequences that were given, right-padded"
            )
            raise InputError(msg)
        for row, sequence in enumerate(rows.sequences):
            columns, which, total = rows.places(edit.positions, row)
            if columns:
                view[row, columns] = _changed(edit, view[row, columns], (sequence.owner, which, total))
        return out

    return fn


def _changed(edit: Edit, old: Tensor, at: tuple[int, list[int], int] | None) -> Tensor:
    """What an edit makes of activations `[..., d]`.

    Where it differs by question, `old` is `[position, d]` of one, and `at` says of which question, which of the
    positions that the edit writes at, and how many these are.
    """
    value = edit.value
    if edit.op == "scale":
        assert isinstance(value, float)
        return old * value
    if isinstance(value, Affine | Bottleneck):
        return mapped(value, old)
    if isinstance(value, Noise):
        assert at is not None
        question, which, total = at
        shape = (total, *old.shape[1:])
        drawn = noise_values(edit.seed or 0, question, edit.layer, shape, site=edit.site, head=edit.head)[
            which
        ]
        wide = old.to(torch.promote_types(old.dtype, torch.float32))
        width = wide.std(-1, unbiased=False, keepdim=True) if value.relative_to == "token_std" else 1.0
        added: Tensor = value.variance**0.5 * width * like(drawn, wide)
        return old + added.to(old.dtype)
    new: Tensor
    if isinstance(value, PerQuestion):
        assert at is not None
        source, which, total = at
        if edit.op == "resample":
            source = resample_index(edit.seed or 0, source, value.n_questions)
        new = like(value.at_positions(source, total)[which], old)
    elif isinstance(value, Array):
        new = like(value.data, old).expand_as(old)
    else:
        assert isinstance(value, float)
        new = torch.full_like(old, value)
    return old + new if edit.op == "add" else new
