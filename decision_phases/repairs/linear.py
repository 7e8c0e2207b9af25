"""Linear repairs: closed forms of second moments, without labels and without training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack
from torch import Tensor

from decision_phases.errors import InputError, check_numbers
from decision_phases.interventions import Affine, Array
from decision_phases.repairs.contract import Fitted, Fitter, Job, MapRepair, Missed, Task
from decision_phases.repairs.hadamard import hadamard
from decision_phases.repairs.moments import Gathering, Moments

#: Below this reciprocal condition number, a solution in float64 has hardly a digit that can be trusted.
_SINGULAR = 1e-14

#: A channel whose size is below this share of the mean channel's holds nothing but the rounding of float32.
_ROUNDING = 1e-6

#: The weight of a map without the identity, and its bias; None for zero.
Change: TypeAlias = tuple[Float[np.ndarray, "d d"] | None, Float[np.ndarray, " d"] | None]


@dataclass(frozen=True)
class LinearRepair(MapRepair):
    """A map x + x M + b that follows from the moments.

    Attributes:
        relative: Weigh every token by 1/‖y‖², so that what is made small is the error relative to the length of each,
            as the norms of the blocks behind see it. Where the cut holds the block that gives a few tokens their huge
            norm, which no linear map of the stream before it can, equal weights spend the map on these tokens.
    """

    relative: bool = False

    @abstractmethod
    def solve(self, moments: Moments) -> Change:
        """Find the map.

        Args:
            moments: What enters and leaves the cut.

        Returns:
            M and b.

        Raises:
            InputError: If the moments do not determine it.
        """

    def begin(self, job: Job) -> Fitter:
        """Begin with one place."""
        return _Solving(self, job)


class _Solving(Fitter):
    def __init__(self, repair: LinearRepair, job: Job) -> None:
        self.repair, self.job = repair, job
        self.gathering = (Gathering(job.width), Gathering(job.width, relative=True))

    def take(self, x: Float[Tensor, "token d"], y: Float[Tensor, "token d"]) -> None:
        for one in self.gathering:
            one.take(x, y)

    def finish(self) -> Fitted:
        equal, relative = (one.finish() for one in self.gathering)
        change, bias = self.repair.solve(relative if self.repair.relative else equal)
        weight = np.eye(self.job.width) if change is None else np.eye(self.job.width) + change
        kind = np.float64 if self.job.double else np.float32
        value = Affine(
            Array.of(weight.astype(kind), "the weight of the map"),
            None if bias is None else Array.of(bias.astype(kind), "the bias of the map"),
        )
        before = Missed(equal.error(), relative.error())
        return Fitted(value, before, Missed(equal.error(change, bias), relative.error(change, bias)))


@dataclass(frozen=True)
class MeanBias(LinearRepair):
    """x + mean(δ): the constant that the cut leaves out on average."""

    def n_parameters(self, width: int) -> int:
        """One a channel."""
        return width

    def solve(self, moments: Moments) -> Change:
        """The mean."""
        return None, moments.delta / moments.total


@dataclass(frozen=True)
class Diagonal(LinearRepair):
    """Every channel times a number, by least squares: Σ xδ / Σ x² added to 1."""

    rotated: bool = False

    def n_parameters(self, width: int) -> int:
        """One a channel."""
        return width

    def solve(self, moments: Moments) -> Change:
        """The numbers, one channel at a time; a channel that is zero in all tokens, up to rounding, is left alone."""
        H = hadamard(moments.width) if self.rotated else np.eye(moments.width)
        squares, products = (((H.T @ sums) * H.T).sum(axis=1) for sums in (moments.xx, moments.xd))
        there = squares > _ROUNDING**2 * squares.mean()
        scales = np.divide(products, squares, out=np.zeros_like(products), where=there)
        return (H * scales) @ H.T, None


@dataclass(frozen=True)
class LinearPatch(LinearRepair):
    """H diag(d) Hᵀ with d the ratio of mean magnitudes behind and before the cut, measured after the rotation.

    The published code averages the ratios of single batches; here the ratio is that of the means over all tokens,
    which does not depend on how they are batched. These are no least squares: it can be worse than nothing.
    """

    def n_parameters(self, width: int) -> int:
        """One a channel."""
        return width

    def solve(self, moments: Moments) -> Change:
        """The ratios; a rotated channel that is zero in all tokens, up to rounding, is left alone."""
        H = hadamard(moments.width)
        before = moments.rotated_x
        there = before > _ROUNDING * before.mean()
        scales = np.divide(moments.rotated_y, before, out=np.ones_like(before), where=there)
        return (H * (scales - 1)) @ H.T, None


@dataclass(frozen=True)
class Ghost(LinearRepair):
    """Any linear map, by least squares: M = (XᵀX + ε I)⁻¹ XᵀΔ, solved in float64.

    ε is `ridge` times the mean of the diagonal of XᵀX; published is a fixed 1e−6, which does not know the scale of the
    stream. With a bias, the bias carries no ridge.

    Attributes:
        ridge: Share of the mean squared channel that is added to the diagonal; 0 for plain least squares.
        bias: Whether there is a bias.
    """

    ridge: float = 1e-6
    bias: bool = False

    def check(self, task: Task) -> None:
        """Refuse a ridge that is none, and texts that are too short.

        Raises:
            InputError: Naming it.
        """
        check_numbers(self.name, from_zero={"ridge": self.ridge})
        if not np.isfinite(self.ridge):
            msg = f"{self.name} with ridge={self.ridge!r} has no solution; give a finite share, such as 1e-6"
            raise InputError(msg)
        super().check(task)

    def n_parameters(self, width: int) -> int:
        """A matrix, and the bias."""
        return width * width + (width if self.bias else 0)

    def solve(self, moments: Moments) -> Change:
        """The solution of the normal equations; `InputError` if they are singular."""
        xx, xd, total = moments.xx, moments.xd, moments.total
        if self.bias:  # least squares with a bias are those without one, of centred activations
            xx = xx - np.outer(moments.x, moments.x) / total
            xd = xd - np.outer(moments.x, moments.delta) / total
        mean_square = float(np.trace(moments.xx)) / len(xx)
        change = self._solved(xx + self.ridge * mean_square * np.eye(len(xx)), xd)
        return change, (moments.delta - moments.x @ change) / total if self.bias else None

    def _solved(self, xx: Float[np.ndarray, "d d"], xd: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
        # Channels of very different size are brought to one first, which changes nothing but the rounding.
        diagonal = np.diag(xx)
        scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        balanced = xx * scale[:, None] * scale
        factor, failed = lapack.dpotrf(balanced, lower=0)
        condition = 0.0 if failed else lapack.dpocon(factor, float(abs(balanced).sum(axis=0).max()))[0]
        if condition < _SINGULAR:
            msg = (
                f"{self.name}: the {len(xx)} channels that enter the cut vary in fewer directions than that over the "
                f"tokens given (ridge {self.ridge:g}), so no single map fits best; give more text, or a ridge above 0, "
                "such as dataclasses.replace(dp.REPAIRS['ghost'], ridge=1e-6)"
            )
            raise InputError(msg)
        solution, _ = lapack.dpotrs(factor, xd * scale[:, None], lower=0)
        return np.asarray(solution * scale[:, None])


MEAN_BIAS = MeanBias(
    "mean_bias", "adds the mean of what the cut leaves out", "the rank-0 limit of Ghosted Layers (2605.15491)"
)
DIAGONAL = Diagonal(
    "diagonal",
    "scales every channel, by least squares",
    "least squares in place of LinearPatch's ratios, unrotated",
)
LINEAR_PATCH = LinearPatch(
    "linear_patch",
    "scales channels to their old mean size, after a Hadamard rotation",
    "LinearPatch, arXiv 2505.24680",
)
HADAMARD_DIAGONAL = Diagonal(
    "hadamard_diagonal",
    "scales channels after a Hadamard rotation, by least squares",
    "least squares in place of LinearPatch's ratios (arXiv 2505.24680)",
    rotated=True,
)
GHOST = Ghost("ghost", "any linear map, by least squares", "Ghosted Layers, arXiv 2605.15491")
AFFINE = Ghost(
    "affine",
    "any linear map with a bias, by least squares",
    "Ghosted Layers, arXiv 2605.15491, with a bias",
    bias=True,
)
RELATIVE_GHOST = replace(
    GHOST,
    name="relative_ghost",
    what="any linear map, by least squares relative to the length of each token",
    source="Ghosted Layers, arXiv 2605.15491, with weights",
    relative=True,
)
RELATIVE_AFFINE = replace(
    AFFINE,
    name="relative_affine",
    what="any linear map with a bias, by least squares relative to the length of each token",
    source="Ghosted Layers, arXiv 2605.15491, with a bias and weights",
    relative=True,
)
#: All of them by name.
LINEAR: Mapping[str, LinearRepair] = MappingProxyType(
    {
        repair.name: repair
        for repair in (
            MEAN_BIAS, DIAGONAL, LINEAR_PATCH, HADAMARD_DIAGONAL, GHOST, AFFINE, RELATIVE_GHOST, RELATIVE_AFFINE
        )
    }
)  # fmt: skip
