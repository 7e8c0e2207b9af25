"""Rows of Hugging Face data sets, through the optional package `datasets`."""

from dataclasses import dataclass
from typing import Any

from decision_phases.errors import InputError, MissingPackageError


@dataclass(frozen=True)
class HubSource:
    """Where a data set is on the hub.

    Attributes:
        path: Repository ("allenai/ai2_arc").
        config: Configuration, or None for the only one.
        split: Split that is taken unless another is asked for.
    """

    path: str
    config: str | None = None
    split: str = "validation"

    def __str__(self) -> str:
        return f"{self.path}{f':{self.config}' if self.config else ''} [{self.split}]"


def parse_hub(name: str, split: str | None = None) -> HubSource:
    """Return the source that "owner/name" or "owner/name:config" means.

    Example:
        >>> str(parse_hub("allenai/ai2_arc:ARC-Easy", "test"))
        'allenai/ai2_arc:ARC-Easy [test]'
    """
    path, _, config = name.partition(":")
    return HubSource(path, config or None, split or "validation")


def load_hub(source: HubSource) -> list[dict[str, Any]]:
    """Return all rows of a split, downloaded once by `datasets` and from its cache afterwards.

    Code that a repository may contain is not run.

    Raises:
        MissingPackageError: If `datasets` is not installed.
        InputError: If the data set is neither in the cache nor reachable, or has no such configuration or
            split.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(
            f"{source} needs the package datasets; install it with: pip install 'decision-phases[datasets]'"
        ) from error
    try:
        return list(datasets.load_dataset(source.path, source.config, split=source.split))
    except OSError as error:
        raise InputError(
            f"{source} is not in the cache of datasets ({datasets.config.HF_DATASETS_CACHE}) and cannot be "
            f"fetched: {error}. Check the name; load it once with a network (and HF_HUB_OFFLINE not set); or "
            "give a local .jsonl, .csv or .parquet file."
        ) from error
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{source} cannot be loaded: {error}") from error
