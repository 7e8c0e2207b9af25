"""From left to right through the blocks, each calibrated on what the sparse blocks before it leave."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from decision_phases.engine.lower import layer_hooks, removes_block, replaced_weights, stand_in
from decision_phases.engine.run import lowered
from decision_phases.errors import InputError
from decision_phases.interventions import Edit, Intervention, Weights
from decision_phases.models import ModelAccess
from decision_phases.models.matrices import See, WeightMatrix, watching
from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.contract import SparsityMethod
from decision_phases.pruning.sparsity.inputs import Inputs, Summing
from decision_phases.tasks import TokenSequence

MAX_TOKENS = 4096
#: layer → its matrices that are made sparse
Targets = Mapping[int, Sequence[WeightMatrix]]


def calibrated(
    model: ModelAccess,
    method: SparsityMethod,
    amount: Amount,
    targets: Targets,
    *,
    sequences: Sequence[TokenSequence],
    under: Intervention,
    label: str,
    progress: bool,
) -> Intervention:
    """Make the matrices of some layers sparse.

    Every block is run twice: once to see what enters its matrices, once more, sparse, for the blocks that follow. The
    matrices of one block are all calibrated on the intact block, as in the published code of Wanda and SparseGPT.

    Args:
        model: The model.
        method: The method.
        amount: How much.
        targets: What is made sparse.
        sequences: What to calibrate on; none for methods that need no inputs.
        under: What else is done to the model.
        label: A name for the edits.
        progress: Show a bar.

    Returns:
        One edit a layer.
    """
    made: list[Edit] = []
    last = max(targets)
    with torch.no_grad():
        stream = _stream(model, sequences, under) if sequences else None
        for layer in tqdm(
            range(last + 1), disable=not progress, desc=f"{method.name}:{amount}", unit="block"
        ):
            matrices = targets.get(layer, ())
            if matrices:
                seen = _inputs(stream, method, layer, matrices) if stream is not None else {}
                with replaced_weights(model, under.at(layer)):
                    values = {m.name: _pruned(m, method, amount, seen.get(m), layer) for m in matrices}
                made.append(Edit("weights", "block", layer, value=Weights.from_mapping(values), label=label))
            if stream is not None and layer < last:
                stream.step(layer, made[-1:] if matrices else ())
    return Intervention(tuple(made))


def _inputs(
    stream: _Stream, method: SparsityMethod, layer: int, matrices: Sequence[WeightMatrix]
) -> dict[WeightMatrix, Inputs]:
    """What enters the matrices of a layer, summed over all tokens."""
    found = {m: Inputs(m.shape, method.needs, m.parameter.device) for m in matrices}
    summing = Summing(method.needs)

    def into(inputs: Inputs) -> See:
        return lambda index, x: inputs.add(index, summing(x), len(x))

    with watching({matrix: into(inputs) for matrix, inputs in found.items()}):
        for _ in stream.look(layer):
            summing.forget()
    for matrix, inputs in found.items():
        if not inputs.sums.isfinite().all():
            msg = (
                f"what enters {matrix.name} of layer {layer} is not finite, so {method.name} has nothing to weigh its "
                "weights by; load the model in float32, or leave the layer out with layers="
            )
            raise InputError(msg)
        if any(n and not sums.any() for n, sums in zip(inputs.tokens, inputs.sums, strict=True)):
            msg = (
                f"what enters {matrix.name} of layer {layer} is zero for every token, so {method.name} has nothing to "
                "weigh its weights by; leave the layer out with layers=, use magnitude, or change what under= does "
                "before that layer"
            )
            raise InputError(msg)
    return found


def _pruned(
    matrix: WeightMatrix, method: SparsityMethod, amount: Amount, inputs: Inputs | None, layer: int
) -> Tensor:
    """A mask or new values, of the shape of the parameter."""
    stack = matrix.stacked(matrix.parameter.detach())
    unseen = [] if inputs is None else [i for i, n in enumerate(inputs.tokens) if not n]
    if unseen:
        which = f"expert {', '.join(map(str, unseen))} of {matrix.name}" if matrix.is_stack else matrix.name
        warnings.warn(
            f"none of the texts' tokens enters {which} in layer {layer}; {method.name} then goes by the weights alone, "
            "as if all inputs were alike. More texts (texts=, limit=) may reach it",
            stacklevel=4,
        )
    made = [
        method.prune(weight, None if inputs is None or i in unseen else inputs.sums[i], amount)
        for i, weight in enumerate(stack)
    ]
    return matrix.unstacked(torch.stack(made))


class _Stream(ABC):
    """Texts on their way through the blocks."""

    @abstractmethod
    def look(self, layer: int) -> Iterator[None]:
        """Run a block, batch by batch; all before it are sparse already.

        Args:
            layer: 0-based index.

        Yields:
            After every batch.
        """

    @abstractmethod
    def step(self, layer: int, made: Sequence[Edit]) -> None:
        """Go on to the next block.

        Args:
            layer: The block that is left behind.
            made: What makes it sparse.
        """


class _ByBlock(_Stream):
    """From one block to the next, the residual streams being kept."""

    def __init__(self, model: ModelAccess, batches: Sequence[Tensor], under: Intervention) -> None:
        self.model, self.under = model, under
        self.entries = [model.enter(tokens) for tokens in batches]
        self.resids = [entry.resid for entry in self.entries]

    def look(self, layer: int) -> Iterator[None]:
        with self._prepared(layer, ()):
            for entry, resid in zip(self.entries, self.resids, strict=True):
                self.model.run_block(layer, resid, entry)
                yield

    def step(self, layer: int, made: Sequence[Edit]) -> None:
        edits = self.under.at(layer)
        if removes_block(edits):
            self.resids = [stand_in(edits, None)(resid) for resid in self.resids]
            return
        with self._prepared(layer, made):
            for i, entry in enumerate(self.entries):
                self.resids[i] = self.model.run_block(layer, self.resids[i], entry)

    @contextmanager
    def _prepared(self, layer: int, made: Sequence[Edit]) -> Iterator[None]:
        edits = (*self.under.at(layer), *made)
        with replaced_weights(self.model, edits), self.model.hooked(layer_hooks(edits, None)):
            yield


class _Whole(_Stream):
    """The whole model again for every block, in families whose blocks cannot be called one by one."""

    def __init__(self, model: ModelAccess, batches: Sequence[Tensor], under: Intervention) -> None:
        self.model, self.batches, self.edits = model, batches, list(under.edits)
        self.hooks, self.table = lowered(model, under, None)

    def look(self, layer: int) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(replaced_weights(self.model, self.edits))
            stack.enter_context(self.model.hooked(self.hooks))
            stack.enter_context(self.model.overridden(dict(self.table)))
            for tokens in self.batches:
                self.model.logits(tokens, last_only=True)
                yield

    def step(self, layer: int, made: Sequence[Edit]) -> None:
        self.edits += made


def _stream(model: ModelAccess, sequences: Sequence[TokenSequence], under: Intervention) -> _Stream:
    kind = _ByBlock if model.capabilities.direct else _Whole
    return kind(model, _batches(sequences, model.device), under)


def _batches(sequences: Sequence[TokenSequence], device: torch.device) -> list[Int[Tensor, "row token"]]:
    """Batches of equal length: what pads would enter the matrices like any token."""
    ordered = sorted((s.tokens for s in sequences), key=len)
    found = []
    for length, same in groupby(ordered, key=len):
        rows = list(same)
        size = max(MAX_TOKENS // length, 1)
        found += [torch.tensor(rows[i : i + size], device=device) for i in range(0, len(rows), size)]
    return found
