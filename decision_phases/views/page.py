"""A page with one CircuitsVis picture that asks the network for nothing, and may not."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decision_phases.errors import InputError
from decision_phases.plots.interactive import bundled_script
from decision_phases.writing import replacing

# Scripts and styles come with the page; a browser refuses it everything else, whatever the script asks for.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 "DejaVu Sans", sans-serif; color: #191c20; background: #ffffff; margin: 1.5rem; }}
h1 {{ font-size: 1.15rem; }}
p {{ color: #586069; max-width: 48rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{note}</p>
<div id="view"></div>
<script>{script}</script>
<script>CircuitsVis.render("view", CircuitsVis.{element}, {values});</script>
</body>
</html>
"""


@dataclass(frozen=True)
class View:
    """An interactive picture: shown in Jupyter, or saved as a page of its own.

    Attributes:
        title: Heading.
        note: What it shows.
        page: The whole page.
    """

    title: str
    note: str
    page: str = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page.

        Args:
            path: An .html file.

        Returns:
            The path.

        Raises:
            InputError: If the name ends otherwise.
        """
        target = Path(path)
        if target.suffix.lower() != ".html":
            msg = f"a view is written to an .html file, not to {target.name!r}"
            raise InputError(msg)
        with replacing(target) as work:
            work.write_text(self.page, encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        """The page in a frame that can reach nothing outside, for Jupyter."""
        inside = html.escape(self.page, quote=True)
        return (
            f'<iframe sandbox="allow-scripts" title="{html.escape(self.title, quote=True)}" '
            f'style="width: 100%; height: 30rem; border: 0" srcdoc="{inside}"></iframe>'
        )


def make_view(title: str, note: str, element: str, values: Mapping[str, Any]) -> View:
    """Put a CircuitsVis element on a page.

    The package's own `render` asks a server whether there is a network whenever a picture is shown, loads a script from
    elsewhere if there is, and lets a token that closes a script end the page's; so only its script is used here.

    Args:
        title: Heading.
        note: What it shows.
        element: Name of the element.
        values: Its properties, as JSON values.

    Returns:
        The view.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
    """
    page = _PAGE.format(
        policy=html.escape(_POLICY, quote=True),
        title=html.escape(title),
        note=html.escape(note),
        script=bundled_script(),
        element=element,
        values=as_script(values),
    )
    return View(title, note, page)


def as_script(values: Mapping[str, Any]) -> str:
    r"""Write JSON that can stand in a script of a page, whatever its texts hold.

    Args:
        values: JSON values.

    Returns:
        JSON without any character that a page could take for its own.

    Example:
        >>> as_script({"token": "</script>"})
        '{"token": "\\u003c/script\\u003e"}'
    """
    text = json.dumps(values, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
