"""A Llama with random weights, of any size, to measure sizes that no bundled model has."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from decision_phases.models.bundled import bundled_folder


def random_model(args: argparse.Namespace) -> tuple[torch.nn.Module, Any]:
    """Make a model from the command line, and take the bundled tokenizer.

    Args:
        args: With random_layers, random_width, random_heads, random_kv_heads, random_mlp, dtype and device.

    Returns:
        Model and tokenizer.
    """
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    width = args.random_width or 2048
    heads = args.random_heads or width // 128 or 1
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=args.random_layers,
        num_attention_heads=heads,
        num_key_value_heads=args.random_kv_heads or max(1, heads // 4),
        intermediate_size=args.random_mlp or 7 * width // 2,
        attn_implementation="eager",
    )
    place = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, args.dtype))
    try:
        with torch.random.fork_rng(), torch.device(place):
            torch.manual_seed(0)
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.config.architectures = ["LlamaForCausalLM"]
    return model.eval(), tokenizer
