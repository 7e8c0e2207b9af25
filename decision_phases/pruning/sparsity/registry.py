"""All methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import SupportsFloat

from decision_phases.errors import InputError, unknown_name
from decision_phases.pruning.sparsity.amount import Amount, split_spelling
from decision_phases.pruning.sparsity.contract import SparsityMethod
from decision_phases.pruning.sparsity.magnitude import MAGNITUDE
from decision_phases.pruning.sparsity.sparsegpt import SPARSEGPT
from decision_phases.pruning.sparsity.wanda import WANDA

#: How weights are made sparse.
SPARSITY_METHODS: Mapping[str, SparsityMethod] = MappingProxyType(
    {method.name: method for method in (MAGNITUDE, WANDA, SPARSEGPT)}
)


def find_sparsity(
    method: str | SparsityMethod, amount: Amount | SupportsFloat | str | None = None
) -> tuple[SparsityMethod, Amount]:
    """Look a method up, and read how much.

    Args:
        method: Its name, itself, or with the amount in one word: "wanda:0.5", "magnitude:2:4".
        amount: A share, or a pattern such as "2:4"; None if the method says it.

    Returns:
        The method and the amount.

    Raises:
        InputError: If there is no such method, or not one amount.

    Example:
        >>> method, amount = find_sparsity("wanda:2:4")
        >>> method.what, str(amount)
        ('the smallest |w| · ‖x‖ of each row', '2:4')
    """
    if isinstance(method, SparsityMethod):
        if amount is None:
            msg = f"{method.name} is given without an amount; give a share such as 0.5, or a pattern such as '2:4'"
            raise InputError(msg)
        return method, Amount.of(amount)
    if amount is None:
        method, amount = split_spelling(method)
    name, colon, more = method.partition(":")
    if colon:
        msg = f"{method!r} says {more}, and the amount {amount} is given as well; give one of them"
        raise InputError(msg)
    if name not in SPARSITY_METHODS:
        raise unknown_name("sparsity method", name, SPARSITY_METHODS)
    return SPARSITY_METHODS[name], Amount.of(amount)
