"""The matrix products that no exact method can do without, and how fast this machine does such products.

A block must be computed once for every different sequence of blocks before it, and in it every token position once that
is different in its text so far and that something read depends on. In the last block of a variant, the positions that
are not read need keys and values only. Options need their own columns of the unembedding. That counts two operations
for every weight and position, and four for every attended pair and dimension of a head; everything else (norms, rotary
tables, softmax, copies) counts as nothing. The rate is that of the very matrices of block 0, each multiplied with as
many rows as there are such positions: the fastest pass among all that are measured between repetitions, in the whole
run. On a machine that is not always equally fast, that makes the share of the floor smaller rather than larger.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.functional import linear
from workloads import Cut

import decision_phases as dp
from decision_phases.tasks import EncodedQuestions


def block_operations(model: dp.ModelAccess) -> float:
    """Operations of one block's matrices for one position."""
    return float(sum(2 * p.numel() for p in matrices(model).values()))


def matrices(model: dp.ModelAccess) -> dict[str, torch.Tensor]:
    """The matrices of one block."""
    return {name: p for name, p in model.parameters(0).items() if p.ndim == 2}


def positions(encoded: EncodedQuestions) -> tuple[np.ndarray, np.ndarray]:
    """Tokens up to and with every different position, of all that must be computed, and of those that are read."""
    every = {s.tokens[: i + 1] for s in encoded.sequences for i in range(s.read[-1] + 1)}
    read = {s.tokens[: i + 1] for s in encoded.sequences for i in s.read}
    return np.array([len(t) for t in every]), np.array([len(t) for t in read])


def operations(
    model: dp.ModelAccess, encoded: EncodedQuestions, cuts: Iterable[Cut], *, dense: bool
) -> float:
    """Count the operations that reading the options under cuts needs.

    Args:
        model: The model.
        encoded: The questions.
        cuts: Removed blocks of every variant.
        dense: Whether options are read after every block.

    Returns:
        Floating-point operations.
    """
    every, read = positions(encoded)
    whole, ends = set[tuple[int, Cut]](), set[tuple[int, Cut]]()
    n_read = 0
    for cut in cuts:
        kept = [layer for layer in range(model.n_layers) if layer not in cut]
        n_read += len(kept) if dense else 1
        steps = [(layer, tuple(gone for gone in cut if gone < layer)) for layer in kept]
        whole.update(steps[:-1])
        ends.update(steps[-1:])
    block = block_operations(model)
    keys = float(sum(2 * p.numel() for n, p in matrices(model).items() if "k_proj" in n or "v_proj" in n))
    pair = 4.0 * model.n_heads * model.d_head
    full = len(every) * block + pair * every.sum()
    last = len(every) * keys + len(read) * (block - keys) + pair * read.sum()
    options = 2.0 * model.d_model * float(sum(len(ids) for ids in encoded.option_ids))
    return float(len(whole) * full + len(ends - whole) * last + n_read * options)


def rate(model: dp.ModelAccess, rows: int, seconds: float) -> float:
    """Measure the rate of matrix products.

    Args:
        model: The model whose matrices are multiplied.
        rows: Positions.
        seconds: For how long at least.

    Returns:
        Operations a second, of the fastest pass over all matrices of block 0.
    """
    some = [p.detach() for p in matrices(model).values()]
    xs = [torch.randn(rows, p.shape[1], device=p.device).to(p.dtype) for p in some]
    done, times = 0.0, list[float]()
    with torch.no_grad():
        while done < seconds or len(times) < 5:
            synchronise(model)
            start = time.perf_counter()
            for x, weight in zip(xs, some, strict=True):
                linear(x, weight)
            synchronise(model)
            times.append(time.perf_counter() - start)
            done += times[-1]
    return rows * block_operations(model) / min(times)


def synchronise(model: dp.ModelAccess) -> None:
    """Wait for the device."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
