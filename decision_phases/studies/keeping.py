"""The folder of a job and its manifest, from the first check to the last file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from decision_phases.models import ModelAccess
from decision_phases.store import Manifest, new_folder, resume_folder


@contextmanager
def kept_folder(
    model: ModelAccess,
    arguments: Mapping[str, Any],
    content_hash: str,
    *,
    seed: int,
    out: Path | None = None,
    resume: bool = False,
) -> Iterator[Path]:
    """Keep a job in a folder whose manifest says what it is and whether it is complete.

    Args:
        model: The model.
        arguments: Everything else that decides the result.
        content_hash: Hash of the questions or texts.
        seed: Of everything random.
        out: The folder; `runs/<time>-<model>` by default.
        resume: Continue the job in `out` (or the newest under `runs/`).

    Yields:
        The folder; the job is complete if the block ends without an exception.

    Raises:
        InputError: If the folder holds something else, or a job of other arguments, weights, inputs or versions.
    """
    began = time.monotonic()
    manifest = Manifest.begin(
        {
            **arguments,
            "model": model.name,
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "backend": model.kind,
        },
        model.fingerprint,
        content_hash,
        seed=seed,
        threads=torch.get_num_threads(),
    )
    if resume:
        folder = resume_folder(out)
        manifest = manifest.check_resumes(folder)
    else:
        folder = new_folder(out, model.name)
    manifest.write(folder)
    complete = False
    try:
        yield folder
        complete = True
    finally:
        manifest.after(manifest.seconds + time.monotonic() - began, complete=complete).write(folder)
