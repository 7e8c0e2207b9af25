"""Small random models of many families, built offline in milliseconds: for testing mechanics, never for claims."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import nn

from decision_phases.errors import unknown_name

_SIZES = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4, "max_position_embeddings": 512}
_GATED = {**_SIZES, "intermediate_size": 48, "num_key_value_heads": 2}

#: family → (configuration class of transformers, settings beyond the vocabulary)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GATED),
    "mistral": ("MistralConfig", {**_GATED, "sliding_window": 8}),
    "qwen2": ("Qwen2Config", _GATED),
    "qwen3": ("Qwen3Config", {**_GATED, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {**_GATED, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "gemma3": (
        "Gemma3TextConfig",
        {
            **_GATED,
            "head_dim": 8,
            "sliding_window": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window_pattern": 3,
        },
    ),
    "mixtral": ("MixtralConfig", {**_GATED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 6, "n_head": 4, "n_positions": 512}),
    "gpt_neox": ("GPTNeoXConfig", {**_SIZES, "intermediate_size": 64}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 6, "n_head": 4}),
    "falcon": ("FalconConfig", {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4}),
    "granite": ("GraniteConfig", {**_GATED, "logits_scaling": 4.0, "residual_multiplier": 0.5}),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 6, "state_size": 8}),
    "rwkv": (
        "RwkvConfig",
        {
            "hidden_size": 32,
            "attention_hidden_size": 32,
            "num_hidden_layers": 6,
            "context_length": 512,
            "rescale_every": 2,
        },
    ),
}


#: A recurrence multiplies what it is given again and again: wider matrices would magnify rounding beyond tolerance.
_WIDER = {"mamba": 2.0}


def tiny_hf(family: str = "llama", *, seed: int = 0, vocab_size: int | None = None) -> nn.Module:
    """Build a random Hugging Face model with 6 layers of width 32.

    Matrices are drawn four times wider than usual (Mamba: twice), so that layers do something and logits differ.

    Args:
        family: One of `FAMILIES`.
        seed: Seed of the weights; the global random state is left alone.
        vocab_size: Size of the vocabulary; by default that of `tiny_tokenizer`.

    Returns:
        A causal language model in float32, in eval mode.

    Raises:
        InputError: If the family is not known.

    Example:
        >>> sum(p.numel() for p in tiny_hf("gpt2", vocab_size=100).parameters()) > 10_000
        True
    """
    import transformers

    if family not in FAMILIES:
        raise unknown_name("tiny family", family, FAMILIES)
    name, settings = FAMILIES[family]
    size = vocab_size or len(tiny_vocabulary())
    config = getattr(transformers, name)(
        vocab_size=size, bos_token_id=0, eos_token_id=0, pad_token_id=0, **settings
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(_WIDER.get(family, 4.0))
    model.config.architectures = [type(model).__name__]
    model.eval()
    result: nn.Module = model
    return result


@cache
def tiny_vocabulary() -> tuple[str, ...]:
    """Every word of the bundled questions, with and without a leading space, and all printable characters.

    Returns:
        Token strings, in a fixed order.
    """
    lines = (
        resources.files("decision_phases.tasks")
        .joinpath("bundled/facts.jsonl")
        .read_text("utf-8")
        .splitlines()
    )
    words: set[str] = {"Question", " Answer", "Answer", "Text"}
    for line in lines:
        row = json.loads(line)
        for text in (row["question"], f" {row['question']}", *(f" {option}" for option in row["options"])):
            words.update(_PIECES.findall(text))
    words.update(f" {chr(c)}" for c in range(33, 127))
    words.update(chr(c) for c in range(32, 127))
    return ("<s>", "<unk>", "\n", *sorted(words))


_PIECES = re.compile(r" ?\w+| ?[^\w\s]|\s")


@cache
def tiny_tokenizer() -> Any:
    """A word-level tokenizer over the bundled questions, for tiny models: every option of `facts` is one token.

    Returns:
        A Hugging Face tokenizer without a BOS rule.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(tiny_vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES.pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="<s>",
        pad_token="<s>",
    )
