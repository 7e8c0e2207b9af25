"""How high the right passage ranks: recall and reciprocal rank, with ties broken at random, in expectation."""

import numpy as np
from jaxtyping import Float, Int

from decision_phases.errors import InputError


def places(
    similarity: Float[np.ndarray, "query passage"], answers: Int[np.ndarray, " query"]
) -> tuple[Int[np.ndarray, " query"], Int[np.ndarray, " query"]]:
    """Return how many passages are more similar to each query than its answer, and how many others equally.

    Example:
        >>> above, tied = places(np.array([[0.9, 0.5, 0.5], [0.1, 0.2, 0.3]]), np.array([1, 2]))
        >>> above.tolist(), tied.tolist()
        ([1, 0], [1, 0])
    """
    own = np.take_along_axis(similarity, answers[:, None], axis=1)
    return (similarity > own).sum(axis=1), (similarity == own).sum(axis=1) - 1


def recall_at(
    k: int, above: Int[np.ndarray, " query"], tied: Int[np.ndarray, " query"]
) -> Float[np.ndarray, " query"]:
    """Return the probability that the answer is among the first k, if ties are broken at random.

    Raises:
        InputError: If k is below 1.

    Example:
        >>> recall_at(1, np.array([0, 0, 1]), np.array([0, 1, 0])).tolist()
        [1.0, 0.5, 0.0]
    """
    if k < 1:
        msg = f"k={k}: recall is among the first one or more"
        raise InputError(msg)
    return np.asarray(np.clip(k - above, 0, tied + 1) / (tied + 1))


def reciprocal_rank(
    above: Int[np.ndarray, " query"], tied: Int[np.ndarray, " query"]
) -> Float[np.ndarray, " query"]:
    """Return the expected 1 / rank of the answer, if ties are broken at random.

    Example:
        >>> reciprocal_rank(np.array([0, 0, 3]), np.array([0, 1, 0])).tolist()
        [1.0, 0.75, 0.25]
    """
    return np.array(
        [np.mean(1.0 / np.arange(a + 1, a + t + 2)) for a, t in zip(above, tied, strict=True)],
        dtype=np.float64,
    )
