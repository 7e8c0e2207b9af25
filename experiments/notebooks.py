"""Run the notebooks of docs/notebooks and write them with their outputs.

uv run python experiments/notebooks.py                  # all of them, on the real model: about an hour on 2 cores
uv run python experiments/notebooks.py first_look       # one of them
uv run python experiments/notebooks.py --quick --out X  # a small random model, as a check
uv run python experiments/notebooks.py --no-run         # the cells as they now stand in the scripts, without outputs
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import jupytext
import nbformat

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def main(argv: list[str] | None = None) -> None:
    """Read the command line, and write one notebook after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of the scripts; all by default")
    parser.add_argument("--quick", action="store_true", help="a small random model and few questions")
    parser.add_argument("--no-run", action="store_true", help="write the cells only")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to; beside the scripts by default")
    args = parser.parse_args(argv)
    names = args.names or sorted(path.stem for path in FOLDER.glob("*.py"))
    args.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        book = cells(FOLDER / f"{name}.py")
        if not args.no_run:
            run(book, quick=args.quick)
        nbformat.write(book, args.out / f"{name}.ipynb")


def cells(script: Path) -> Any:
    """Turn a script into a notebook without outputs.

    Args:
        script: In percent format.

    Returns:
        The notebook; its cells are numbered, so that the same script gives the same file.
    """
    book = jupytext.read(script)
    book.nbformat, book.nbformat_minor = 4, 5
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"
    return book


def run(book: Any, *, quick: bool = False) -> None:
    """Run a notebook in a kernel of its own, and keep what comes out in it.

    Args:
        book: The notebook.
        quick: Whether to run the small setting.
    """
    from nbclient import NotebookClient

    os.environ["DECISION_PHASES_QUICK"] = "1" if quick else "0"
    NotebookClient(book, timeout=None, record_timing=False, coalesce_streams=True).execute()
    for cell in book.cells:
        # What a library says on the way (bars, notes of kernels) is no result.
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


if __name__ == "__main__":
    main()
