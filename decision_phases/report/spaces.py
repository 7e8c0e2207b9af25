"""The page of a `decision-phases spaces` folder: its figures, and what they come to at the end."""

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from decision_phases.errors import InputError
from decision_phases.report.page import house_style_sheet, page_environment
from decision_phases.writing import replacing

#: Figure → heading and what it shows; a figure that is not in the folder is left out.
_FIGURES: Mapping[str, tuple[str, str]] = {
    "deviation_accumulated": (
        "Deviation with the cut in place throughout",
        "1 − cos of residual (h), centred logits (z) and probabilities (p) between the cut and the intact model; the "
        "same in units of the mean distance between different prompts; and how much that grows from one space to the "
        "next.",
    ),
    "deviation_local": (
        "Deviation with one layer cut",
        "The same at each layer that is cut, with everything before it intact.",
    ),
    "options_accumulated": (
        "Options against random tokens of like rank",
        "Probabilities renormalised among the options, and among random sets of as many tokens that the intact model "
        "ranks alike.",
    ),
    "options_local": ("Options against random tokens, one layer cut", "The same at each layer that is cut."),
}
_SPACES = {"h": "h", "h_normed": "h, normed", "z": "z", "z_centred": "z, centred", "p": "p"}
_PAIRS = {
    "theorem_1": ("cosine", "Theorem 1, 1 − cos"),
    "theorem_2": ("cosine", "Theorem 2, 1 − cos"),
    "theorem_3": ("kl_dense_from_pruned", "Theorem 3, KL(dense ‖ pruned)"),
}
_MODES = {"teacher_forced": "along the intact model's text", "free": "each along its own text"}
_MEASURES = {
    "h": "1 − cos, h",
    "z": "1 − cos, z",
    "p": "1 − cos, p",
    "kl_dense_from_pruned": "KL(dense ‖ pruned)",
}
_SHOWN = 6  # texts on the page; all are in texts.parquet


def write_spaces_report(folder: Path) -> Path:
    """Write the page of a folder as one file that needs nothing else.

    Args:
        folder: What `decision-phases spaces` wrote.

    Returns:
        Path of ``report.html`` in the folder.

    Raises:
        InputError: If the folder has no results.

    Example:
        >>> write_spaces_report(Path("nowhere"))
        Traceback (most recent call last):
        decision_phases.errors.InputError: nowhere has no spaces.json: give the folder of a finished `spaces` job.
    """
    told = folder / "spaces.json"
    if not told.is_file():
        raise InputError(f"{folder} has no spaces.json: give the folder of a finished `spaces` job.")
    table = pd.read_parquet(folder / "spaces.parquet")
    page = (
        page_environment()
        .get_template("spaces.html.j2")
        .render(
            told=json.loads(told.read_text("utf-8")),
            manifest=json.loads((folder / "manifest.json").read_text("utf-8")),
            style=Markup(house_style_sheet()),  # noqa: S704
            figures=_figures(folder),
            ends=_ends(table),
            estimates=_estimates(table),
            generation=_generation(folder),
        )
    )
    path = folder / "report.html"
    with replacing(path) as work:
        work.write_text(page, encoding="utf-8")
    return path


def _figures(folder: Path) -> list[dict[str, str]]:
    found = []
    for name, (title, caption) in _FIGURES.items():
        path = folder / "figures" / f"{name}.png"
        if path.is_file():
            found.append({"name": name, "title": title, "caption": caption, "image": _image(path)})
    return found


def _image(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _generation(folder: Path) -> dict[str, Any] | None:
    """What happens while text is written; None if nothing was."""
    if not (folder / "generation.parquet").is_file():
        return None
    told = json.loads((folder / "generation.json").read_text("utf-8"))
    table = pd.read_parquet(folder / "generation.parquet")
    ends = table[table["step"].isin([0, told["steps"] - 1]) & table["measure"].isin(_MEASURES)]
    rows = []
    for (mode, measure), found in ends.groupby(["mode", "measure"], sort=False):
        shown = [_number(row["value"], row["low"], row["high"]) for row in found.to_dict("records")]
        rows.append(
            {
                "mode": _MODES[str(mode)],
                "measure": _MEASURES[str(measure)],
                "first": shown[0],
                "last": shown[-1],
            }
        )
    quality: dict[str, dict[str, str]] = {}
    for row in told["quality"]:
        quality.setdefault(row["what"], {})[row["run"]] = _number(row["value"], row["low"], row["high"])
    return {
        "image": _image(folder / "figures" / "generation.png"),
        "steps": told["steps"],
        "prompts": told["prompts"],
        "rows": rows,
        "quality": quality,
        "texts": pd.read_parquet(folder / "texts.parquet").head(_SHOWN).to_dict("records"),
    }


def _ends(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What the cut model ends with, by set of tokens and space."""
    rows = table[(table["kind"] == "final") & (table["measure"] == "cosine")]
    return [
        {
            "tokens": row["tokens"].replace("all", "whole vocabulary").replace("_", " "),
            "space": _SPACES[row["space"]],
            "value": _number(row["value"], row["low"], row["high"]),
            "between": _number(row["between"]),
            "relative": _number(row["relative"], row["relative_low"], row["relative_high"]),
        }
        for row in rows.to_dict("records")
    ]


def _estimates(table: pd.DataFrame) -> list[dict[str, str]]:
    """The second-order estimates of what it ends with, beside the exact values."""
    final = table[(table["kind"] == "final") & (table["tokens"] == "all")]
    values = {(row["space"], row["measure"]): row["value"] for row in final.to_dict("records")}
    return [
        {
            "name": name,
            "space": _SPACES[space],
            "exact": _number(values[space, exact]),
            "estimate": _number(values[space, estimate]),
        }
        for estimate, (exact, name) in _PAIRS.items()
        for space in _SPACES
        if (space, estimate) in values
    ]


def _number(value: float, low: float = math.nan, high: float = math.nan) -> str:
    if math.isnan(value):
        return "–"
    interval = "" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]"
    return f"{value:.3g}{interval}".replace("-", "−")
