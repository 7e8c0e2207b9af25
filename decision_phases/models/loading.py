"""`load`: from a name, a folder, a Hugging Face model or a TransformerLens object to a checked `ModelAccess`."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from decision_phases.errors import InputError, unknown_name
from decision_phases.interventions import Intervention
from decision_phases.models import bundled
from decision_phases.models.access import ModelAccess
from decision_phases.models.bridge import BridgeAccess, bridge_from_hf
from decision_phases.models.hooked import HookedAccess, hooked_from_hf
from decision_phases.models.parity import check_model, check_plain, reference_logits
from decision_phases.models.placing import (
    DeviceMap,
    check_device_map,
    check_spread,
    is_spread,
    keep_outside,
    plain_value,
    wrapping,
)
from decision_phases.models.plain import plain_twin
from decision_phases.models.tiny import FAMILIES, tiny_hf, tiny_tokenizer

_BACKENDS = ("bridge", "hooked")
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
# Kept on the TransformerLens object itself, so that it lives exactly as long.
_CHECKED = "_decision_phases_access"
# RWKV divides its weights in place when it is first run, and remembers that it has.
_RESCALED = "layers_are_rescaled"


def load(
    source: object = None,
    *,
    revision: str | None = None,
    backend: str = "bridge",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tokenizer: Any | None = None,
    device_map: DeviceMap | None = None,
    offload_folder: str | Path | None = None,
    consume: bool = False,
    quiet: bool = False,
) -> ModelAccess:
    """Load a model and check that it computes what its author's computes.

    Args:
        source: None for the bundled SmolLM2-135M-Instruct; a Hugging Face name; a local folder; `"tiny-llama"` and its
            like for a small random model (`tiny.FAMILIES`); a Hugging Face model; a `TransformerBridge`; a
            `HookedTransformer`; or what `load` returned before.
        revision: Branch, tag or commit, for a Hugging Face name.
        backend: What TransformerLens object to build: "bridge", or "hooked" (TransformerLens 3.9).
        device: "auto" takes CUDA where there is one.
        dtype: "float32", "bfloat16", "float16", "float64", or "auto": float32 where that fits in half of the device's
            memory, else the number format of the checkpoint, as always with `device_map`. Buffers that are computed,
            such as rotary frequencies, keep their own.
        tokenizer: For models given as objects. The tokenizer's own BOS rule holds.
        device_map: For a folder or a Hugging Face name that no one device can hold: "auto" or a table of modules and
            devices ("cpu" and "disk" among them), as transformers takes it. Every block runs where that puts it;
            `fresh_hf()` is then rebuilt in main memory.
        offload_folder: Where transformers may keep weights that `device_map` leaves on disk.
        consume: Take a Hugging Face model over instead of copying it; it is of no other use afterwards.
        quiet: Do not print the parity line.

    Returns:
        The model, its `parity` measured.

    Raises:
        InputError: If the source is not understood, is neither cached nor to be reached, or has been placed elsewhere,
            or if `device_map` clashes with it.
        MissingPackageError: If the bundled model or `HookedTransformer` is not installed.
        ParityError: If the loaded model deviates from its reference.

    Example:
        >>> model = load("tiny-gpt2", quiet=True)
        >>> model.n_layers, model.kind
        (6, 'TransformerBridge')
    """
    check_device_map(device_map, offload_folder, source=source, backend=backend, device=device)
    if isinstance(source, ModelAccess):
        _check_is_there(source, device, dtype)
        return source
    if source is not None and not isinstance(source, str | Path | nn.Module):
        msg = f"a model can be a name, a folder, a Hugging Face model or a TransformerLens object, not {source!r:.80}"
        raise InputError(msg)
    if backend not in _BACKENDS:
        raise unknown_name("backend", backend, _BACKENDS)
    if isinstance(source, nn.Module) and _is_tl(source):
        model = _from_tl(source, tokenizer)
        _check_is_there(model, device, dtype)
    else:
        placing = {} if device_map is None else {"device_map": device_map, "offload_folder": offload_folder}
        model = _from_hf(source, revision, backend, device, dtype, tokenizer, placing, consume=consume)
        if not isinstance(source, nn.Module):
            model.origin = {
                "source": _anywhere(source),
                "revision": revision,
                "backend": backend,
                "device": "auto" if placing else model.device.type,
                "dtype": model.dtype,
                "tokenizer": tokenizer,
                **placing,
            }
        model.intervention = _beside(source)
    if not quiet:
        sys.stderr.write(f"{model!r}\n{model.parity}\n")
        if model.intervention:
            sys.stderr.write(
                f"the folder holds an intervention, which is not applied by itself: {model.intervention}; give "
                "under=model.intervention\n"
            )
    return model


def _anywhere(source: str | Path | None) -> str | Path | None:
    """A folder by a path that holds in other folders and processes too."""
    folder = None if source is None else Path(source).expanduser()
    return source if folder is None or not folder.is_dir() else str(folder.resolve())


def _beside(source: object) -> Intervention:
    """What `export` put beside the weights of a folder."""
    folder = Path(source).expanduser() / "decision_phases" if isinstance(source, str | Path) else None
    if folder is None or not (folder / "intervention.json").is_file():
        return Intervention()
    return Intervention.load(folder)


def as_model(source: object) -> ModelAccess:
    """Give the `ModelAccess` of whatever a public function was handed; a TransformerLens object is checked only once.

    Args:
        source: Anything that `load` takes.

    Returns:
        The model.
    """
    if not (isinstance(source, nn.Module) and _is_tl(source)):
        return load(source, quiet=True)
    model = source.__dict__.get(_CHECKED)
    if model is None:
        model = source.__dict__[_CHECKED] = load(source, quiet=True)
    model.__dict__.pop("fingerprint", None)  # its owner may have changed the weights since
    found: ModelAccess = model
    return found


def known_models() -> dict[str, str]:
    """The names that need no network.

    Returns:
        Name → what it is.
    """
    tiny = {f"tiny-{family}": "small random model, for testing mechanics only" for family in FAMILIES}
    return {bundled.NAME: f"the bundled model ({bundled.WEIGHTS})", **tiny}


def _is_tl(module: nn.Module) -> bool:
    return hasattr(module, "hook_dict") and hasattr(module, "run_with_hooks")


def _from_tl(tl: nn.Module, tokenizer: Any | None) -> ModelAccess:
    made: Any = tl
    kind = BridgeAccess if hasattr(made, "original_model") else HookedAccess
    own = getattr(made, "tokenizer", None)
    name = str(getattr(made.cfg, "model_name", None) or type(made).__name__)
    model = kind(made, name=name, tokenizer=tokenizer or _plain_tokenizer(own), weights="as given")
    check_model(model, None, "no reference")
    return model


def _check_is_there(model: ModelAccess, device: str | torch.device, dtype: str | torch.dtype) -> None:
    """What its owner has placed stays where it is; another place is refused, not passed over."""
    place = model.device if device == "auto" else _device(device)
    number = model.dtype if dtype == "auto" else _dtype(dtype)
    if (
        place.type != model.device.type
        or place.index not in (None, model.device.index)
        or number != model.dtype
    ):
        msg = (
            f"{model.name} is on {model.device} in {model.dtype} already, not on {place} in {number}; move or load it "
            "so yourself, or leave device and dtype out"
        )
        raise InputError(msg)


def _plain_tokenizer(own: Any | None) -> Any | None:
    """The tokenizer as published: TransformerLens makes one of its own that always prepends BOS."""
    path = getattr(own, "name_or_path", "")
    if not path:
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError):
        return None


def _from_hf(
    source: str | Path | nn.Module | None,
    revision: str | None,
    backend: str,
    device: str | torch.device,
    dtype: str | torch.dtype,
    tokenizer: Any | None,
    placing: dict[str, Any],
    *,
    consume: bool,
) -> ModelAccess:
    place = _device(device)
    rebuild: Callable[[], nn.Module] | None
    if isinstance(source, nn.Module):
        given = source
        if not hasattr(given, "config"):
            msg = f"{type(given).__name__} is no Hugging Face model (it has no config) and no TransformerLens object"
            raise InputError(msg)
        if is_spread(given):
            msg = f"{type(given).__name__} is spread over devices already; give its name or folder, with device_map="
            raise InputError(msg)
        name = str(getattr(given.config, "name_or_path", "") or type(given).__name__)
        weights, number = "as given", None if dtype == "auto" else _dtype(dtype)
        hf = given if consume else copy.deepcopy(given)
        rebuild = _rebuilder(hf)
    elif isinstance(source, str) and source.startswith("tiny-"):
        family, name, weights = source.removeprefix("tiny-"), source, "random"
        rebuild, number = (lambda: tiny_hf(family)), None if dtype == "auto" else _dtype(dtype)
        hf, tokenizer = tiny_hf(family), tokenizer or tiny_tokenizer()
    else:
        path, name, weights = _resolve(source)
        number = None if dtype == "auto" else _dtype(dtype)
        hf = _read_hf(path, revision, number, **placing)
        if number is None and not placing:
            number = _auto_dtype(hf, place)
        rebuild = lambda: _read_hf(path, revision, number)  # noqa: E731 - one of three
        tokenizer = tokenizer or _read_tokenizer(path, revision)
    if not placing:
        hf.to(place)
        if number is not None:
            cast(hf, number)
    hf.eval()
    spread = is_spread(hf)
    if spread:
        check_spread(hf, name)
    made = BridgeAccess if backend == "bridge" else HookedAccess
    # Where blocks are on several devices, only accelerate's hooks bring their inputs there.
    find_plain = plain_twin(hf) if backend == "bridge" and not spread else None
    with wrapping(name, spread=spread):
        if spread:
            keep_outside(hf)
        reference = reference_logits(hf)
        with torch.random.fork_rng(devices=[]):  # both draw initial weights before they put in the real ones
            tl = bridge_from_hf(hf) if backend == "bridge" else hooked_from_hf(hf)
        model = made(tl, name=name, tokenizer=tokenizer, weights=weights, rebuild=rebuild)
        check_model(model, reference, "plain transformers")
    if find_plain is not None:
        check_plain(model, find_plain(model))
    return model


def cast(hf: nn.Module, number: torch.dtype) -> None:
    """Put what is saved of a model into a number format; what is computed, such as rotary frequencies, keeps its own.

    Args:
        hf: A Hugging Face model.
        number: The number format.
    """
    for tensor in hf.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(number)


def _rebuilder(hf: nn.Module) -> Callable[[], nn.Module]:
    """Remember a model's configuration and weights before it is rewired, which changes their names, not the tensors."""
    model: Any = hf
    made, config, generation = (
        type(model),
        copy.deepcopy(model.config),
        getattr(model, "generation_config", None),
    )
    weights = model.state_dict(keep_vars=True)
    rescaling = {name: module for name, module in model.named_modules() if hasattr(module, _RESCALED)}

    def rebuild() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            fresh = made(copy.deepcopy(config))
        first = next(iter(weights.values()))
        fresh.to(first.device)
        cast(fresh, first.dtype)
        fresh.load_state_dict({name: plain_value(tensor) for name, tensor in weights.items()})
        for name, module in rescaling.items():
            setattr(fresh.get_submodule(name), _RESCALED, getattr(module, _RESCALED))
        fresh.generation_config = copy.deepcopy(generation)
        fresh.eval()
        result: nn.Module = fresh
        return result

    return rebuild


def _resolve(source: str | Path | None) -> tuple[str, str, str]:
    """Path or hub name, display name, and what the weights are."""
    if source is None or str(source) == bundled.NAME:
        return str(bundled.bundled_folder()), bundled.NAME, bundled.WEIGHTS
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            msg = f"{folder} is no model folder: it has no config.json"
            raise InputError(msg)
        whole = folder.resolve()  # it is read again later, perhaps from elsewhere
        return str(whole), folder.name or whole.name, "as saved"
    if isinstance(source, Path) or str(source).startswith((".", "/", "~")):
        msg = f"there is no folder {source}"
        raise InputError(msg)
    if "/" not in source and source not in ("gpt2", "distilgpt2"):
        error = unknown_name("model", source, known_models())
        msg = f"{error} Hugging Face names look like organisation/name; a folder is given by its path"
        raise InputError(msg)
    return source, source, "as published"


def _read_hf(path: str, revision: str | None, dtype: torch.dtype | None, **placing: Any) -> nn.Module:
    from transformers import AutoModelForCausalLM

    with _reaching(path):
        try:
            model: nn.Module = AutoModelForCausalLM.from_pretrained(
                path, revision=revision, dtype=dtype or "auto", attn_implementation="eager", **placing
            )
        except ValueError as error:
            if not placing:
                raise
            msg = f"transformers cannot place {path!r} by this device_map: {error}"
            raise InputError(msg) from error
    return model


def _read_tokenizer(path: str, revision: str | None) -> Any | None:
    from transformers import AutoTokenizer

    with _reaching(path):
        try:
            return AutoTokenizer.from_pretrained(path, revision=revision)
        except (OSError, ValueError, KeyError):
            if not Path(path).is_dir():
                raise
            return None  # a folder saved without one; asking questions of it says so


class _reaching:  # noqa: N801 - a context manager that reads like a verb
    """Turn the many errors of an unreachable hub into one that says what to do."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not Path(self.path).is_dir():
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            msg = (
                f"{self.path!r} is not in the local cache and could not be fetched ({first}). Check the name and the "
                "network, or give a local folder; without a network, dp.load() gives the bundled model"
            )
            raise InputError(msg) from error


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        msg = f"unknown device {device!r}; use auto, cpu, cuda or cuda:N"
        raise InputError(msg) from error
    if place.type == "cuda" and not torch.cuda.is_available():
        msg = f"device {device!r} was asked for, but this machine has no usable CUDA device; use device='cpu'"
        raise InputError(msg)
    return place


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise unknown_name("dtype", dtype, ("auto", *_DTYPES))
    return _DTYPES[dtype]


def _auto_dtype(hf: nn.Module, device: torch.device) -> torch.dtype:
    """float32 where its weights fit in half of the device's memory, else the format of the checkpoint."""
    needed = 4 * sum(p.numel() for p in hf.parameters())
    return torch.float32 if needed <= _memory(device) / 2 else next(hf.parameters()).dtype


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
