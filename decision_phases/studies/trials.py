"""Controls: the same question put where there is nothing to find."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from decision_phases.models import ModelAccess, load
from decision_phases.readout import Decisions


def shuffled_gold(decisions: Decisions, seed: int) -> Int[np.ndarray, " question"]:
    """Redraw the right option of every question uniformly among its options.

    Args:
        decisions: Whose questions.
        seed: Of the draw.

    Returns:
        Index of the pretended right option.
    """
    rng = np.random.default_rng([seed, 7])
    drawn: Int[np.ndarray, " question"] = rng.integers(0, decisions.encoded.n_options)
    return drawn


def random_twin(model: ModelAccess, seed: int) -> ModelAccess:
    """Build a model of the same architecture and size whose weights are drawn anew.

    Args:
        model: Whose architecture; it must have been loaded from Hugging Face weights.
        seed: Of the weights; the global random state is left alone.

    Returns:
        The random model, with the same tokenizer.

    Raises:
        InputError: If no plain Hugging Face model can be rebuilt from this one.
    """
    from transformers import AutoModelForCausalLM

    hf: Any = model.fresh_hf()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = AutoModelForCausalLM.from_config(hf.config, attn_implementation="eager", dtype=model.dtype)
    del hf
    return load(twin, tokenizer=model.tokenizer, device=model.device, consume=True, quiet=True)
