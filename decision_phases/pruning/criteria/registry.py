"""All criteria by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from decision_phases.errors import unknown_name
from decision_phases.pruning.criteria.activation_gradient import ACTIVATION_GRADIENT, ACTIVATION_TAYLOR
from decision_phases.pruning.criteria.angular import ANGULAR_DISTANCE, ANGULAR_DISTANCE_ALL
from decision_phases.pruning.criteria.cka import CKA
from decision_phases.pruning.criteria.contract import Criterion
from decision_phases.pruning.criteria.controls import DEEPEST, RANDOM, SHALLOWEST
from decision_phases.pruning.criteria.cosine import BLOCK_INFLUENCE, COSINE
from decision_phases.pruning.criteria.decision import ACCURACY, MARGIN
from decision_phases.pruning.criteria.gradient_norm import GRADIENT_NORM
from decision_phases.pruning.criteria.kl import KL
from decision_phases.pruning.criteria.magnitude import MAGNITUDE_L1, MAGNITUDE_L2, MAGNITUDE_PLUS
from decision_phases.pruning.criteria.norms import ACTIVATION_NORM, RELATIVE_NORM, UPDATE_NORM
from decision_phases.pruning.criteria.perplexity import PERPLEXITY
from decision_phases.pruning.criteria.shapley import SHAPLEY, SHAPLEY_PERPLEXITY
from decision_phases.pruning.criteria.taylor import (
    TAYLOR,
    TAYLOR_MIXED,
    TAYLOR_PLUS,
    TAYLOR_SECOND,
    TAYLOR_VECTOR,
)
from decision_phases.pruning.criteria.trajectory import TRAJECTORY
from decision_phases.pruning.criteria.trajectory_local import TRAJECTORY_LOCAL

#: How important a block, an attention or an MLP is: lower is removed first.
CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        criterion.name: criterion
        for criterion in (
            MARGIN, ACCURACY, PERPLEXITY, KL, TRAJECTORY, TRAJECTORY_LOCAL,
            BLOCK_INFLUENCE, COSINE, ANGULAR_DISTANCE, ANGULAR_DISTANCE_ALL, CKA,
            ACTIVATION_NORM, UPDATE_NORM, RELATIVE_NORM,
            TAYLOR, TAYLOR_SECOND, TAYLOR_MIXED, TAYLOR_VECTOR, TAYLOR_PLUS,
            GRADIENT_NORM, ACTIVATION_GRADIENT, ACTIVATION_TAYLOR,
            SHAPLEY, SHAPLEY_PERPLEXITY,
            MAGNITUDE_L1, MAGNITUDE_L2, MAGNITUDE_PLUS,
            RANDOM, DEEPEST, SHALLOWEST,
        )
    }
)  # fmt: skip


def find_criterion(given: object) -> Criterion:
    """Look a criterion up; one that is given as such is left alone.

    Args:
        given: Its name, or itself.

    Returns:
        The criterion.

    Raises:
        InputError: If it is neither, or there is none of that name; near ones are suggested.

    Example:
        >>> find_criterion("block_influence").what
        '1 − cos(before, behind) of a block, mean over positions'
    """
    if isinstance(given, Criterion):
        return given
    if not isinstance(given, str) or given not in CRITERIA:
        raise unknown_name("criterion", given, CRITERIA)
    return CRITERIA[given]
