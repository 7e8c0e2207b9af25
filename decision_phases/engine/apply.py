"""An intervention on the user's own model, for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from decision_phases.engine.batches import Batch
from decision_phases.engine.lower import check_variant, replaced_weights
from decision_phases.engine.run import lowered
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model
from decision_phases.tasks import TokenSequence


@contextmanager
def applied(
    model: object, under: Intervention, sequences: Sequence[TokenSequence] | None = None
) -> Iterator[ModelAccess]:
    """Put a model under an intervention while a `with` block runs.

    Inside the block every run of the model is under the intervention: its own `run_with_cache`, hooks and generation
    included; hook points keep their layer numbers. Afterwards everything is as it was, also after an exception.

    Args:
        model: A `ModelAccess`, a `TransformerBridge` or a `HookedTransformer`.
        under: The intervention.
        sequences: What will be run, one sequence a row, if the intervention depends on questions or positions.

    Yields:
        The model.

    Raises:
        InputError: If the intervention does not fit the model, or needs `sequences`.

    Example:
        >>> import torch
        >>> from decision_phases.interventions import skip
        >>> from decision_phases.models import load
        >>> model = load("tiny-llama", quiet=True)
        >>> tokens = torch.tensor([[5, 6, 7]])
        >>> with applied(model, skip(0, 1, 2, 3, 4, 5)):
        ...     cut = model.logits(tokens)
        >>> bool(torch.equal(cut, model.readout(model.enter(tokens).resid)))
        True
    """
    access = as_model(model)
    check_variant(access, under, sequences or ())
    batch = None
    if sequences is not None:
        batch = Batch(tuple(sequences), tuple(range(len(sequences))), access.device)
    hooks, table = lowered(access, under, None if batch is None else batch.rows)
    with (
        replaced_weights(access, under.edits),
        access.hooked(hooks),
        access.overridden(dict(table)),
    ):
        yield access
