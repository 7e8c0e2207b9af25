"""A saved folder, reloaded in a fresh process and held against the model that it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from decision_phases.engine import applied
from decision_phases.engine.lower import replaced_weights
from decision_phases.errors import ParityError
from decision_phases.exports.check import cached_difference, of_model, of_plain, prints
from decision_phases.exports.plain import plain_places
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.models.block_list import block_prefix
from decision_phases.models.gradients import quantised
from decision_phases.models.loading import cast
from decision_phases.models.parity import TOLERANCE

_PROBE = 24
#: Another block than the one meant differs by about as much as the change itself; rounding stays well below this share.
_OF_THE_CHANGE = 1 / 4
#: How much more a changed model may round than the whole one does.
_OF_THE_NOISE = 4


def expected_prints(
    model: ModelAccess, hf: nn.Module, under: Intervention, kept: Sequence[int]
) -> dict[str, str]:
    """Hash every parameter that a plain folder should hold, as the loaded model computes with it.

    Args:
        model: The loaded model.
        hf: The same, untouched, in the same number format.
        under: What is done to the weights that are saved; what else it does is left aside.
        kept: Blocks that are saved, by their numbers in the intact model.

    Returns:
        Name in the folder → hash; without parameters whose place in the plain model is not known.
    """
    prefix, own = f"{block_prefix(hf)}.", hf.state_dict()
    values = {name: value for name, value in own.items() if not name.startswith(prefix)}
    if quantised(model):  # which has no plain values to compare with
        return prints(values)
    for new, layer in enumerate(kept):
        start = f"{prefix}{layer}."
        block = {name: value.clone() for name, value in own.items() if name.startswith(start)}
        places = plain_places(model, hf, layer, model.parameters(layer))
        with replaced_weights(model, under.at(layer)), torch.no_grad():
            for name, place in places.items():
                place.write(block, model.parameters(layer)[name].detach())
        values |= {f"{prefix}{new}.{name.removeprefix(start)}": value for name, value in block.items()}
    return prints(values)


def compare(
    model: ModelAccess, under: Intervention, folder: Path, kind: str, expected: Mapping[str, str]
) -> dict[str, Any]:
    """Reload the folder elsewhere and hold it against the model under the intervention.

    Weights are compared bit for bit. Logits may differ by what rounding does, at most by `TOLERANCE`: by a quarter of
    what the intervention changes, by a step of the largest logit, or by four times as much as those of the whole model
    differ between here and plain transformers on the CPU.

    Args:
        model: The model.
        under: What is done to it.
        folder: What was saved.
        kind: "plain" or "sidecar".
        expected: What `expected_prints` gave.

    Returns:
        `logits`, `cached` and `failure` as from `check`; and the `tolerance` that held.

    Raises:
        ParityError: If it cannot be loaded or does not say the same.
    """
    tokens = probe(model)
    here = tokens.to(model.device)
    with torch.no_grad():
        intact = model.logits(here).float().cpu()
        with applied(model, under):
            logits = model.logits(here).float().cpu().contiguous()
    with tempfile.TemporaryDirectory() as passing:
        reference = Path(passing) / "reference.safetensors"
        save_file({"tokens": tokens, "logits": logits, "like": torch.empty(0, dtype=model.dtype)}, reference)
        found = in_fresh_process(folder, reference)
    told = f"{model.name} ({model.architecture}) under {under} was saved, but reloaded"
    other = sorted(name for name in expected if found["prints"].get(name) != expected[name])
    if other:
        msg = (
            f"{told} its weights are not those of the changed model: {', '.join(other[:3])}"
            f"{f' and {len(other) - 3} more' if len(other) > 3 else ''}; nothing is left of it"
        )
        raise ParityError(msg)
    if kind == "sidecar" and found["under"] != under.key:
        msg = f"{told} its intervention is another one; nothing is left of it"
        raise ParityError(msg)
    most, step = TOLERANCE.get(model.dtype, 1.0), torch.finfo(model.dtype).eps * float(logits.abs().max())
    tolerance = min(most, max(_OF_THE_CHANGE * float((logits - intact).abs().max()), step))
    if not found["logits"] <= tolerance:  # rounding of the whole model is looked at only where it matters
        noise = float((_plain_logits(model, tokens) - intact).abs().max())
        tolerance = min(most, max(tolerance, _OF_THE_NOISE * noise))
    if not found["logits"] <= tolerance:
        msg = f"{told} its logits differ by {found['logits']:.3g}, more than {tolerance:.1g}; nothing is left of it"
        raise ParityError(msg)
    told_of = {"logits": found["logits"], "cached": found["cached"], "failure": found["failure"]}
    return told_of | _cached(model, kind, found, tolerance, told) | {"tolerance": tolerance}


def _cached(
    model: ModelAccess, kind: str, found: Mapping[str, Any], tolerance: float, told: str
) -> dict[str, Any]:
    """What there is to say of generation with the cache, where that differs from runs without."""
    cached = found["cached"]
    if cached is not None and cached <= tolerance:
        return {}
    whole, most = _whole_cached(model, kind), TOLERANCE.get(model.dtype, 1.0)
    if whole is not None and whole <= most:
        if cached is not None and cached <= min(most, _OF_THE_NOISE * whole):
            return {}
        what = (
            found["failure"] if cached is None else f"its logits differ by {cached:.3g} from a run without it"
        )
        msg = f"{told} it does not generate with its key-value cache: {what}; nothing is left of it"
        raise ParityError(msg)
    return {} if cached is None else {"cached": None, "failure": f"logits differ by {cached:.3g}"}


def in_fresh_process(folder: Path, reference: Path) -> dict[str, Any]:
    """Run `check` in a process of its own, without a network.

    Args:
        folder: What was saved.
        reference: Tokens and logits.

    Returns:
        What `check` returns.

    Raises:
        ParityError: If the folder cannot be loaded.
    """
    here = str(Path(__file__).parents[2])
    paths = os.pathsep.join(path for path in (here, os.environ.get("PYTHONPATH")) if path)
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "TRANSFORMERS_VERBOSITY": "error",
    }
    command = [sys.executable, "-m", "decision_phases.exports.check", str(folder), str(reference)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        msg = f"what was saved cannot be loaded again: {last}"
        raise ParityError(msg)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _whole_cached(model: ModelAccess, kind: str) -> float | None:
    """How far generation of the whole model with its own cache is from runs without; None if it fails."""
    runs = of_model(model, Intervention()) if kind == "sidecar" else of_plain(_fresh(model))
    with torch.no_grad():
        return cached_difference(*runs, probe(model))[0]


def _plain_logits(model: ModelAccess, tokens: Tensor) -> Tensor:
    """What the whole model says in plain transformers."""
    with torch.no_grad():
        return of_plain(_fresh(model))[0](tokens).float()


def _fresh(model: ModelAccess) -> nn.Module:
    hf = model.fresh_hf().to("cpu")
    cast(hf, model.dtype)
    return hf.eval()


def probe(model: ModelAccess) -> Tensor:
    """Choose tokens to compare on.

    Args:
        model: The model.

    Returns:
        Two rows of tokens, spread over the vocabulary, longer than the windows of small models.
    """
    width = _PROBE if model.context_length is None else min(_PROBE, model.context_length)
    return ((torch.arange(2 * width) * 7919 + 101) % model.d_vocab).view(2, width)
