"""Random draws that depend on what they are for, never on the batch or on the order of work."""

import numpy as np
from jaxtyping import Float

from decision_phases.errors import InputError
from decision_phases.interventions.edit import SITES


def noise_values(
    seed: int,
    question: int,
    layer: int,
    shape: tuple[int, ...],
    *,
    site: str = "resid_post",
    head: int | None = None,
) -> Float[np.ndarray, "..."]:
    """Return standard normal noise that is determined by seed, question and place.

    Each combination has a stream of its own, so that neither other questions of the batch nor earlier draws
    matter. A stream is filled from the first row on: the noise of a prompt is the beginning of the noise of
    the prompt with an option behind it.

    Args:
        seed: The seed of the edit, 0 or more.
        question: The index of the question.
        layer: The 0-based layer.
        shape: The shape of the noise, such as `(position, d)`.
        site: The site of the edit.
        head: The head of the edit, at `head_out`.

    Returns:
        Independent draws of N(0, 1), float64, of the given shape.

    Example:
        >>> a = noise_values(0, question=3, layer=5, shape=(2, 4))
        >>> b = noise_values(0, question=3, layer=5, shape=(7, 4))
        >>> bool((a == b[:2]).all())
        True
    """
    place = (question, layer, list(SITES).index(site), 0 if head is None else head + 1)
    stream = np.random.SeedSequence(seed, spawn_key=place)
    return np.random.Generator(np.random.Philox(stream)).standard_normal(shape)


def resample_index(seed: int, question: int, n_sources: int) -> int:
    """Return which question's activation takes the place of this question's.

    All edits of one seed draw the same question, whatever their layer and site, so that what is resampled
    together comes from one run of the model.

    Args:
        seed: The seed of the edit, 0 or more.
        question: The index of the question whose activation is replaced.
        n_sources: How many questions there are to draw from.

    Returns:
        An index in `[0, n_sources)`, never `question` itself: where the source was captured on the same
        questions, no question keeps its own activation. Uniform over the others.

    Raises:
        InputError: If there is no other question to draw from.

    Example:
        >>> [resample_index(0, question, n_sources=2) for question in (0, 1)]
        [1, 0]
    """
    others = n_sources - (question < n_sources)
    if others < 1:
        raise InputError(
            f"resampling question {question} needs another question to draw from; there is none."
        )
    stream = np.random.SeedSequence(seed, spawn_key=(question,))
    drawn = int(np.random.Generator(np.random.Philox(stream)).integers(others))
    return drawn + (question < n_sources and drawn >= question)
