"""`patch_sweep` and `attribution_patching`: one place after the other, run exactly or foretold by gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decision_phases.circuits.answers import AnswerObserver
from decision_phases.circuits.cells import HEADS, Cell, Sources, cells_of, sources_of
from decision_phases.circuits.first_order import check_gradients, margin_gradients
from decision_phases.circuits.paired import Pairs
from decision_phases.circuits.sweep_result import DIRECTIONS, PatchSweep
from decision_phases.engine import Store, evaluate
from decision_phases.errors import unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.tasks import EncodedQuestions

SITES = ("resid_pre", "attn_out", "mlp_out", HEADS)


def patch_sweep(
    model: object,
    pairs: Pairs,
    *,
    sites: Sequence[str] = SITES,
    layers: Sequence[int] | None = None,
    positions: Sequence[str] = ("answer",),
    direction: str = "denoise",
    under: Intervention | None = None,
    seed: int = 0,
    store: Store = None,
    progress: bool = False,
) -> PatchSweep:
    """Patch one place after the other, and see how much of the margin comes back.

    Args:
        model: What `load` gives or takes.
        pairs: What `pairs` gave.
        sites: Sites of `capture`; heads, "head_out", are patched one by one, at the answer only.
        layers: Layers; by default all that are left.
        positions: Symbolic positions: "answer", "question", "option:0" where options are shown, "all".
        direction: "denoise" puts clean activations into the corrupted run, "noise" corrupted ones into the clean run.
        under: An intervention that both runs are under; none by default.
        seed: Of intervals.
        store: A store or its folder: every place is kept as soon as it is through, and found again.
        progress: Show a bar.

    Returns:
        Recovery at every place, with intervals over pairs.

    Raises:
        InputError: Before anything is patched, if pairs are not testable, or a site, layer or position does not exist.

    Source: activation patching, Meng et al., arXiv 2202.05262; directions and metric, Heimersheim and Nanda,
        arXiv 2404.15255.

    Example:
        >>> from decision_phases.circuits.pairing import pairs
        >>> sweep = patch_sweep("tiny-llama", pairs("tiny-llama", "facts", least=2), sites=["resid_pre"], layers=[0, 5])
        >>> len(sweep.cells)
        2
    """
    access, base, source, variant, cells = _prepared(model, pairs, sites, layers, positions, direction, under)
    looks = [AnswerObserver(pairs.tokens)]
    (whole,) = evaluate(access, source, [variant], looks, store=store)
    taken = sources_of(access, source, variant, cells)
    variants = [variant, *(variant + taken.patch(cell) for cell in cells)]
    runs = [run["answers"] for run in evaluate(access, base, variants, looks, store=store, progress=progress)]
    margins = [_margin(logits) for logits in (whole["answers"], *runs)]
    clean, corrupted = margins[:2] if direction == "denoise" else margins[1::-1]
    return PatchSweep(
        cells,
        np.stack(margins[2:], axis=1),
        clean,
        corrupted,
        np.stack([_first_ahead(logits) for logits in runs[1:]], axis=1),
        direction,
        pairs,
        variant,
        access.name,
        access.n_layers,
        seed,
    )


def attribution_patching(
    model: object,
    pairs: Pairs,
    *,
    sites: Sequence[str] = SITES,
    layers: Sequence[int] | None = None,
    positions: Sequence[str] = ("answer",),
    direction: str = "denoise",
    under: Intervention | None = None,
    seed: int = 0,
    progress: bool = False,
) -> PatchSweep:
    """Foretell a sweep to first order: gradient of the margin times the difference of the activations.

    Two runs and one backward pass stand for a run at every place. How well that goes depends on model and site; the
    exact sweep's `agreement` with this one says it.

    Args:
        model: What `load` gives or takes.
        pairs: What `pairs` gave.
        sites: As for `patch_sweep`.
        layers: As for `patch_sweep`.
        positions: As for `patch_sweep`.
        direction: As for `patch_sweep`; gradients are taken in the run that is patched.
        under: An intervention that both runs are under; none by default.
        seed: Of intervals.
        progress: Show a bar.

    Returns:
        Foretold recovery at every place.

    Raises:
        InputError: As for `patch_sweep`, and if the weights are quantised.

    Source: attribution patching, Nanda (2023); Syed et al., arXiv 2310.10348.

    Example:
        >>> from decision_phases.circuits.pairing import pairs
        >>> attribution_patching("tiny-llama", pairs("tiny-llama", "facts", least=2), sites=["mlp_out"]).method
        'first order'
    """
    access, base, source, variant, cells = _prepared(model, pairs, sites, layers, positions, direction, under)
    check_gradients(access)
    looks = [AnswerObserver(pairs.tokens)]
    (whole,), (own,) = (evaluate(access, side, [variant], looks) for side in (source, base))
    away, here = _margin(whole["answers"]), _margin(own["answers"])
    taken, known = (sources_of(access, side, variant, cells) for side in (source, base))
    gradients = margin_gradients(access, base, pairs.tokens, variant, cells, progress=progress)
    foretold = np.stack([here + _change(cell, taken, known, gradients[cell]) for cell in cells], axis=1)
    clean, corrupted = (away, here) if direction == "denoise" else (here, away)
    return PatchSweep(
        cells, foretold, clean, corrupted, None, direction, pairs, variant, access.name, access.n_layers, seed
    )


def _prepared(
    model: object,
    pairs: Pairs,
    sites: Sequence[str],
    layers: Sequence[int] | None,
    positions: Sequence[str],
    direction: str,
    under: Intervention | None,
) -> tuple[ModelAccess, EncodedQuestions, EncodedQuestions, Intervention, tuple[Cell, ...]]:
    """Model, prompts that are patched, prompts that activations come from, intervention and places; all checked."""
    if direction not in DIRECTIONS:
        raise unknown_name("direction", direction, DIRECTIONS)
    access, variant = as_model(model), under or Intervention()
    clean, corrupted = pairs.enough(access)
    cells = cells_of(access, variant, sites, layers, positions)
    for cell in cells:
        pairs.check_position(cell.position)
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    return access, base, source, variant, cells


def _margin(logits: np.ndarray) -> np.ndarray:
    """Clean answer minus corrupted answer, which stand first and second."""
    return np.asarray(logits[:, 0] - logits[:, 1])


def _first_ahead(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits[:, 0] > np.nanmax(logits[:, 1:], axis=1))


def _change(cell: Cell, taken: Sources, known: Sources, gradient: Sequence[np.ndarray]) -> np.ndarray:
    """What gradients say a patch adds to the margin of each pair."""
    head = None if cell.head < 0 else cell.head
    new, old = (side.at(cell).rows(cell.site, cell.layer, head) for side in (taken, known))
    return np.array(
        [
            float(((new.of(i).astype(np.float64) - old.of(i)) * slope).sum())
            for i, slope in enumerate(gradient)
        ]
    )
