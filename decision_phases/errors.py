"""Errors that say what was given, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class DecisionPhasesError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(DecisionPhasesError, ValueError):
    """What was given cannot be used; the message says what would be."""


class UntrustedError(InputError):
    """What was computed says itself that nothing should be built on it."""


class ParityError(DecisionPhasesError):
    """A model, loaded, does not compute what its reference computes."""


class MissingPackageError(DecisionPhasesError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not known, with the near ones suggested.

    Args:
        kind: What the name names, in the singular ("strategy", "model").
        given: The name as it was given.
        known: Every valid name.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> str(unknown_name("scoring", "leter", ["letter", "cloze"]))
        "unknown scoring 'leter'; did you mean 'letter'? Known: cloze, letter."
    """
    names = sorted(known)
    near = get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    return InputError(f"unknown {kind} {given!r}{hint} Known: {', '.join(names)}.")
