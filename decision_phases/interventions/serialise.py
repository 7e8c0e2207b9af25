"""Edits as JSON, with their arrays beside them as safetensors; nothing is ever unpickled."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from decision_phases.errors import InputError
from decision_phases.interventions.arrays import Array
from decision_phases.interventions.edit import Edit, whole_number
from decision_phases.interventions.low_rank import LowRank
from decision_phases.interventions.masks import Mask
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.interventions.values import Affine, Bottleneck, Held, Noise, Value, Weights
from decision_phases.writing import replacing

FORMAT = "decision_phases.intervention"
VERSION = 1
JSON_NAME = "intervention.json"
ARRAYS_NAME = "arrays.safetensors"
_EDIT_KEYS = ("op", "site", "layer", "head", "positions", "value", "seed", "label")
_VALUE_KEYS: Mapping[str, tuple[str, ...]] = {
    "array": ("hash",),
    "per_question": ("rows", "lengths"),
    "noise": ("variance", "relative_to"),
    "affine": ("weight", "bias"),
    "bottleneck": ("down", "hidden", "up", "bias"),
    "weights": ("parameters",),
}

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
_Held = TypeVar("_Held", Array, Mask)


def edits_to_json(edits: Iterable[Edit]) -> str:
    """Return edits as JSON, arrays by their content hash.

    Args:
        edits: The edits.

    Returns:
        The text, the same for equal edits of equal labels.

    Example:
        >>> edits_from_json(edits_to_json([Edit("skip", "mlp", 3)]), {})
        (Edit(op='skip', site='mlp', layer=3, head=None, positions='all', value=None, seed=None, label=''),)
    """
    items = [
        {key: getattr(edit, key) for key in _EDIT_KEYS} | {"value": _encode(edit.value)} for edit in edits
    ]
    document = {"format": FORMAT, "version": VERSION, "edits": items}
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)


def edits_from_json(text: str, arrays: Arrays) -> tuple[Edit, ...]:
    """Return the edits that `edits_to_json` wrote.

    Args:
        text: The JSON.
        arrays: The arrays that it refers to, by content hash.

    Returns:
        The edits.

    Raises:
        InputError: If the text is no such JSON, has an unknown key, or an array is missing or changed.

    Example:
        >>> edits_from_json("[]", {})
        Traceback (most recent call last):
        decision_phases.errors.InputError: the intervention must be a JSON object, but it is a list.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"the intervention is not JSON: {error}.") from None
    _check_keys(document, ("format", "version", "edits"), "the intervention")
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise InputError(
            f"the intervention has the format {document['format']!r}, version {document['version']!r}; this "
            f"release reads {FORMAT!r}, version {VERSION}."
        )
    if not isinstance(document["edits"], list):
        raise InputError(f"the edits must be a list, but they are {document['edits']!r}.")
    return tuple(_edit(item, f"edit {i}", arrays) for i, item in enumerate(document["edits"]))


def arrays_of(edits: Iterable[Edit]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return every array that the edits hold, by content hash.

    Args:
        edits: The edits.

    Returns:
        The arrays, each once.

    Example:
        >>> arrays_of([Edit("skip", "mlp", 3)])
        {}
    """
    found: dict[str, np.ndarray] = {}
    for edit in edits:
        value = edit.value
        held: tuple[Array | Mask | None, ...] = ()
        if isinstance(value, Array):
            held = (value,)
        elif isinstance(value, PerQuestion):
            held = (value.rows,)
        elif isinstance(value, Affine):
            held = (value.weight, value.bias)
        elif isinstance(value, Bottleneck):
            held = value.arrays
        elif isinstance(value, Weights):
            held = tuple(array for _, kept in value.parameters for array in _arrays(kept))
        found |= {
            array.content_hash: array.packed if isinstance(array, Mask) else array.data
            for array in held
            if array is not None
        }
    return found


def save_edits(edits: tuple[Edit, ...], folder: Path) -> None:
    """Write the edits to `intervention.json` and their arrays to `arrays.safetensors`.

    Args:
        edits: The edits.
        folder: Where to write; made if it is not there.

    Raises:
        InputError: If an intervention is there already.
        StorageError: If there is no room, or no right to write.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_edits((Edit("skip", "mlp", 3),), Path(folder))
        ...     [path.name for path in Path(folder).iterdir()]
        ['intervention.json']
    """
    path = folder / JSON_NAME
    if path.exists():
        raise InputError(f"there is an intervention in {folder} already; choose another folder.")
    arrays = arrays_of(edits)
    if arrays:
        with replacing(folder / ARRAYS_NAME) as work:
            save_file(arrays, work)
    # Last and in one step: where the JSON is, everything is.
    with replacing(path) as work:
        work.write_text(edits_to_json(edits) + "\n", encoding="utf-8")


def load_edits(folder: Path) -> tuple[Edit, ...]:
    """Return the edits that `save_edits` wrote.

    Args:
        folder: Where they were written.

    Returns:
        The edits.

    Raises:
        InputError: If a file is missing, is malformed, or was changed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_edits((Edit("skip", "mlp", 3),), Path(folder))
        ...     print(*load_edits(Path(folder)))
        skip mlp of layer 3
    """
    path, sidecar = folder / JSON_NAME, folder / ARRAYS_NAME
    if not path.is_file():
        raise InputError(f"there is no {path}; give the folder that an intervention was saved to.")
    try:
        arrays = load_file(sidecar) if sidecar.exists() else {}
    except SafetensorError as error:
        raise InputError(f"{sidecar} is not a safetensors file: {error}.") from None
    return edits_from_json(path.read_text(encoding="utf-8"), arrays)


def _encode(value: Value) -> Any:
    if isinstance(value, Array):
        return {"kind": "array", "hash": value.content_hash}
    if isinstance(value, PerQuestion):
        return {"kind": "per_question", "rows": value.rows.content_hash, "lengths": value.lengths}
    if isinstance(value, Noise):
        return {"kind": "noise", "variance": value.variance, "relative_to": value.relative_to}
    if isinstance(value, Affine):
        bias = None if value.bias is None else value.bias.content_hash
        return {"kind": "affine", "weight": value.weight.content_hash, "bias": bias}
    if isinstance(value, Bottleneck):
        names = _VALUE_KEYS["bottleneck"]
        return {"kind": "bottleneck"} | {
            name: array.content_hash for name, array in zip(names, value.arrays, strict=True)
        }
    if isinstance(value, Weights):
        return {
            "kind": "weights",
            "parameters": {name: _encode_parameter(array) for name, array in value.parameters},
        }
    return value


def _arrays(held: Held) -> tuple[Array | Mask, ...]:
    return (held.left, held.right) if isinstance(held, LowRank) else (held,)


def _encode_parameter(held: Held) -> Any:
    if isinstance(held, LowRank):
        return {"left": held.left.content_hash, "right": held.right.content_hash}
    if isinstance(held, Mask):
        return {"mask": held.content_hash, "shape": held.shape}
    return held.content_hash


def _check_keys(item: Any, expected: tuple[str, ...], name: str) -> None:
    if not isinstance(item, dict):
        raise InputError(f"{name} must be a JSON object, but it is a {type(item).__name__}.")
    unknown, missing = sorted(set(item) - set(expected)), sorted(set(expected) - set(item))
    if unknown or missing:
        found = [f"unknown keys {unknown}"] * bool(unknown) + [f"no keys {missing}"] * bool(missing)
        raise InputError(f"{name} has {' and '.join(found)}; it must have exactly: {', '.join(expected)}.")


def _edit(item: Any, name: str, arrays: Arrays) -> Edit:
    _check_keys(item, _EDIT_KEYS, name)
    try:
        whole_number(item["layer"], "layer")
        return Edit(**(item | {"value": _decode(item["value"], f"the value of {name}", arrays)}))
    except (TypeError, AttributeError) as error:
        raise InputError(f"{name} is malformed: {error}.") from None


def _decode(item: Any, name: str, arrays: Arrays) -> Value:
    if item is None or (isinstance(item, int | float) and not isinstance(item, bool)):
        return item
    kind = item.get("kind") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in _VALUE_KEYS:
        raise InputError(
            f"{name} is {item!r}; it must be null, a number, or of a kind: {', '.join(_VALUE_KEYS)}."
        )
    _check_keys(item, ("kind", *_VALUE_KEYS[kind]), name)
    if kind == "array":
        return _lookup(item["hash"], name, arrays)
    if kind == "per_question":
        lengths = None if item["lengths"] is None else tuple(item["lengths"])
        return PerQuestion(_lookup(item["rows"], name, arrays), lengths)
    if kind == "noise":
        return Noise(item["variance"], item["relative_to"])
    if kind == "affine":
        bias = None if item["bias"] is None else _lookup(item["bias"], name, arrays)
        return Affine(_lookup(item["weight"], name, arrays), bias)
    if kind == "bottleneck":
        return Bottleneck(*(_lookup(item[key], name, arrays) for key in _VALUE_KEYS[kind]))
    return Weights(
        tuple((key, _decode_parameter(held, name, arrays)) for key, held in item["parameters"].items())
    )


def _decode_parameter(item: Any, name: str, arrays: Arrays) -> Held:
    if not isinstance(item, dict):
        return _lookup(item, name, arrays)
    if "left" in item:
        _check_keys(item, ("left", "right"), name)
        return LowRank(_lookup(item["left"], name, arrays), _lookup(item["right"], name, arrays))
    _check_keys(item, ("mask", "shape"), name)
    bits = _found(item["mask"], name, arrays).tobytes()
    return _checked(Mask(tuple(whole_number(size, "size") for size in item["shape"]), bits), item["mask"])


def _lookup(digest: str, name: str, arrays: Arrays) -> Array:
    return _checked(Array(_found(digest, name, arrays)), digest)


def _found(digest: str, name: str, arrays: Arrays) -> Shaped[np.ndarray, "..."]:
    if digest not in arrays:
        raise InputError(f"{name} refers to the array {digest!r}, which is not in {ARRAYS_NAME}.")
    return arrays[digest]


def _checked(array: _Held, digest: str) -> _Held:
    if array.content_hash != digest:
        raise InputError(
            f"the array {digest!r} in {ARRAYS_NAME} has another content than its name says; it was changed."
        )
    return array
