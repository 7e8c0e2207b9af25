"""The file of captured activations: one safetensors file, with what is known of them in its header."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from decision_phases.errors import InputError
from decision_phases.interventions.arrays import Array
from decision_phases.interventions.per_question import PerQuestion
from decision_phases.writing import replacing

FORMAT = "decision_phases.captured.1"
ABOUT = ("positions", "question_key", "key")


def write_values(path: Path, values: Mapping[tuple[str, int], PerQuestion], about: Mapping[str, str]) -> None:
    """Write values by site and layer to one new file.

    Args:
        path: The file.
        values: `(site, layer)` to the values of each question, with the same lengths everywhere.
        about: A text for each of `ABOUT`.

    Raises:
        InputError: If the file exists.
        StorageError: If there is no room, or no right to write.

    Example:
        >>> import tempfile
        >>> values = {("mlp_out", 2): PerQuestion(Array.of([[1.0]], "values"))}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_values(Path(folder, "file"), values, dict.fromkeys(ABOUT, ""))
        ...     read_values(Path(folder, "file"))[0] == values
        True
    """
    if path.exists():
        raise InputError(f"{path} exists already; choose another name.")
    lengths = next(iter(values.values())).lengths
    tensors = {f"{site}.{layer}": value.rows.data for (site, layer), value in values.items()}
    with replacing(path) as work:
        save_file(tensors, work, metadata={"format": FORMAT, "lengths": json.dumps(lengths), **about})


def read_values(path: Path) -> tuple[dict[tuple[str, int], PerQuestion], dict[str, str]]:
    """Return what `write_values` wrote; whether the content fits its key is for the caller to check.

    Args:
        path: The file.

    Returns:
        The values by site and layer, and a text for each of `ABOUT`.

    Raises:
        InputError: If there is no such file, or it is not one that `write_values` wrote.

    Example:
        >>> read_values(Path("/nowhere"))
        Traceback (most recent call last):
        decision_phases.errors.InputError: there is no file /nowhere; give one that Captured.save wrote.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; give one that Captured.save wrote.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file: {error}.") from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is no capture of this release; give a file that Captured.save wrote.")
    try:
        listed = json.loads(metadata["lengths"])
        places = {name: name.rsplit(".", 1) for name in tensors}
        values = {
            (places[name][0], int(places[name][1])): PerQuestion(
                Array(rows), None if listed is None else tuple(listed)
            )
            for name, rows in tensors.items()
        }
        return values, {name: metadata[name] for name in ABOUT}
    except (KeyError, IndexError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is a malformed capture: {error!r}.") from None
