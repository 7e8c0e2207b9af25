"""How much of a matrix becomes zero, and how that is spelled."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import SupportsFloat

from decision_phases.errors import InputError

_PATTERN = re.compile(r"(\d+):(\d+)")
_EXAMPLES = "0.5 for half of them, or 2:4 for 2 kept of every 4 neighbours"


@dataclass(frozen=True)
class Amount:
    """A share of the weights, or a pattern: so many kept of every so many neighbours.

    Attributes:
        share: Share of the weights that become zero, above 0 and below 1.
        every: Length of a group of neighbours in a row; 0 if zeros may stand anywhere.

    Raises:
        InputError: If the share is none.

    Example:
        >>> Amount.of("2:4").share, str(Amount.of("2:4")), str(Amount.of(0.5))
        (0.5, '2:4', '0.5')
    """

    share: float
    every: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            msg = f"a sparsity of {self.share:g} is no share of weights to set to zero; give {_EXAMPLES}"
            raise InputError(msg)

    @classmethod
    def of(cls, given: Amount | SupportsFloat | str) -> Amount:
        """Read an amount.

        Args:
            given: A share, a pattern such as "2:4", or an amount.

        Returns:
            The amount.

        Raises:
            InputError: If it is none of these, or out of range.
        """
        if isinstance(given, Amount):
            return given
        pattern = _PATTERN.fullmatch(given.strip()) if isinstance(given, str) else None
        if pattern is not None:
            kept, every = int(pattern[1]), int(pattern[2])
            if not 0 < kept < every:
                msg = f"the pattern {given} keeps {kept} of every {every} weights; give {_EXAMPLES}"
                raise InputError(msg)
            return cls(1 - kept / every, every)
        try:
            share = float(given)
        except (TypeError, ValueError):
            msg = f"{given!r} is no amount of sparsity; give {_EXAMPLES}"
            raise InputError(msg) from None
        return cls(share)

    def zeros(self, size: int) -> int:
        """The number of zeros among so many weights, rounded down.

        Args:
            size: Number of weights.

        Example:
            >>> Amount(0.29).zeros(100), Amount(0.5).zeros(7)
            (29, 3)
        """
        return math.floor(self.share * size + 1e-9)

    def check(self, width: int, name: str) -> None:
        """Refuse a matrix that the pattern does not divide.

        Args:
            width: Its number of columns.
            name: Its name.

        Raises:
            InputError: If it is not divided into whole groups.
        """
        if self.every and width % self.every:
            msg = (
                f"the pattern {self} takes {self.every} neighbouring weights at a time, but the rows of {name} have "
                f"{width}, which {self.every} does not divide; give a share such as {self.share:g}, or leave it out "
                "with parts="
            )
            raise InputError(msg)

    def __str__(self) -> str:
        if self.every:
            return f"{round((1 - self.share) * self.every)}:{self.every}"
        return f"{self.share:g}"


def split_spelling(text: str) -> tuple[str, Amount]:
    """Read a method and its amount from one word.

    Args:
        text: Such as "wanda:0.5", "magnitude:2:4" or "sparsegpt:4:8".

    Returns:
        The name of the method, which is not looked up, and the amount.

    Raises:
        InputError: If it has no such form, or the amount is none.

    Example:
        >>> split_spelling("wanda:0.5"), str(split_spelling("magnitude:2:4")[1])
        (('wanda', Amount(share=0.5, every=0)), '2:4')
    """
    name, colon, amount = text.strip().partition(":")
    if not (name and colon and amount):
        msg = f"{text!r} does not say a method and an amount; write METHOD:AMOUNT, such as wanda:0.5 or wanda:2:4"
        raise InputError(msg)
    return name, Amount.of(amount)
