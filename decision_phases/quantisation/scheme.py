"""How weights are rounded, and how that is spelled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from decision_phases.errors import InputError, MissingPackageError, check_numbers, unknown_name

_SPELLING = re.compile(r"int(\d+)(?::(\d+))?(:asymmetric)?")
_EXAMPLES = "int8 (a scale for every row), int4:64 (one for every 64 weights of a row) or int4:32:asymmetric"
SCALES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Scheme:
    """Integers of a few bits, a scale for every group of neighbours in a row, and where they begin if not at 0.

    Symmetric: w is rounded to s · q with q from −2^(bits−1) to 2^(bits−1) − 1, s the smallest scale that holds the
    whole group. Asymmetric: to m + s · q with q from 0 to 2^bits − 1, m the smallest weight and s what is needed from
    there. s and m are kept in float16, as in published formats (s rounded up and m down, so that the grid still holds
    its group), so what is counted is what is computed with.

    Attributes:
        bits: Bits of an integer, 2 to 8.
        group: Weights in a group; 0 for a whole row, which is what one output is computed from.
        symmetric: Whether 0 is on the grid, so that what is zero stays so.
        scales: What s and m are kept in, "float16" or "float32".

    Raises:
        InputError: If there is no such scheme.

    Example:
        >>> Scheme.of("int4:64"), str(Scheme(4, 32, symmetric=False))
        (Scheme(bits=4, group=64, symmetric=True, scales='float16'), 'int4:32:asymmetric')
    """

    bits: int
    group: int = 0
    symmetric: bool = True
    scales: str = "float16"

    def __post_init__(self) -> None:
        check_numbers("a scheme", from_zero={"bits": self.bits, "group": self.group}, whole=("bits", "group"))
        if not 2 <= self.bits <= 8:
            msg = f"weights of {self.bits} bits are not known; give 2 to 8, as in {_EXAMPLES}"
            raise InputError(msg)
        if self.group == 1:
            msg = f"groups of {self.group} weights make no sense; give at least 2, or 0 for whole rows"
            raise InputError(msg)
        if self.scales not in SCALES:
            raise unknown_name("format of scales", self.scales, SCALES)

    @classmethod
    def of(cls, given: Scheme | str) -> Scheme:
        """Read a scheme.

        Args:
            given: Such as "int8", "int4:64" or "int4:32:asymmetric", or a scheme.

        Returns:
            The scheme.

        Raises:
            InputError: If it is none.
        """
        if isinstance(given, Scheme):
            return given
        found = _SPELLING.fullmatch(str(given).strip())
        if found is None:
            msg = f"{given!r} is no scheme of quantisation; give {_EXAMPLES}"
            raise InputError(msg)
        if found[2] is not None and int(found[2]) == 0:
            msg = f"{given!r} has groups of 0 weights; leave the group out for whole rows"
            raise InputError(msg)
        return cls(int(found[1]), int(found[2] or 0), symmetric=found[3] is None)

    def check(self, width: int, name: str) -> None:
        """Refuse a matrix whose rows are not divided into whole groups.

        Args:
            width: Its number of columns.
            name: Its name.

        Raises:
            InputError: Naming groups that would do.
        """
        if self.group and width % self.group:
            fitting = [size for size in (256, 128, 64, 32, 16, 8) if width % size == 0]
            others = f"groups of {' or '.join(map(str, fitting))}, " if fitting else ""
            msg = (
                f"{self} takes {self.group} neighbouring weights at a time, but the rows of {name} have {width}, which "
                f"{self.group} does not divide; give {others}whole rows (int{self.bits}), or leave it out with parts="
            )
            raise InputError(msg)

    def n_bytes(self, weights: int, width: int) -> int:
        """Bytes of a matrix: integers without gaps between them, and the scales (and minima) of its groups.

        Args:
            weights: Number of weights.
            width: Number of columns.

        Returns:
            The bytes, rounded up.

        Example:
            >>> Scheme.of("int4:32").n_bytes(64, 64), Scheme.of("int8").n_bytes(64, 64)
            (36, 66)
        """
        groups = weights // (self.group or width)
        each = SCALES[self.scales].itemsize * (1 if self.symmetric else 2)
        return -(-weights * self.bits // 8) + groups * each

    def torchao(self) -> Any:
        """The configuration with which torchao makes linear layers whose weights are really kept so.

        With scales in float32 they have the weights that are computed with here. Scales in float16 torchao rounds to
        the nearest, and takes reciprocals of them in float16, so that weights differ by a small part of a step, and a
        few that lie half way by a whole one.

        Returns:
            An `IntxWeightOnlyConfig`, for `torchao.quantization.quantize_` or `transformers.TorchAoConfig`.

        Raises:
            MissingPackageError: If torchao is not installed.
            InputError: If the scheme is asymmetric: torchao's begin at a whole number of steps.

        Example:
            >>> Scheme.of("int8").torchao()  # doctest: +SKIP
        """
        if not self.symmetric:
            msg = f"torchao has nothing like {self}: its grids pass through 0; use a symmetric scheme"
            raise InputError(msg)
        try:
            torchao: Any = import_module("torchao.quantization")
            granularity: Any = import_module("torchao.quantization.granularity")
        except ImportError as error:
            msg = (
                "quantised layers need the package torchao; install it with: pip install 'decision-phases[quantise]' "
                f"({error})"
            )
            raise MissingPackageError(msg) from error
        return torchao.IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{self.bits}"),
            granularity=granularity.PerGroup(self.group) if self.group else granularity.PerAxis(0),
            mapping_type=torchao.MappingType.SYMMETRIC_NO_CLIPPING_ERR,
            scale_dtype=SCALES[self.scales],
        )

    def __str__(self) -> str:
        group = f":{self.group}" if self.group else ""
        scales = "" if self.scales == "float16" else f" ({self.scales} scales)"
        return f"int{self.bits}{group}{'' if self.symmetric else ':asymmetric'}{scales}"
