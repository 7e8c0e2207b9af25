"""Evaluating into a store: what is known is not run again, what becomes known is kept at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from decision_phases.engine.inputs import Inputs
from decision_phases.engine.observers import AnyObserver
from decision_phases.engine.plan import Plan
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.store import Packed, ResultStore, versions
from decision_phases.tasks import EncodedQuestions

#: A store, the folder of one, or none.
Store = ResultStore | Path | str | None
_FORMAT = 1


class Kept:
    """The results of one evaluation in a store.

    Args:
        store: The store.
        model: The model.
        inputs: What is put to it.
        plan: How it would all be run; the batches are part of the key, as other batches round otherwise.
        observe: What is looked at.

    Raises:
        InputError: If the model has hooks of its owner's, which no key can tell.
    """

    def __init__(
        self,
        store: ResultStore,
        model: ModelAccess,
        inputs: Inputs,
        plan: Plan,
        observe: Sequence[AnyObserver],
    ) -> None:
        if model.has_own_hooks:
            msg = (
                f"{model.name} has hooks of your own, so a store cannot tell what it computes; remove them "
                "(model.tl.reset_hooks()), or evaluate without store="
            )
            raise InputError(msg)
        self.store, self.model, self.inputs, self.observe = store, model, inputs, observe
        shared = {
            "format": _FORMAT,
            "model": model.fingerprint,
            "architecture": model.architecture,
            "kind": model.kind,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "inputs": inputs.key,
            "batches": batch_key(plan),
            "versions": versions(),
            "note": {"model": model.name, "weights": model.weights, **_described(inputs)},
        }
        self.studies = {o.name: store.study({**shared, "observer": o.key}) for o in observe}

    def has(self, variant: Intervention) -> bool:
        """Whether everything is known of a variant, and can be read."""
        return all(self.store.get(study, variant.key) is not None for study in self.studies.values())

    def put(self, variant: Intervention, results: Mapping[str, Any]) -> None:
        """Keep what was seen of a variant."""
        self.put_packed(variant, {o.name: o.pack(results[o.name]) for o in self.observe})

    def put_packed(
        self, variant: Intervention, packed: Mapping[str, Packed], threads: int | None = None
    ) -> None:
        """Keep what was seen of a variant, here or elsewhere."""
        for name, study in self.studies.items():
            self.store.put(
                study,
                variant.key,
                packed[name],
                what=str(variant),
                threads=threads or torch.get_num_threads(),
            )

    def get(self, variant: Intervention) -> dict[str, Any]:
        """What was seen of a variant.

        Raises:
            InputError: If it is not there any more.
        """
        found = {}
        for o in self.observe:
            packed = self.store.get(self.studies[o.name], variant.key)
            if packed is None:
                msg = f"the result of {variant} was damaged in {self.store.folder} while it ran; run the same again"
                raise InputError(msg)
            found[o.name] = o.unpack(packed, self.model, self.inputs, variant)
        return found


def batch_key(plan: Plan) -> str:
    """Identify how inputs are laid out in tensors: with other batches a sum may be rounded otherwise.

    Args:
        plan: The plan.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{plan.mode} {plan.last_layer} {plan.packed}".encode())
    for group in plan.groups:
        for tree in group:
            for stretch in tree.stretches:
                digest.update(
                    repr((stretch.offset, stretch.above, stretch.rows_above, stretch.ends)).encode()
                )
                digest.update(stretch.tokens.cpu().numpy().tobytes())
            leaves = [(leaf, batch.indices) for leaf, batch in tree.leaves]
            digest.update(repr((leaves, tree.merging, tree.max_tokens)).encode())
    return digest.hexdigest()[:16]


def as_store(given: Store) -> ResultStore | None:
    """Give a store as a `ResultStore`.

    Args:
        given: A store, its folder, or None.

    Returns:
        The store.
    """
    return given if given is None or isinstance(given, ResultStore) else ResultStore(given)


def _described(inputs: Inputs) -> dict[str, Any]:
    if not isinstance(inputs, EncodedQuestions):
        return {"sequences": len(inputs.sequences)}
    return {
        "questions": inputs.questions.name,
        "n_questions": len(inputs),
        "scoring": inputs.scoring,
        "template": inputs.template,
        "shots": inputs.shots,
    }
