"""Errors that say what was given, what was expected and what to do."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import SupportsIndex


class DecisionPhasesError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(DecisionPhasesError, ValueError):
    """What was given cannot be used; the message says what would be."""


class UntrustedError(InputError):
    """What was computed says itself that nothing should be built on it."""


class ParityError(DecisionPhasesError):
    """A model, loaded, does not compute what its reference computes."""


class StorageError(DecisionPhasesError, OSError):
    """A file cannot be written; what was written before is as it was."""


class MissingPackageError(DecisionPhasesError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""


def unknown_name(kind: str, given: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not known, with the near ones suggested.

    Args:
        kind: What the name names, in the singular ("strategy", "model").
        given: The name as it was given, or what was given in its place.
        known: Every valid name.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> str(unknown_name("scoring", "leter", ["letter", "cloze"]))
        "unknown scoring 'leter'; did you mean 'letter'? Known: cloze, letter."
    """
    names = sorted(known)
    near = get_close_matches(given, names, n=3, cutoff=0.5) if isinstance(given, str) else []
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    return InputError(f"unknown {kind} {given!r}{hint} Known: {', '.join(names)}.")


def check_numbers(
    what: str,
    *,
    above_zero: Mapping[str, float] | None = None,
    from_zero: Mapping[str, float] | None = None,
    whole: Collection[str] = (),
) -> None:
    """Refuse numbers that are out of range, no whole ones, or none at all (NaN, or words).

    Args:
        what: What they are settings of.
        above_zero: Name → what must be above 0.
        from_zero: Name → what must be 0 or above.
        whole: Names of those that must be whole numbers.

    Raises:
        InputError: Naming all that are out of range.

    Example:
        >>> check_numbers("lora", above_zero={"rank": 8, "rate": 1e-3}, from_zero={"steps": 0}, whole=["rank"])
    """
    above, least = dict(above_zero or {}), dict(from_zero or {})
    kinds = {
        name: "a whole number" if name in whole else "a number"
        for name, n in {**above, **least}.items()
        if not isinstance(n, SupportsIndex if name in whole else Real)
    }
    wrong = [
        *(
            f"{name}={n!r}, which must be {kinds[name]}"
            for name, n in {**above, **least}.items()
            if name in kinds
        ),
        *(
            f"{name}={n!r}, which must be above 0"
            for name, n in above.items()
            if name not in kinds and not n > 0
        ),
        *(
            f"{name}={n!r}, which must be 0 or above"
            for name, n in least.items()
            if name not in kinds and not n >= 0
        ),
    ]
    if wrong:
        msg = f"{what} has a setting out of range: {'; '.join(wrong)}"
        raise InputError(msg)


def check_confidence(confidence: object) -> None:
    """Refuse what is no nominal coverage of an interval, and no level of a certificate.

    Args:
        confidence: What was given.

    Raises:
        InputError: Unless it is a number above 0 and below 1.

    Example:
        >>> check_confidence(0.95)
    """
    if not (isinstance(confidence, Real) and 0 < float(confidence) < 1):
        msg = f"confidence={confidence!r}: give a share above 0 and below 1, such as 0.95 for 95 in 100"
        raise InputError(msg)
