"""What units put out while a model runs with gradients on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from decision_phases.engine import Batch, applied
from decision_phases.models.gradients import differentiable
from decision_phases.pruning.criteria.contract import Request
from decision_phases.pruning.criteria.units import Unit

#: Tokens in a batch: every layer's activations are held for the backward pass.
MAX_TOKENS = 1024
_OUTPUT = {"block": "resid_post", "attention": "attn_out", "mlp": "mlp_out"}
_Place = tuple[int, str]


@dataclass(frozen=True)
class Outputs:
    """What has been kept of the batch that runs, once it has run.

    The output of a block is the stream behind it; that of attention and MLP is what they add to it.
    """

    kept: dict[_Place, Tensor]

    def of(self, unit: Unit) -> Float[Tensor, "row pos d_model"]:
        """The output of a unit, with its graph.

        Args:
            unit: The unit.

        Returns:
            The output that the model went on with.
        """
        return self.kept[unit.layers[-1], _OUTPUT[unit.part]]

    def added(self, unit: Unit) -> Float[Tensor, "row pos d_model"]:
        """What a unit adds to the stream, without gradients.

        Args:
            unit: The unit.

        Returns:
            For blocks the stream behind the last less the stream before the first.
        """
        output = self.of(unit).detach()
        return output - self.kept[unit.layers[0], "resid_pre"].detach() if unit.part == "block" else output


@contextmanager
def kept_outputs(request: Request, batch: Batch) -> Iterator[Outputs]:
    """Keep the outputs of all units of a request while a `with` block runs a batch with gradients on.

    Args:
        request: What is asked; its intervention is applied.
        batch: What will run.

    Yields:
        The outputs, there once the batch has run.
    """
    kept: dict[_Place, Tensor] = {}
    places = dict.fromkeys(place for unit in request.units for place in _places(unit))
    start = (0, "resid_pre", lambda x: x.detach().requires_grad_())
    with ExitStack() as stack:
        stack.enter_context(differentiable())
        stack.enter_context(applied(request.model, request.under, batch.sequences))
        stack.enter_context(request.model.hooked([start, *((*at, _keeping(kept, at)) for at in places)]))
        yield Outputs(kept)


def _places(unit: Unit) -> list[_Place]:
    """Where a unit's output is, and for blocks the stream before it."""
    output = (unit.layers[-1], _OUTPUT[unit.part])
    return [(unit.layers[0], "resid_pre"), output] if unit.part == "block" else [output]


def _keeping(kept: dict[_Place, Tensor], at: _Place) -> Callable[[Tensor], Tensor]:
    def keep(x: Tensor) -> Tensor:
        kept[at] = x.clone()  # returned, so that what is kept is what the model goes on with
        return kept[at]

    return keep
