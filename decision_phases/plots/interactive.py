"""The script that draws interactive pictures: the one that the installed CircuitsVis brings along."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from decision_phases.errors import InputError, MissingPackageError


@cache
def bundled_script() -> str:
    """The script that the installed CircuitsVis brings along.

    Returns:
        JavaScript that can stand in a page.

    Raises:
        MissingPackageError: If CircuitsVis is not installed.
        InputError: If it brings no script, or none that can stand in a page.
    """
    found = find_spec("circuitsvis")
    if found is None or not found.submodule_search_locations:
        msg = "this view needs the package circuitsvis; install it with: pip install 'decision-phases[circuitsvis]'"
        raise MissingPackageError(msg)
    file = Path(found.submodule_search_locations[0]) / "dist" / "cdn" / "iife.js"
    if not file.is_file():
        msg = f"the installed circuitsvis has no {file}; install a release from 1.43.3 on"
        raise InputError(msg)
    script = file.read_text(encoding="utf-8").replace("</script", "<\\/script")
    if "<!--" in script:
        msg = f"{file} holds what a page would take for a comment, so it cannot stand in one; use release 1.43.3"
        raise InputError(msg)
    return "\n".join(line for line in script.splitlines() if not line.startswith("//# sourceMappingURL"))
