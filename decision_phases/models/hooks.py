"""Functions at TransformerLens hook points, removed again whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

HookFn = Callable[[Tensor], "Tensor | None"]


@contextmanager
def hooking(hooks: Sequence[tuple[Any, HookFn]]) -> Iterator[None]:
    """Run functions at TransformerLens hook points for the length of a `with` block.

    Args:
        hooks: (hook point, function) pairs.

    Yields:
        Nothing; on leaving, exactly these hooks are removed, whatever happened inside.
    """
    undo = []
    try:
        for point, fn in hooks:
            point.add_hook(_as_tl_hook(fn))
            undo.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in reversed(undo):
            handle.hook.remove()
            point.fwd_hooks.remove(handle)


def _as_tl_hook(fn: HookFn) -> Callable[..., Any]:
    def hook(activation: Tensor, *, hook: Any) -> Tensor | None:  # noqa: ARG001 - TransformerLens passes it by name
        return fn(activation)

    return hook
