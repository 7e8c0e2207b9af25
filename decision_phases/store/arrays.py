"""Arrays of any shape in one Parquet file that any reader of Parquet understands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from decision_phases.errors import InputError

_KINDS = ("bool", "int64", "float32", "float64")
_TOLD = b"decision_phases"


def pack_arrays(arrays: Mapping[str, np.ndarray], told: Mapping[str, Any]) -> bytes:
    """Write arrays as one row each: name, kind, shape and values.

    Args:
        arrays: Name → array of booleans, int64, float32 or float64; they come back bit by bit.
        told: JSON values, kept in the file's metadata.

    Returns:
        A Parquet file.

    Raises:
        InputError: If an array is of another type.

    Example:
        >>> content = pack_arrays({"scores": np.zeros((2, 3))}, {"study": "one"})
        >>> unpack_arrays(content)["scores"].shape, read_told(content)
        ((2, 3), {'study': 'one'})
    """
    for name, array in arrays.items():
        if str(array.dtype) not in _KINDS:
            msg = f"array {name!r} is {array.dtype}; a store keeps {', '.join(_KINDS)}; convert it first"
            raise InputError(msg)
        if array.dtype == np.int64 and array.size and np.abs(array).max() > 2**53:
            msg = f"array {name!r} has integers beyond 2**53, which a store cannot keep; keep them as floats"
            raise InputError(msg)
    table = pa.table(
        {
            "name": pa.array(list(arrays), pa.string()),
            "kind": pa.array([str(a.dtype) for a in arrays.values()], pa.string()),
            "shape": pa.array([list(a.shape) for a in arrays.values()], pa.list_(pa.int64())),
            "values": pa.array(
                [a.astype(np.float64).ravel() for a in arrays.values()], pa.list_(pa.float64())
            ),
        }
    ).replace_schema_metadata({_TOLD: json.dumps(dict(told)).encode()})
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd")
    content: bytes = out.getvalue().to_pybytes()
    return content


def unpack_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Give back what `pack_arrays` took.

    Args:
        content: A Parquet file.

    Returns:
        Name → array.
    """
    table = pq.read_table(pa.BufferReader(content))
    found = {}
    for i in range(table.num_rows):
        name, kind, shape = (table[column][i].as_py() for column in ("name", "kind", "shape"))
        values = table["values"][i].values.to_numpy(zero_copy_only=False)
        found[name] = values.astype(kind).reshape(shape)
    return found


def read_told(content: bytes) -> dict[str, Any]:
    """Give back what was said about the arrays.

    Args:
        content: A Parquet file.

    Returns:
        The JSON values.

    Raises:
        InputError: If it is no file of ours.
    """
    try:
        told: dict[str, Any] = json.loads(pq.read_schema(pa.BufferReader(content)).metadata[_TOLD])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        msg = "this is no Parquet file of a result store"
        raise InputError(msg) from error
    return told
