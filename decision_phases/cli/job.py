"""Load, run, report: what `run`, `read` and `prune` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decision_phases.cli.arguments import check_model, check_settings
from decision_phases.errors import InputError
from decision_phases.studies.settings import RunSettings

if TYPE_CHECKING:  # help should not wait for torch
    from decision_phases.models import ModelAccess


def load_model(given: dict[str, Any], *, quiet: bool = False) -> Any:
    """Load the model that the options name.

    Args:
        given: Values of `--model`, `--device`, `--device-map`, `--offload-folder`, `--dtype`, `--backend` and
            `--threads`.
        quiet: Do not print the model and its parity line.

    Returns:
        The model.
    """
    import torch
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    from decision_phases.models import load

    shown = not are_progress_bars_disabled()
    logging.disable_progress_bar()
    if shown and sys.stderr.isatty() and not given.get("no_progress"):
        enable_progress_bars()  # a download may take long and keeps its bar; filling in weights does not
    if given.get("threads"):
        torch.set_num_threads(given["threads"])
    return load(
        given["model"],
        device=given["device"],
        dtype=given["dtype"],
        backend=given["backend"],
        device_map=given.get("device_map"),
        offload_folder=given.get("offload_folder"),
        quiet=quiet,
    )


def do(
    ctx: click.Context,
    settings: RunSettings,
    out: Path | None,
    *,
    job: Callable[..., Path] | None = None,
    show: Callable[[Path], object] | None = None,
) -> Path:
    """Do a job and leave its folder, complete or not.

    Args:
        ctx: The context of the command.
        settings: What to do.
        out: The folder; None for `runs/<time>-<model>`, or with `--resume` the newest there.
        job: What does it, called like `run_study` without its settings; by default that, with these settings.
        show: What writes figures and page of a folder; `illustrate` by default.

    Returns:
        The folder, with figures and report.

    Raises:
        InputError: If something given cannot be used.
        KeyboardInterrupt: On Ctrl-C, saying what was kept and how to continue.
    """
    from decision_phases.store import new_folder
    from decision_phases.studies import run_study

    if job is None:
        job = partial(run_study, settings=settings)
    given = ctx.params
    resume = bool(given["resume"])
    with set_aside(out, resume=resume) as early:
        check_settings(settings)
        model = load_model(given)
        check_model(model, settings)
        with _cleared(early or new_folder(None, model.name), made=early is None) as folder:
            try:
                with spread(model, given):
                    job(
                        model,
                        out=folder,
                        resume=resume,
                        command=ctx.obj,
                        progress=not given["no_progress"] and sys.stderr.isatty(),
                    )
                (show or illustrate)(folder)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_left_behind(folder, ctx.obj)) from None
    return folder


def spread(model: ModelAccess, given: Mapping[str, Any]) -> AbstractContextManager[object]:
    """The workers that were asked for.

    Args:
        model: The model.
        given: Values of `--workers`, `--cluster` and `--threads`.

    Returns:
        A context to evaluate in.

    Raises:
        InputError: If a cluster is named without a number of workers.
    """
    n, address = given.get("workers"), given.get("cluster")
    if n is None:
        if address is not None:
            msg = f"--cluster {address} was given without --workers; say how many workers it should run"
            raise InputError(msg)
        return nullcontext()
    from decision_phases.engine import workers

    return workers(model, n, address=address, threads=given.get("threads") or 1)


def illustrate(folder: Path) -> None:
    """Draw the figures and write the report of a folder.

    Args:
        folder: The folder.
    """
    from decision_phases.report import write_figures, write_report

    write_figures(folder)
    write_report(folder)


@contextmanager
def set_aside(out: Path | None, *, resume: bool) -> Iterator[Path | None]:
    """Look at the folder of a job before anything is loaded or run.

    Args:
        out: The folder; None for one whose name is not known yet, or with `resume` for the newest under `runs/`.
        resume: Whether a job in it is continued.

    Yields:
        The folder, if its name is known; it goes again if it is new and nothing is written into it.

    Raises:
        InputError: If it holds something else, cannot be made, or has no job to continue.
    """
    from decision_phases.store import new_folder, resume_folder

    if resume:
        yield resume_folder(out)
    elif out is None:
        yield None
    else:
        made = not out.exists()
        with _cleared(new_folder(out, ""), made=made) as folder:
            yield folder


@contextmanager
def _cleared(folder: Path, *, made: bool) -> Iterator[Path]:
    """A folder that, if it was made here, goes again if nothing was written into it."""
    try:
        yield folder
    finally:
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _left_behind(folder: Path, command: str) -> str:
    """Write the report of what there is, and say how to continue."""
    from decision_phases.store import to_continue

    if not (folder / "manifest.json").is_file():
        return "nothing was written yet"
    what = "there are no results yet"
    if (folder / "summary.json").is_file():
        illustrate(folder)
        what = f"what is finished is kept, and {folder / 'report.html'} shows it"
    return f"{what}\ncontinue with: {to_continue(command, folder)}"
