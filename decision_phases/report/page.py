"""From a run folder to one self-contained page."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from decision_phases.plots.style import DARK, LIGHT, Palette
from decision_phases.report.curves import paths, removed, unit
from decision_phases.report.folder import RunFolder, read_run
from decision_phases.report.payload import page_data
from decision_phases.report.pictures import gallery
from decision_phases.report.story import confidence, signed, span, tell
from decision_phases.writing import replacing

_SCRIPTS = (
    "dom.js",
    "chart.js",
    "layers.js",
    "frequency.js",
    "multiples.js",
    "questions.js",
    "pruning.js",
    "path.js",
    "pictures.js",
    "main.js",
)
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def write_report(folder: Path) -> Path:
    """Write the report of a run folder as one file that needs nothing else, not even a network.

    Args:
        folder: A run folder with ``summary.json`` and, as far as the run got, ``decisions.parquet``,
            ``pictures.json``, ``pruning.parquet`` and ``manifest.json``.

    Returns:
        Path of ``report.html`` in the folder; an earlier one is replaced.

    Raises:
        InputError: If the summary is missing or not usable.

    Example:
        >>> write_report(Path("nowhere"))
        Traceback (most recent call last):
        decision_phases.errors.InputError: nowhere has no summary.json: give the folder that a run wrote.
    """
    page = _render(read_run(folder))
    path = folder / "report.html"
    with replacing(path) as work:
        work.write_text(page, encoding="utf-8")
    return path


def _render(run: RunFolder) -> str:
    """The page of a run: text from the run is escaped, and only its own script and that of pictures may run in it."""
    environment = page_environment()
    environment.filters.update(signed=signed, plain=_plain, span=span, text=_text, percent=_percent)
    pictured = gallery(run)
    scripts = [_script()] if pictured is None or not pictured.script else [pictured.script, _script()]
    data = {**page_data(run), "pictures": {} if pictured is None else pictured.places}
    kept = [layer for layer, margin in enumerate(run.summary["margin"]) if margin is not None]
    return environment.get_template("report.html.j2").render(
        run=run,
        summary=run.summary,
        manifest=run.manifest,
        story=tell(run),
        paths=paths(run.pruning),
        unit=unit(run.pruning),
        removed=removed,
        confidence=confidence(run),
        style=Markup(house_style_sheet()),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        script_hashes=[base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts],
        pictured=pictured,
        frequencies=data["frequencies"],
        drawn=any(curve["draws"] > 1 for curve in data["curves"]),
        last=kept[-1] if kept else -1,
        data=Markup(embed(data)),  # noqa: S704
    )


def page_environment() -> Environment:
    """Return what makes pages from templates: what is put in is escaped, and nothing may be missing.

    Returns:
        A jinja environment over this package's templates.

    Example:
        >>> page_environment().from_string("{{ text }}").render(text="<b>")
        '&lt;b&gt;'
    """
    return Environment(
        loader=PackageLoader("decision_phases.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def house_style_sheet() -> str:
    """Return the style sheet of all pages, both colour schemes included.

    Returns:
        CSS.

    Example:
        >>> "--paper:#ffffff" in house_style_sheet()
        True
    """
    return _palette() + _asset("style.css")


def embed(data: Mapping[str, Any]) -> str:
    r"""Return JSON that can stand inside a ``script`` element: nothing in it can end the element.

    Args:
        data: What to embed, without NaN.

    Returns:
        Compact JSON with ``<``, ``>``, ``&`` and the two line separators as escapes.

    Raises:
        ValueError: If a number is NaN or infinite.

    Example:
        >>> embed({"text": "</script>"})
        '{"text":"\\u003c/script\\u003e"}'
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def _asset(name: str) -> str:
    return (resources.files("decision_phases.report") / "templates" / name).read_text(encoding="utf-8")


def _script() -> str:
    return '(() => {\n"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"


def _palette() -> str:
    """Colours of both schemes as CSS variables; paper is always light."""

    def rule(palette: Palette) -> str:
        return ":root{" + "".join(f"--{name}:{colour};" for name, colour in asdict(palette).items()) + "}"

    return f"{rule(LIGHT)}\n@media screen and (prefers-color-scheme:dark){{{rule(DARK)}}}\n"


def _plain(value: float | int | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _text(value: Any) -> str:
    """Whatever a summary holds, as a phrase: a list with commas, a mapping as its pairs."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
