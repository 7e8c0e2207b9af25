"""`export`: a model under an intervention as a folder, reloaded and compared before it is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from decision_phases.engine.lower import check_variant
from decision_phases.errors import InputError
from decision_phases.exports.card import mergekit_recipe, model_card
from decision_phases.exports.plain import replaced
from decision_phases.exports.reload import compare, expected_prints
from decision_phases.exports.shorten import shortened
from decision_phases.exports.target import beside, check_target
from decision_phases.interventions import Intervention, check_intervention
from decision_phases.models import ModelAccess, as_model, bundled
from decision_phases.models.gradients import quantised
from decision_phases.models.loading import cast
from decision_phases.store import versions, write_json
from decision_phases.writing import writing


@dataclass(frozen=True)
class Exported:
    """A folder that was saved, reloaded and compared.

    Attributes:
        folder: Where it is.
        kind: "plain" for a folder that transformers runs by itself; "sidecar" for the whole model with the
            intervention beside it, which `dp.load` reads.
        under: The intervention.
        kept: Blocks in the folder, by their numbers in the intact model.
        parameters: Number of parameters in the folder.
        difference: Largest difference of a logit from the changed model, after reloading in a fresh process.
        cached: Largest difference between generating with the key-value cache and without; None if the family cannot
            generate with one.
    """

    folder: Path
    kind: str
    under: Intervention = field(repr=False)
    kept: tuple[int, ...]
    parameters: int
    difference: float
    cached: float | None

    def __str__(self) -> str:
        """That it is saved, and how that was checked."""
        what = (
            f"a plain transformers model of {len(self.kept)} blocks"
            if self.kind == "plain"
            else "the whole model with the intervention beside it, for dp.load"
        )
        cached = "" if self.cached is None else f", cached generation within {self.cached:.1e}"
        return (
            f"saved {self.folder}: {what}, {self.parameters / 1e6:.1f}M parameters ({self.under}); reloaded in a fresh "
            f"process: logits within {self.difference:.1e}{cached}"
        )


def export(model: object, under: Intervention, folder: str | Path) -> Exported:
    """Save a model under an intervention as a folder that can be loaded again.

    Removed blocks are really gone: what is saved is an ordinary Hugging Face model with fewer layers, and with other
    values where parameters are replaced. Anything else (inserted maps, removed attentions and MLPs, edits of
    activations) does not fit the architecture; then the whole model is saved with the intervention beside it, and
    `dp.load` gives it as `model.intervention`.

    The folder is written under another name, reloaded in a fresh process, compared (weights bit for bit, logits, and
    generation with the key-value cache), and only then moved to its place. A folder that fails is not left behind.

    Args:
        model: What `load` gives or takes, but no TransformerLens object: from that no plain model can be rebuilt.
        under: What is done to the model: a cut, or a cut with repairs.
        folder: Where to; a folder that holds anything is refused.

    Returns:
        What was saved, with the differences that were measured.

    Raises:
        InputError: If the model cannot be rebuilt, the intervention depends on questions or leaves nothing, the family
            is not understood, or the folder is taken or read-only.
        StorageError: If the disk is full.
        ParityError: If what was saved does not say the same when it is reloaded.

    Example:
        >>> import tempfile
        >>> from decision_phases.interventions import skip
        >>> with tempfile.TemporaryDirectory() as somewhere:
        ...     saved = export("tiny-llama", skip(2, 3), Path(somewhere) / "short")
        ...     saved.kind, saved.kept, saved.difference < 1e-5
        ('plain', (0, 1, 4, 5), True)
    """
    check_intervention("under", under)
    target = check_target(folder)
    access = as_model(model)
    check_exportable(access, under)
    with beside(target) as work, torch.no_grad():
        hf = access.fresh_hf()
        cast(hf, access.dtype)
        before = _count(hf)
        values = replaced(access, hf, under)
        kind = "sidecar" if values is None else "plain"
        kept = tuple(
            layer
            for layer in range(access.n_layers)
            if kind == "sidecar" or layer not in under.removed_blocks
        )
        saved = Intervention() if values is None else under
        expected = expected_prints(access, hf, saved, kept)
        if values is not None:
            hf = shortened(hf, under.removed_blocks, values)
        with writing(target):
            _write(hf, access, work)
            if values is None:
                under.save(work / "decision_phases")
        after = _count(hf)
        del hf
        checks = compare(access, under, work, kind, expected)
        record = {
            "kind": kind,
            "model": access.name,
            "weights": access.weights,
            "fingerprint": access.fingerprint,
            "architecture": access.architecture,
            "dtype": _dtype(access),
            "quantised": quantised(access),
            "under": str(under),
            "under_key": under.key,
            "n_layers": access.n_layers,
            "kept": list(kept),
            "replaced": sorted(values or ()),
            "parameters": after,
            "parameters_before": before,
            "checks": checks,
            "versions": versions(),
        }
        with writing(target):
            write_json(work / "decision_phases" / "export.json", record)
            (work / "README.md").write_text(model_card(record), encoding="utf-8")
            if kind == "plain" and not values:
                recipe = mergekit_recipe(_source(access), kept, _dtype(access))
                (work / "mergekit.yaml").write_text(recipe, encoding="utf-8")
    return Exported(target, kind, under, kept, after, checks["logits"], checks["cached"])


def check_exportable(model: ModelAccess, under: Intervention) -> None:
    """Refuse what cannot be saved, before anything is written.

    Args:
        model: The model.
        under: What is done to it.

    Raises:
        InputError: Saying why.
    """
    if model.processed:
        msg = (
            f"the weights of {model.name} are processed (norms folded, weights centred), which no Hugging Face model "
            "can hold; load it without processing: dp.load(name or folder)"
        )
        raise InputError(msg)
    if not model.capabilities.fresh:
        model.fresh_hf()  # says why not, and what to do
    if not under:
        msg = "the intervention is empty, so there is nothing to save; give a cut such as dp.skip(5, 6)"
        raise InputError(msg)
    check_variant(model, under)
    if len(under.removed_blocks) == model.n_layers:
        msg = f"'{under}' removes all {model.n_layers} blocks of {model.name}; leave at least one"
        raise InputError(msg)
    if under.per_question or under.needs_positions:
        edit = next(edit for edit in under if edit.per_question or edit.positions != "all")
        msg = f"'{edit}' depends on the question or on positions in it, and a saved model knows neither; leave it out"
        raise InputError(msg)


def _write(hf: Any, model: ModelAccess, folder: Path) -> None:
    hf.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)


def _source(model: ModelAccess) -> str:
    """Where a model was loaded from: a name of the hub, or the path of a folder."""
    origin = model.origin or {"source": model.name}
    given = str(origin["source"] or bundled.NAME)
    if given == bundled.NAME:
        return str(bundled.bundled_folder())
    if Path(given).is_dir():
        return str(Path(given).resolve())
    return given if origin.get("revision") is None else f"{given}@{origin['revision']}"


def _count(hf: nn.Module) -> int:
    return sum(parameter.numel() for parameter in {id(p): p for p in hf.parameters()}.values())


def _dtype(model: ModelAccess) -> str:
    return str(model.dtype).removeprefix("torch.")
