"""`sparsify`: set weights to zero, as an intervention like any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat, SupportsIndex

from decision_phases.engine import texts as read_texts
from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.models.gradients import quantised
from decision_phases.models.matrices import chosen_matrices, chosen_parts
from decision_phases.pruning.sparsity.amount import Amount
from decision_phases.pruning.sparsity.calibrate import Targets, calibrated
from decision_phases.pruning.sparsity.contract import SparsityMethod
from decision_phases.pruning.sparsity.registry import find_sparsity
from decision_phases.tasks import TextSet, TokenSequence, encode_texts

Texts = str | Path | TextSet | Iterable[str]


def sparsify(
    model: object,
    method: str | SparsityMethod = "wanda",
    amount: Amount | SupportsFloat | str | None = None,
    *,
    texts: Texts | None = None,
    layers: Iterable[SupportsIndex] | None = None,
    parts: str | Sequence[str] | None = None,
    under: Intervention | None = None,
    window: int = 128,
    limit: int | None = 64,
    seed: int = 0,
    progress: bool = False,
) -> Intervention:
    """Set weights of the blocks to zero by magnitude, Wanda or SparseGPT.

    All matrices of the blocks are made sparse, those of experts each by itself; embedding, unembedding, norms, biases,
    convolutions and routers are left alone. Blocks are calibrated from left to right, each on what the sparse ones
    before it leave. Where a family keeps queries, keys and values in one matrix, its three parts count as matrices.

    Args:
        model: What `load` gives or takes.
        method: A name in `SPARSITY_METHODS`, a method, or a name with the amount: "wanda:0.5", "sparsegpt:2:4".
        amount: Share of each matrix that becomes zero, or a pattern: "2:4" keeps 2 of every 4 neighbours in a row.
        texts: What Wanda and SparseGPT are calibrated on: what `dp.texts` takes; of a whole set, the half to fit on.
        layers: Layers to make sparse; all by default.
        parts: "attention", "mlp" or both; by default all that a block has.
        under: What else is done to the model, and is there when it is calibrated; the result is to be added to it. What
            it removes is not made sparse.
        window: Tokens in a window of the texts.
        limit: Use at most this many windows; None for all.
        seed: Of the draw of windows.
        progress: Show a bar.

    Returns:
        The intervention, `under` not included: masks for magnitude and Wanda, new values for SparseGPT.

    Raises:
        InputError: Before anything runs, if model, method, amount and texts do not fit; while it runs, if what enters a
            matrix is not finite, is zero throughout, or does not determine what SparseGPT solves for.

    Example:
        >>> from decision_phases.interventions import skip
        >>> sparsify("tiny-gpt2", "magnitude:2:4", parts="mlp")
        <Intervention: magnitude:2:4 mlp {0..5}>
        >>> some = ["Is water wet? Yes, it is.", "Is fire cold? No, it is hot, and ice is not."]
        >>> skip(2) + sparsify("tiny-gpt2", "wanda", 0.5, texts=some, under=skip(2))
        <Intervention: skip {2} + wanda:0.5 {0, 1, 3..5}>
    """
    asked = checked_sparsity(
        model, method, amount, texts=texts, layers=layers, parts=parts, under=under, window=window, limit=limit,
        seed=seed,
    )  # fmt: skip
    return asked.made(progress=progress)


@dataclass(frozen=True, eq=False)
class Asked:
    """What `sparsify` is asked, checked.

    Attributes:
        model: The model.
        method: How weights are chosen.
        amount: How many become zero.
        targets: Layer → the matrices that are made sparse.
        sequences: What is calibrated on; none for methods that look at weights alone.
        under: What else is done to the model.
        label: What the edits are called.
    """

    model: ModelAccess
    method: SparsityMethod
    amount: Amount
    targets: Targets
    sequences: Sequence[TokenSequence]
    under: Intervention
    label: str

    def made(self, *, progress: bool = False) -> Intervention:
        """Make the matrices sparse.

        Args:
            progress: Show a bar.

        Returns:
            As of `sparsify`.
        """
        return calibrated(
            self.model, self.method, self.amount, self.targets, sequences=self.sequences, under=self.under,
            label=self.label, progress=progress,
        )  # fmt: skip


def checked_sparsity(
    model: object,
    method: str | SparsityMethod,
    amount: Amount | SupportsFloat | str | None = None,
    *,
    texts: Texts | None = None,
    layers: Iterable[SupportsIndex] | None = None,
    parts: str | Sequence[str] | None = None,
    under: Intervention | None = None,
    window: int = 128,
    limit: int | None = 64,
    seed: int = 0,
) -> Asked:
    """Check everything that `sparsify` is asked, and calibrate nothing yet.

    Args:
        model: As in `sparsify`.
        method: As in `sparsify`.
        amount: As in `sparsify`.
        texts: As in `sparsify`.
        layers: As in `sparsify`.
        parts: As in `sparsify`.
        under: As in `sparsify`.
        window: As in `sparsify`.
        limit: As in `sparsify`.
        seed: As in `sparsify`.

    Returns:
        What can be made sparse.

    Raises:
        InputError: Saying what does not fit.

    Example:
        >>> checked_sparsity("tiny-gpt2", "magnitude:2:4", parts="mlp").label
        'magnitude:2:4 mlp'
    """
    access, base = as_model(model), under or Intervention()
    chosen, share = find_sparsity(method, amount)
    wanted = chosen_parts(parts)
    check_variant(access, base)
    _check_model(access, chosen, base)
    targets = chosen_matrices(access, base, layers=layers, parts=wanted, made="made sparse")
    widest = _check_matrices(targets, share)
    chosen.check_texts(texts)
    sequences: Sequence[TokenSequence] = ()
    if chosen.needs and texts is not None:
        sequences = _sequences(access, texts, window=window, limit=limit, seed=seed)
        _check_tokens(chosen, sequences, widest)
    label = f"{chosen.name}:{share}" + ("" if wanted is None else f" {' '.join(wanted)}")
    return Asked(access, chosen, share, targets, sequences, base, label)


def _check_model(model: ModelAccess, method: SparsityMethod, under: Intervention) -> None:
    why = quantised(model)
    if why:
        msg = f"{method.name} takes the values of weights, but {model.name} is quantised ({why}); load it unquantised"
        raise InputError(msg)
    if model.processed:
        msg = (
            f"{method.name} compares weights as published, but those of {model.name} are processed: norms were folded "
            "into them and they were centred, so that their sizes say something else, and zeros among them would be "
            "none in the model itself; load it without processing (dp.load does)"
        )
        raise InputError(msg)
    if under.needs_positions or under.per_question:
        msg = (
            f"{under} depends on questions or on positions in them, which texts do not have; make weights sparse under "
            "what is the same everywhere"
        )
        raise InputError(msg)


def _check_matrices(targets: Targets, amount: Amount) -> int:
    """Refuse what cannot be made sparse so; give the widest input."""
    every = [matrix for matrices in targets.values() for matrix in matrices]
    for matrix in every:
        amount.check(matrix.shape[2], matrix.name)
    return max(matrix.shape[2] for matrix in every)


def _sequences(
    model: ModelAccess, texts: Texts, *, window: int, limit: int | None, seed: int
) -> list[TokenSequence]:
    every = read_texts(texts, model=model)
    return encode_texts(
        every if every.half else every.fit,
        model.tokenizer,
        window=window,
        context_length=model.context_length,
        limit=limit,
        seed=seed,
    )


def _check_tokens(method: SparsityMethod, sequences: Sequence[TokenSequence], widest: int) -> None:
    tokens = sum(map(len, sequences))
    if method.needs == "products" and tokens < widest:
        msg = (
            f"{method.name} takes products of up to {widest} inputs, which {tokens} tokens do not determine; give at "
            f"least {widest} tokens (longer texts, a larger limit= or window=), or use wanda"
        )
        raise InputError(msg)
