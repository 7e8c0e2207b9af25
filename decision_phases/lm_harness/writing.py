"""How a task of lm-evaluation-harness wants text to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decision_phases.errors import InputError

_STEPS = 256  # what lm-evaluation-harness lets a model write where a task says nothing
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING = ("top_p", "top_k", "min_p", "typical_p")


@dataclass(frozen=True)
class Writing:
    """How a task wants text to be written.

    Attributes:
        until: Strings that end a text.
        steps: Most tokens.
        temperature: Of the sampling; None takes the likeliest token.
    """

    until: tuple[str, ...]
    steps: int
    temperature: float | None

    @classmethod
    def of(cls, given: Mapping[str, Any], max_length: int) -> Writing:
        """Read what a task says.

        Args:
            given: Its `generation_kwargs`.
            max_length: Most tokens that the model is given, prompt included.

        Returns:
            The same, checked.

        Raises:
            InputError: If there is no such way of writing here.

        Example:
            >>> Writing.of({"until": ["Q:"], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}, 512)
            Writing(until=('Q:',), steps=8, temperature=None)
        """
        rest = dict(given)
        until = rest.pop("until", None) or ()
        stops = (until,) if isinstance(until, str) else tuple(until)
        limits = [int(value) for name in _LIMITS if (value := rest.pop(name, None)) is not None]
        steps = limits[0] if limits else _STEPS
        if not 0 < steps < max_length:
            msg = f"a task lets the model write {steps} tokens; that must be above 0 and below max_length, {max_length}"
            raise InputError(msg)
        temperature = float(rest.pop("temperature", None) or 0.0)
        samples = rest.pop("do_sample", None)
        if samples is None:
            samples = temperature > 0
        if samples and not temperature:
            temperature = 1.0
        if not samples:  # what would narrow a draw has nothing to narrow
            for name in _SAMPLING:
                rest.pop(name, None)
        unknown = sorted(name for name, value in rest.items() if value is not None)
        if unknown:
            msg = (
                f"a task asks for {', '.join(f'{name}={rest[name]!r}' for name in unknown)}, which is not known here; "
                f"known: until, do_sample, temperature, {', '.join(_LIMITS)}. Override the task's generation_kwargs "
                "(gen_kwargs= of lm_eval.simple_evaluate)"
            )
            raise InputError(msg)
        return cls(tuple(stop for stop in stops if stop), steps, temperature if samples else None)
