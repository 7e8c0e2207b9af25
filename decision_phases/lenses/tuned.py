"""The tuned lens as a value: one affine map a layer, of one model, in a file that says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from decision_phases.engine.maps import mapped
from decision_phases.errors import InputError
from decision_phases.interventions import Affine, Array
from decision_phases.lenses.divergence import LensDivergence, measure
from decision_phases.models import ModelAccess, as_model
from decision_phases.readout import Lens
from decision_phases.tasks import TextSet
from decision_phases.writing import replacing

FORMAT = "decision_phases.tuned_lens.1"


@dataclass(frozen=True)
class LensFit:
    """How a tuned lens came about.

    Attributes:
        model: Name of the model.
        fingerprint: Hash of its weights.
        n_layers: Number of its layers.
        texts: Name of the texts.
        texts_hash: Hash of the texts.
        window: Most tokens in a window.
        tokens: Number of tokens.
        ridge: Share of the mean squared channel on the diagonal of the least squares that begin.
        steps: Steps of training after them; 0 for none.
        batch: Tokens a step.
        top: Most probable tokens of the model that every token of a batch brings into the sum.
        sampled: Tokens drawn from the rest of the vocabulary in every step.
        rate: Learning rate at the start.
        seed: Of everything random.
    """

    model: str
    fingerprint: str
    n_layers: int
    texts: str
    texts_hash: str
    window: int
    tokens: int
    ridge: float
    steps: int
    batch: int
    top: int
    sampled: int
    rate: float
    seed: int

    def __str__(self) -> str:
        """One line."""
        trained = (
            f", {self.steps} steps of {self.batch} tokens towards the model's own next token"
            if self.steps
            else ""
        )
        return f"least squares on {self.tokens} tokens of {self.texts} (ridge {self.ridge:g}){trained}"


@dataclass(frozen=True, eq=False)
class TunedLens(Lens):
    """For every layer, an affine map to what the last layer would leave; the last layer's own is the identity.

    It belongs to the intact model. A pruned model is read through the same maps, by the intact model's numbering: a
    lens that was fitted anew would make up for the damage instead of showing it.

    Attributes:
        maps: The maps `x @ weight + bias`: of the embedding, of layer 0, …, of the last layer but one.
        fit: How it came about.

    Raises:
        InputError: If there is not one map for every layer but the last, all of one width.

    Source: Belrose et al., Eliciting Latent Predictions from Transformers with the Tuned Lens (arXiv 2303.08112).

    Example:
        >>> from decision_phases.lenses.fitting import tuned_lens
        >>> lens = tuned_lens("tiny-gpt2", limit=8, steps=0)
        >>> len(lens.maps), lens.width
        (6, 32)
    """

    maps: tuple[Affine, ...] = field(repr=False)
    fit: LensFit

    def __post_init__(self) -> None:
        widths = {one.width for one in self.maps}
        if len(self.maps) != self.fit.n_layers or len(widths) != 1:
            msg = (
                f"{len(self.maps)} maps of the widths {sorted(widths)} given for {self.fit.n_layers} layers; give one "
                "a layer, the embedding's first and none for the last layer, all of one width"
            )
            raise InputError(msg)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.maps[0].width

    @cached_property
    def key(self) -> str:
        """Hash of all its numbers and of the model that it belongs to."""
        text = repr((FORMAT, self.fit.fingerprint, [one.key for one in self.maps]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Its kind, "tuned", and the hash."""
        return f"tuned:{self.key}"

    def check(self, model: ModelAccess) -> None:
        """Refuse another model than the one it was fitted on; see `Lens.check`."""
        own, given = (self.fit.n_layers, self.width), (model.n_layers, model.d_model)
        if own != given:
            msg = (
                f"the lens was fitted on {self.fit.model}, {own[0]} layers of width {own[1]}; {model.name} has "
                f"{given[0]} layers of width {given[1]}. Fit one on it: dp.tuned_lens(model, texts=...)"
            )
            raise InputError(msg)
        if self.fit.fingerprint != model.fingerprint:
            msg = (
                f"the lens was fitted on other weights ({self.fit.model}, fingerprint {self.fit.fingerprint}) than "
                f"those of {model.name} ({model.fingerprint}). Load them as then, number format included, or fit a "
                "lens on these: dp.tuned_lens(model, texts=...). Of a pruned model, read the intact one with under="
            )
            raise InputError(msg)

    def translated(self, layer: int, resid: Float[Tensor, "cell d_model"]) -> Float[Tensor, "cell d_model"]:
        """Apply the map of a layer; see `Lens.translated`."""
        return resid if layer == self.fit.n_layers - 1 else mapped(self.maps[layer + 1], resid)

    def divergence(
        self,
        model: object,
        texts: str | Path | TextSet | Iterable[str] = "pydoc",
        *,
        window: int = 128,
        limit: int | None = 16,
        seed: int = 0,
        progress: bool = False,
    ) -> LensDivergence:
        """Measure how far every layer's guess of the next token is from the model's, with and without the lens.

        Args:
            model: The model that it was fitted on.
            texts: What `dp.texts` takes; of a whole set the evaluation half is used.
            window: Tokens in a window.
            limit: Use at most this many windows.
            seed: Of that draw.
            progress: Show a bar.

        Returns:
            KL(model ‖ layer) over the whole vocabulary, by layer, through the logit lens and through this one.

        Raises:
            InputError: If the lens belongs to another model, or these are the texts that it was fitted to.
        """
        access = as_model(model)
        self.check(access)
        return measure(
            access, self, texts, window=window, limit=limit, seed=seed, progress=progress,
            fitted_to=self.fit.texts_hash,
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the lens to one safetensors file.

        Args:
            path: The file.

        Raises:
            InputError: If it exists.
        """
        target = Path(path)
        if target.exists():
            msg = f"{target} exists already; choose another name"
            raise InputError(msg)
        arrays = {
            "weight": np.stack([one.weight.data for one in self.maps]),
            "bias": np.stack([_bias(one) for one in self.maps]),
        }
        about = {"format": FORMAT, "fit": json.dumps(asdict(self.fit)), "key": self.key}
        with replacing(target) as work:
            save_file(arrays, work, metadata=about)

    @classmethod
    def load(cls, path: str | Path) -> TunedLens:
        """Return the lens that `save` wrote.

        Args:
            path: The file.

        Returns:
            The lens.

        Raises:
            InputError: If there is no such file, it is no tuned lens, or its content was changed.

        Example:
            >>> TunedLens.load("/nowhere")
            Traceback (most recent call last):
            decision_phases.errors.InputError: there is no file /nowhere; give one that TunedLens.save wrote
        """
        source = Path(path)
        if not source.is_file():
            msg = f"there is no file {source}; give one that TunedLens.save wrote"
            raise InputError(msg)
        try:
            with safe_open(source, framework="numpy") as file:
                about = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if about.get("format") != FORMAT:
                msg = f"{source} is no tuned lens of this release; give a file that TunedLens.save wrote"
                raise InputError(msg)
            lens = cls(maps_of(arrays["weight"], arrays["bias"]), LensFit(**json.loads(about["fit"])))
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            msg = f"{source} is a damaged or malformed file ({error!r}); give one that TunedLens.save wrote"
            raise InputError(msg) from None
        if lens.key != about.get("key"):
            msg = f"{source} has another content than its key says; it was changed"
            raise InputError(msg)
        return lens

    def __repr__(self) -> str:
        """What it belongs to and how it came about."""
        return f"<TunedLens of {self.fit.model}, {self.key}: {self.fit}>"

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs."""
        return {"maps": self.maps, "fit": self.fit}


def maps_of(weight: Float[np.ndarray, "row d d"], bias: Float[np.ndarray, "row d"]) -> tuple[Affine, ...]:
    """Put matrices and biases together.

    Args:
        weight: One matrix a layer, the embedding's first.
        bias: One vector a layer.

    Returns:
        The maps.
    """
    return tuple(
        Affine(Array.of(w, f"the lens of layer {row - 1}"), Array.of(b, f"the bias of layer {row - 1}"))
        for row, (w, b) in enumerate(zip(weight, bias, strict=True))
    )


def _bias(one: Affine) -> Float[np.ndarray, " d"]:
    return np.zeros_like(one.weight.data[0]) if one.bias is None else one.bias.data
