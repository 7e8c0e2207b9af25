"""What every part of a model adds to the logit of every option, reduced while the model runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from decision_phases.engine import Batch, Collector, Inputs, Observer, Reads
from decision_phases.engine.lower import removes_block, replaced_weights, stand_in
from decision_phases.engine.observers import ReadRows
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.logit_parts import ADDED, head_outputs, held_norm
from decision_phases.readout.observe import as_questions
from decision_phases.store import Packed

#: The arrays of `Contributions`, in the order in which a store keeps them.
_ARRAYS = (
    "embedding", "attention", "heads", "attention_bias", "mlp", "intervention", "norm_bias", "unembedding_bias",
    "logits",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Contributions:
    """Parts of the logit of every option, before what the model does to logits in the end (soft cap, scale).

    All parts of one option add up to its logit, but for rounding. NaN where a question has fewer options; 0 at layers
    that are removed or come after the one that is read out.

    Attributes:
        embedding: What enters block 0.
        attention: What the attention adds, heads and bias together.
        heads: What single heads add; no heads if they were not asked for.
        attention_bias: What the bias of the output projection adds, and of a norm behind it; NaN without heads.
        mlp: What the MLP adds.
        intervention: What edits of the residual stream add at the layer, or since the surviving layer before it; edits
            of attn_out as well, where heads are told apart. Other edits change the parts that they are made in.
        norm_bias: The bias of the final norm.
        unembedding_bias: The bias of the unembedding.
        logits: The logit itself.
    """

    embedding: Float[np.ndarray, "question option"]
    attention: Float[np.ndarray, "question layer option"]
    heads: Float[np.ndarray, "question layer head option"]
    attention_bias: Float[np.ndarray, "question layer option"]
    mlp: Float[np.ndarray, "question layer option"]
    intervention: Float[np.ndarray, "question layer option"]
    norm_bias: Float[np.ndarray, "question option"]
    unembedding_bias: Float[np.ndarray, "question option"]
    logits: Float[np.ndarray, "question option"]


@dataclass(frozen=True)
class ContributionObserver(Observer[Contributions]):
    """Takes the logits of a layer's readout apart.

    Attributes:
        factors: Of `head_factors`; empty to leave attention whole.
        layer: The layer that is read out; None for what the model says in the end.
        name: Under which the result is found.
    """

    factors: tuple[float, ...] = ()
    layer: int | None = None
    name: str = "contributions"

    @property
    def reads(self) -> Reads:
        """What enters block 0, what every block up to the layer adds, and what leaves it."""
        sites = (*ADDED, "resid_post", *(("head_out",) if self.factors else ()))
        return Reads(sites, "all" if self.layer is None else tuple(range(-1, self.layer + 1)))

    @property
    def key(self) -> str:
        """The settings."""
        return f"contributions {self.layer} {'by head' if self.factors else 'by sublayer'}, biases apart"

    def start(self, model: ModelAccess, inputs: Inputs, variant: Intervention) -> Collector[Contributions]:
        """Begin with one variant."""
        encoded = as_questions(inputs)
        if not encoded.option_ids:
            msg = (
                f"{encoded.scoring} scores are sums over the tokens of a text, which no one residual holds; use letter "
                "or first_token scoring"
            )
            raise InputError(msg)
        if self.layer in variant.removed_blocks:
            msg = f"layer {self.layer} is removed by {variant}; choose a layer that is left"
            raise InputError(msg)
        return _Adding(self, model, inputs, variant)

    def pack(self, result: Contributions) -> Packed:
        """All arrays."""
        return Packed(arrays={name: getattr(result, name) for name in _ARRAYS})

    def unpack(
        self, packed: Packed, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> Contributions:
        """Put a result together again."""
        return Contributions(**{name: packed.arrays[name] for name in _ARRAYS})


class _Adding(Collector[Contributions]):
    def __init__(
        self, observer: ContributionObserver, model: ModelAccess, inputs: Inputs, variant: Intervention
    ) -> None:
        self.model, self.variant, self.factors = model, variant, observer.factors
        # Edits there are of no part: heads, where they are told apart, are what they are before attn_out is edited.
        self.beside = ("resid_pre", "resid_mid", "resid_post", *(("attn_out",) if self.factors else ()))
        self.encoded = as_questions(inputs)
        self.last = model.n_layers - 1 if observer.layer is None else observer.layer
        questions, options = len(self.encoded), int(self.encoded.n_options.max())
        layers, heads = model.n_layers, model.n_heads if self.factors else 0
        absent = np.arange(options) >= self.encoded.n_options[:, None]
        by_layer = ("attention", "attention_bias", "mlp", "intervention")
        shapes = {"heads": (layers, heads), **dict.fromkeys(by_layer, (layers,))}
        self.values: dict[str, np.ndarray] = {}
        for name in _ARRAYS:
            self.values[name] = np.zeros((questions, *shapes.get(name, ()), options))
            np.moveaxis(self.values[name], -1, 1)[absent] = np.nan
        if not self.factors:
            self.values["attention_bias"][:] = np.nan

    def take(self, batch: Batch, rows: ReadRows) -> None:
        owners = [s.owner for s in batch.sequences]
        n_options = self.encoded.n_options[owners]
        # Questions with fewer options than others have token 0 in their place, whose values are dropped below.
        ids = torch.zeros(len(owners), int(self.encoded.n_options.max()), dtype=torch.long)
        for row, owner in enumerate(owners):
            ids[row, : n_options[row]] = torch.tensor(self.encoded.option_ids[owner])
        wanted, place = torch.unique(ids, return_inverse=True)
        weight, bias = (part.double().cpu() for part in self.model.unembedding(wanted))
        columns = weight[:, place].permute(1, 0, 2)  # [cell, d_model, option]
        end = self._end(rows)
        norm = held_norm(self.model.final_norm, end)
        before = norm.read_by(columns)

        def put(name: str, parts: Tensor, layer: int | None = None) -> None:
            """Keep what parts `[cell, ..., d_model]`, or logits `[cell, option]`, come to."""
            found = parts if name in ("norm_bias", "unembedding_bias", "logits") else _read(parts, before)
            for row, owner in enumerate(owners):
                at = (owner,) if layer is None else (owner, layer)
                self.values[name][at][..., : n_options[row]] = found[row, ..., : n_options[row]].numpy()

        stream = _wide(rows["resid_post", -1])
        put("embedding", stream)
        put("norm_bias", torch.einsum("d,cdo->co", norm.bias, columns))
        put("unembedding_bias", bias[place])
        put("logits", torch.einsum("cd,cdo->co", norm.normed, columns) + bias[place])
        edited = False
        for layer in range(self.last + 1):
            edits = self.variant.at(layer)
            if removes_block(edits):
                edited = edited or len(edits) > 1
            else:
                after = _wide(rows["resid_post", layer])
                edited = edited or any(
                    edit.op not in ("skip", "weights") and edit.site in self.beside for edit in edits
                )
                parts = self._parts(layer, rows, edited=edited)
                for name, part in parts.items():
                    put(name, part, layer)
                if edited:
                    put("intervention", after - stream - parts["attention"] - parts["mlp"], layer)
                stream, edited = after, False
        if edited:
            put("intervention", _wide(end) - stream, self.last)

    def _parts(self, layer: int, rows: ReadRows, *, edited: bool) -> dict[str, Tensor]:
        """What attention, heads and MLP of a layer add, by themselves if edits change what arrives."""
        found = {
            name: _wide(rows[site, layer]) for name, site in zip(("attention", "mlp"), ADDED, strict=True)
        }
        edits = self.variant.at(layer)
        if not self.factors or any(edit.op == "skip" for edit in edits if edit.site == "attention"):
            return found
        with replaced_weights(self.model, edits):
            heads, rest = head_outputs(self.model, layer, rows["head_out", layer], self.factors[layer])
        if edited:
            found["attention"] = heads.sum(1) + rest
        return found | {"heads": heads, "attention_bias": rest}

    def _end(self, rows: ReadRows) -> Tensor:
        """The residual that is read out: what leaves the last block there is, and the maps in place of later ones."""
        kept = [layer for layer in range(self.last + 1) if layer not in self.variant.removed_blocks]
        end = rows["resid_post", kept[-1] if kept else -1]
        for layer in range(kept[-1] + 1 if kept else 0, self.last + 1):
            end = stand_in(self.variant.at(layer), None)(end)
        return end

    def finish(self) -> Contributions:
        if not np.isfinite(self.values["logits"][~np.isnan(self.values["embedding"])]).all():
            msg = f"logits are not finite ({self.variant}); try dtype='float32', or a smaller intervention"
            raise InputError(msg)
        return Contributions(**self.values)


def _wide(rows: Tensor) -> Tensor:
    return rows.double().cpu()


def _read(parts: Tensor, before: Tensor) -> Tensor:
    """`[cell, ..., d_model]` and `[cell, d_model, option]` → `[cell, ..., option]`."""
    flat = parts.reshape(len(parts), -1, parts.shape[-1])
    return torch.bmm(flat, before).reshape(*parts.shape[:-1], -1)
