"""The maps of a linear repair, trained further: nothing else of the model changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decision_phases.engine.maps import affine
from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Affine, Array, Edit
from decision_phases.models.block_list import block_prefix
from decision_phases.models.loading import cast
from decision_phases.repairs.contract import Task
from decision_phases.repairs.fitting import fit_maps
from decision_phases.repairs.linear import LINEAR
from decision_phases.repairs.places import Place, places_of
from decision_phases.repairs.trained.losses import LOSSES
from decision_phases.repairs.trained.on_text import Prepared, TextTrained, compared
from decision_phases.repairs.trained.student import Map, Residual, Student


@dataclass(frozen=True)
class PatchRepair(TextTrained):
    """x @ W + b at every place of the cut: first in closed form, then all of W (and b, if there is one) with Adam.

    The published patch keeps the 50 most probable tokens of the intact model for its loss; here the KL is over the
    whole vocabulary. Maps are kept in float32 at least, whatever the model's number format.

    Attributes:
        start: The repair whose maps are trained further, a name in `LINEAR`.
        start_windows: How many of the windows these are fitted to, evenly spaced; None for all. A closed form needs far
            fewer than training does.
    """

    rate: float = 1e-4
    start: str = "linear_patch"
    start_windows: int | None = 64

    def check(self, task: Task) -> None:
        """Refuse what cannot be trained, and the checkpoint of another training, before anything runs.

        Args:
            task: What is asked.

        Raises:
            InputError: Saying what is missing.
        """
        if self.start not in LINEAR:
            raise unknown_name("start", self.start, LINEAR)
        super().check(task)
        LINEAR[self.start].check(self._starting(task))
        first = task.cut.earliest_layer or 0
        if LOSSES[self.loss].trajectory is not None and not compared(task.model, task.cut, first):
            msg = (
                f"{self.name} compares layers behind the cut, and '{task.cut}' leaves none; use loss='logits', or keep "
                "the last block"
            )
            raise InputError(msg)

    def prepare(self, task: Task) -> Prepared:
        """Fit the maps to start from and put them between the blocks; see `TextTrained.prepare`."""
        model, places = task.model, places_of(task.model, task.cut)
        (fitted,) = fit_maps(self._starting(task), places, [LINEAR[self.start]])
        kind = torch.float64 if model.dtype == torch.float64 else torch.float32
        parameters: dict[str, Tensor] = {}
        entering: dict[int, list[Map]] = {}
        leaving: dict[int, list[Map]] = {}
        for number, (place, edit) in enumerate(zip(places, fitted, strict=True)):
            own = {
                name: torch.tensor(array.data, dtype=kind, device=model.device).requires_grad_()
                for name, array in _arrays(edit).items()
            }
            parameters.update({f"{number}.{name}": p for name, p in own.items()})
            where, layer = _between(place, model.n_layers)
            at = entering if where == "entering" else leaving
            at.setdefault(layer, []).append(partial(_mapped, **own))

        def edits() -> tuple[Edit, ...]:
            return tuple(
                replace(edit, label=self.name, value=_trained(edit, number, parameters))
                for number, edit in enumerate(fitted)
            )

        hf = model.fresh_hf()
        cast(hf, model.dtype)
        hf.requires_grad_(requires_grad=False)
        blocks: Any = hf.get_submodule(block_prefix(hf)).to(model.device)
        student = Student(task.cut, list(blocks), entering=entering, leaving=leaving)
        return Prepared(student, task.cut.earliest_layer or 0, parameters, edits)

    def _starting(self, task: Task) -> Task:
        """The task of the repair that is started from."""
        data = task.source.data
        n = len(data.sequences)
        if self.start_windows is None or self.start_windows >= n:
            return task
        chosen = np.linspace(0, n - 1, self.start_windows).round().astype(int)
        some = replace(
            data,
            sequences=tuple(replace(data.sequences[i], owner=place) for place, i in enumerate(chosen)),
            groups=np.arange(len(chosen)),
            labels=tuple(f"#{i}" for i in chosen),
        )
        return replace(task, source=replace(task.source, data=some))

    def _above_zero(self) -> dict[str, float]:
        own = {} if self.start_windows is None else {"start_windows": self.start_windows}
        return {**own, **super()._above_zero()}


def _between(place: Place, n_layers: int) -> tuple[str, int]:
    """Where in the student the map of a place is."""
    if place.site != "resid_post":  # before a removed block; or before an MLP whose attention is gone
        return "entering", place.layer
    if place.cut.removed_blocks:  # of the last blocks: what they left enters the final norm
        return "entering", n_layers
    return "leaving", place.layer


def _arrays(edit: Edit) -> dict[str, Array]:
    value = edit.value
    assert isinstance(value, Affine)
    return {"weight": value.weight} | ({} if value.bias is None else {"bias": value.bias})


def _trained(edit: Edit, number: int, parameters: Mapping[str, Tensor]) -> Affine:
    kind = np.asarray(_arrays(edit)["weight"].data).dtype
    found = {
        name: Array.of(parameters[f"{number}.{name}"].detach().cpu().numpy().astype(kind), f"the {name} of the map")
        for name in _arrays(edit)
    }  # fmt: skip
    return Affine(found["weight"], found.get("bias"))


def _mapped(x: Residual, *, weight: Tensor, bias: Tensor | None = None) -> Residual:
    """A map as the engine runs it, in its own number format, whatever other matrices are multiplied in.

    In bfloat16 the identity alone would move the stream by more than a map that is near it.
    """
    with torch.autocast(x.device.type, enabled=False):
        return affine(x.to(weight.dtype), weight, bias).to(x.dtype)


PATCH_DISTIL = PatchRepair(
    "patch_distil",
    "trains the maps of linear_patch to predict what the intact model does",
    "LinearPatch, arXiv 2505.24680, distilled",
)
