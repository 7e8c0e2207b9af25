"""A small model whose answers are planted, so that it is known beforehand where it decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer, tiny_vocabulary
from decision_phases.pruning.prune import make_setting
from decision_phases.readout import ask
from decision_phases.tasks import Question, QuestionSet

PLANTED = 3
"""The block that knows the answers; all others do nothing."""
OPTIONS = ("W", "X", "Y", "Z")
PROMPTS = tuple("abcdefghijklmnopqrstuvwx")


def planted_hf():
    """Block 3 writes the answer that belongs to the prompt's letter; before it, a wrong option leads.

    The embedding of letter i is axis i, unit i of the MLP of block 3 turns it into axis 24 + (i mod 4), and the
    unembedding reads option k from axis 24 + k, with a slight liking of the wrong option (i + 1) mod 4 for letter i.
    """
    model = tiny_hf("llama")
    words = {word: i for i, word in enumerate(tiny_vocabulary())}
    inner = model.model
    with torch.no_grad():
        for block in inner.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        inner.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        mlp = inner.layers[PLANTED].mlp
        mlp.gate_proj.weight.zero_()
        mlp.up_proj.weight.zero_()
        for i, prompt in enumerate(PROMPTS):
            inner.embed_tokens.weight[words[prompt], i] = 1.0
            mlp.gate_proj.weight[i, i] = 1.0
            mlp.up_proj.weight[i, i] = 1.0
            mlp.down_proj.weight[24 + i % 4, i] = 1.0
            model.lm_head.weight[words[f" {OPTIONS[(i + 1) % 4]}"], i] = 0.1
        for k, option in enumerate(OPTIONS):
            model.lm_head.weight[words[f" {option}"], 24 + k] = 1.0
    return model


def planted_questions(answers=None):
    """One question a letter; `answers` other than the planted ones are wrong on purpose."""
    gold = [i % 4 for i in range(len(PROMPTS))] if answers is None else answers
    items = [
        Question(OPTIONS, int(answer), prompt=prompt, id=prompt)
        for prompt, answer in zip(PROMPTS, gold, strict=True)
    ]
    return QuestionSet("planted", tuple(items), "first_token", "a test")


@pytest.fixture(scope="session")
def planted():
    return load(planted_hf(), tokenizer=tiny_tokenizer(), consume=True, quiet=True)


@pytest.fixture(scope="session")
def planted_setting(planted):
    """Search and evaluation are disjoint halves of the planted questions."""
    search, evaluation = planted_questions().split(0.5, 0)
    return make_setting(planted, ask(planted, search), ask(planted, evaluation), up_to=4, draws=2)


@pytest.fixture
def fresh(planted_setting):
    """The same setting, knowing nothing from earlier searches."""
    return replace(planted_setting, known={})


@pytest.fixture(scope="session")
def facts():
    from decision_phases.tasks import questions

    return questions("facts").limit(40, 0)


@pytest.fixture(scope="session")
def shuffled_answers():
    return np.random.default_rng(0).permutation([i % 4 for i in range(len(PROMPTS))])
