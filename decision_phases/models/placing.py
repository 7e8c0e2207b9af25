"""Models that transformers and accelerate have spread: over several devices, or with blocks left in memory or on disk.

accelerate puts hooks on modules that fetch weights when a module is called, and move what comes in to where it runs.
Blocks called one by one run exactly as they do inside the whole model, so the engine leaves all of that alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from decision_phases.errors import InputError

#: What transformers places by itself; anything else is a table of modules and devices.
AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | Mapping[str, str | int | torch.device]
# RWKV divides its weights in place when it is first run: what is fetched anew each time never is.
_RESCALED = "layers_are_rescaled"


def check_device_map(
    device_map: DeviceMap | None,
    offload_folder: str | Path | None,
    *,
    source: object,
    backend: str,
    device: str | torch.device,
) -> None:
    """Refuse a placing that cannot work, before anything is read.

    Args:
        device_map: What `load` was given.
        offload_folder: What `load` was given.
        source: The model that was asked for.
        backend: The kind of TransformerLens object.
        device: What `load` was given.

    Raises:
        InputError: Saying what it clashes with.
    """
    if device_map is None:
        if offload_folder is not None:
            msg = 'offload_folder is where device_map leaves blocks; give device_map too ("auto", or a table)'
            raise InputError(msg)
        return
    if isinstance(source, nn.Module) or not (source is None or isinstance(source, str | Path)):
        what = f"a {type(source).__name__} is in memory already"
    elif str(source).startswith("tiny-"):
        what = f"{source} is made in memory"
    elif backend != "bridge":
        what = f"backend={backend!r} copies all weights to one device"
    elif device != "auto":
        what = f"device={str(device)!r} puts all of it in one place"
    else:
        what = ""
    if what:
        msg = (
            f"device_map spreads a model while it is read from a folder or the hub, but {what}; leave out device_map, "
            "or give a name or folder with the default device and backend"
        )
        raise InputError(msg)
    if isinstance(device_map, str) and device_map not in AUTOMATIC:
        msg = (
            f"device_map {device_map!r} given; it can be {', '.join(AUTOMATIC)} or a table such as "
            "{'model.layers.0': 0, 'model.layers.1': 'cpu', ...}. For one device there is device="
        )
        raise InputError(msg)
    if isinstance(device_map, Mapping):
        _check_devices(device_map)


def _check_devices(device_map: Mapping[str, str | int | torch.device]) -> None:
    for module, place in device_map.items():
        if not _is_there(place):
            msg = (
                f"device_map puts {module!r} on {place!r}, which is not there; it can be cpu, disk or one of "
                f"{torch.cuda.device_count()} CUDA devices"
            )
            raise InputError(msg)


def _is_there(place: str | int | torch.device) -> bool:
    if isinstance(place, int):
        return 0 <= place < torch.cuda.device_count()
    try:
        found = None if place == "disk" else torch.device(place)
    except RuntimeError:
        return False
    if found is None or found.type != "cuda":
        return found is None or found.type != "meta"
    return (found.index or 0) in range(torch.cuda.device_count())


def is_spread(hf: nn.Module) -> bool:
    """Whether accelerate's hooks place this model's weights and what enters its modules.

    Args:
        hf: A Hugging Face model.

    Returns:
        False for a model that is all in one place.
    """
    return bool(_hooks(hf))


def check_spread(hf: nn.Module, name: str) -> None:
    """Refuse a spread model that would compute something else than the same model in one place.

    Args:
        hf: A Hugging Face model with accelerate's hooks.
        name: Its name.

    Raises:
        InputError: If it changes its weights when it is first run, and some are fetched anew each time.
    """
    rescales = any(hasattr(module, _RESCALED) for module in hf.modules())
    if rescales and any(parameter.is_meta for parameter in hf.parameters()):
        msg = (
            f"{name} changes its weights when it is first run, so none of them can be left in memory or on disk; "
            "give a device_map that keeps every block on a device that computes"
        )
        raise InputError(msg)


@contextmanager
def wrapping(name: str, *, spread: bool) -> Iterator[None]:
    """Say what to do where a model cannot be run or wrapped because its weights are not all there.

    Args:
        name: Name of the model.
        spread: Whether it is spread; errors of other models pass through.

    Yields:
        Nothing.

    Raises:
        InputError: Instead of accelerate's or TransformerLens's own error.
    """
    try:
        yield
    except (RuntimeError, KeyError) as error:
        if not spread:
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = (
            f"{name} cannot be run with this device_map ({first}); leave less of it on disk or in memory (a smaller "
            "dtype takes less room), or use the newest TransformerLens"
        )
        raise InputError(msg) from error


def runs_on(module: nn.Module) -> torch.device:
    """Where a module computes, wherever its weights are kept.

    Args:
        module: A module with parameters.

    Returns:
        The device.
    """
    for hook in _hooks(module):
        if hook.execution_device is not None:
            return torch.device(hook.execution_device)
    return next(module.parameters()).device


def plain_value(weight: Tensor) -> Tensor:
    """The value of a weight as plain numbers; one that is kept quantised, as torchao does, is dequantised.

    Args:
        weight: The weight.

    Returns:
        Its value, without a graph.

    Example:
        >>> plain_value(nn.Parameter(torch.ones(2)))
        tensor([1., 1.])
    """
    value = weight.detach()
    return value.dequantize() if type(value) not in (Tensor, nn.Parameter) else value


def kept_value(root: nn.Module, name: str) -> Tensor:
    """A parameter's value, fetched if it is there only while its module runs.

    Args:
        root: The module that the name is in.
        name: Name of the parameter.

    Returns:
        The value.
    """
    path, _, leaf = name.rpartition(".")
    owner = root.get_submodule(path)
    value: Tensor = getattr(owner, leaf)
    if value.is_meta:
        value = next(hook.weights_map[leaf] for hook in _hooks(owner) if hook.offload)
    return value


def keep_outside(hf: nn.Module) -> None:
    """Fetch for good what is not in any block: embedding, final norm and unembedding are read at every layer.

    Args:
        hf: A Hugging Face model with accelerate's hooks; its blocks are left as they are.
    """
    model: Any = hf
    n_layers = model.config.get_text_config().num_hidden_layers
    blocks = next(m for m in hf.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers)
    inside = {id(module) for module in blocks.modules()}
    there = [p for p in hf.parameters() if p.ndim == 2 and not p.is_meta]
    for module in hf.modules():
        for hook in _hooks(module):
            if id(module) in inside or not hook.offload:
                continue
            for name, parameter in list(module.named_parameters(recurse=False)):
                value = hook.weights_map[name].to(runs_on(module))
                tied = (p for p in there if p.shape == value.shape and p.device == value.device)
                fetched = next((p for p in tied if torch.equal(p, value)), None)
                if fetched is None:
                    fetched = nn.Parameter(value, requires_grad=parameter.requires_grad)
                    there += [fetched] * (value.ndim == 2)
                module.register_parameter(name, fetched)
            hook.offload = False


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    """The hooks that accelerate has put on one module."""
    hook: Any = module.__dict__.get("_hf_hook")
    return () if hook is None else tuple(getattr(hook, "hooks", (hook,)))
