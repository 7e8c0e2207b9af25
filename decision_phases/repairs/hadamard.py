"""Orthonormal matrices whose entries are all about equally large, for every width."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from decision_phases.errors import InputError

_HADAMARD_2 = np.array([[1.0, 1.0], [1.0, -1.0]])


def hadamard(width: int) -> Float[np.ndarray, "width width"]:
    """Return an orthonormal matrix that spreads every channel evenly over all of them.

    Where a Hadamard matrix of that order can be built from powers of two (Sylvester) and primes (Paley, both
    constructions), that is returned, with entries ±1/√width: 576 is 36 · 16, 768 is 12 · 64. For every other width it
    is the Kronecker product of Sylvester's matrix for the power of two in the width and the Hartley matrix of the odd
    rest, `(cos + sin)(2πjk/m) / √m`, which is orthonormal for every m and has no entry above √2/√m.

    Args:
        width: Number of channels.

    Returns:
        H with H Hᵀ = I, in float64.

    Raises:
        InputError: If the width is below 1.

    Source: Paley, On orthogonal matrices (1933); Bracewell, Discrete Hartley transform (1983).

    Example:
        >>> H = hadamard(576)
        >>> bool(np.allclose(H @ H.T, np.eye(576))), bool(np.allclose(abs(H), 1 / 24))
        (True, True)
    """
    if width < 1:
        raise InputError(f"a matrix of width {width} is asked for; the width must be at least 1.")
    power = width & -width  # the largest power of two that divides the width
    doublings = [2**k for k in range(power.bit_length())]
    for doubling in reversed(doublings):
        core = _paley(width // doubling)
        if core is not None:
            return np.asarray(np.kron(_sylvester(doubling), core) / np.sqrt(width))
    return np.asarray(np.kron(_sylvester(power), _hartley(width // power)) / np.sqrt(power))


def _sylvester(order: int) -> Float[np.ndarray, "n n"]:
    """The Hadamard matrix of a power of two, with entries ±1."""
    matrix = np.ones((1, 1))
    while len(matrix) < order:
        matrix = np.kron(_HADAMARD_2, matrix)
    return matrix


def _paley(order: int) -> Float[np.ndarray, "n n"] | None:
    """A Hadamard matrix with entries ±1, if one of this order follows from a prime."""
    if order == 1:
        return np.ones((1, 1))
    if order % 4 == 0 and _is_prime(order - 1):  # then order − 1 is 3 modulo 4
        return np.asarray(np.eye(order) + _bordered(order - 1, sign=-1.0))
    half = order // 2
    if order % 4 == 0 and half % 4 == 2 and _is_prime(half - 1):  # then half − 1 is 1 modulo 4
        outer = np.array([[1.0, -1.0], [-1.0, -1.0]])
        return np.asarray(np.kron(_bordered(half - 1, sign=1.0), _HADAMARD_2) + np.kron(np.eye(half), outer))
    return None


def _bordered(q: int, *, sign: float) -> Float[np.ndarray, "n n"]:
    """The matrix of quadratic residues modulo a prime, (i − j | q), with a border of ones."""
    residues = {(k * k) % q for k in range(1, q)}
    symbol = np.array([0.0, *(1.0 if k in residues else -1.0 for k in range(1, q))])
    matrix = np.zeros((q + 1, q + 1))
    matrix[0, 1:], matrix[1:, 0] = 1.0, sign
    places = np.arange(q)
    matrix[1:, 1:] = symbol[(places[:, None] - places) % q]
    return matrix


def _hartley(order: int) -> Float[np.ndarray, "n n"]:
    """The discrete Hartley transform: symmetric and orthonormal for every order."""
    places = np.arange(order)
    angles = 2 * np.pi * ((places[:, None] * places) % order) / order
    return np.asarray((np.cos(angles) + np.sin(angles)) / np.sqrt(order))


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % k for k in range(2, int(n**0.5) + 1))
