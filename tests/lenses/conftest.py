"""Two models made by hand: one that answers in known steps, one whose blocks are linear maps."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from decision_phases.models import load, tiny_tokenizer
from decision_phases.tasks import Question, QuestionSet, encode_questions

RIGHT = ("cow", "duck", "Paris", "Rome", "red", "green", "bird", "fish")
WRONG = ("dog", "cat", "Berlin", "Madrid", "white", "yellow", "insect", "tree")
ASKED = ("animal", "city", "country", "color", "season", "food")
LETTERS = "ABCD"
WIDTH, LAYERS, HEADS = 64, 6, 2
CONTENT, BIND, SPEAK = 1, 3, 4  # layers of the three steps


def reading_questions(n=32, seed=0):
    """The right option is the one that belongs to RIGHT; each of these words is right in n / 8 questions."""
    rng = np.random.default_rng(seed)
    items = []
    for i in range(n):
        others = [str(word) for word in rng.choice(WRONG, 3, replace=False)]
        place = i % 4
        others.insert(place, RIGHT[(i // 4) % len(RIGHT)])
        items.append(Question(tuple(others), place, f"Which {ASKED[i % len(ASKED)]}?", id=f"q{i}"))
    return QuestionSet("reading", tuple(items), "letter")


def gpt2(n_layer, width, n_head, activation):
    """A GPT-2 whose norms do nothing but take the mean away, and whose blocks do nothing at all."""
    tokenizer = tiny_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=width, n_layer=n_layer, n_head=n_head, n_positions=512, bos_token_id=0,
        eos_token_id=0, pad_token_id=0, layer_norm_epsilon=1e8, activation_function=activation,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = GPT2LMHeadModel._from_config(config, attn_implementation="eager")
    hf.config.architectures = ["GPT2LMHeadModel"]
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            norm = ".ln_" in name
            parameter.fill_(1e4 if norm and name.endswith("weight") else 0.0)
    return hf.eval(), tokenizer


@pytest.fixture(scope="session")
def reader():
    """It finds the right option at layer 1, fetches its symbol at layer 3 and speaks it at layer 4.

    Head 0 of layer 1 attends to the right word and writes the place of its option; head 0 of layer 3 attends to the
    symbol at that place and writes which it is; the MLP of layer 4 turns that into a logit. All other heads and MLPs
    are busy in a part of the stream that nothing else reads.
    """
    hf, tokenizer = gpt2(LAYERS, WIDTH, HEADS, "relu")
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    def map_of(size, out, gain):
        return gain * random(size, out) / size**0.5

    # Orthonormal directions without a mean, which the norms leave alone.
    basis = torch.linalg.qr(torch.cat([torch.ones(WIDTH, 1), random(WIDTH, WIDTH - 1)], dim=1)).Q.T[1:]
    word_at, symbol_at, is_symbol, place, bound, spoken = (basis[4 * i : 4 * i + 4] for i in range(6))
    right, junk, everywhere = basis[24], basis[25:57], basis[57]
    encoded = encode_questions(reading_questions(4), tokenizer)
    spans = encoded.sequences[0].spans

    def token(text):
        (found,) = tokenizer.encode(text)
        return found

    with torch.no_grad():
        body = hf.transformer
        body.wte.weight.copy_(0.5 * random(len(tokenizer), len(junk)) @ junk)
        # Until something is spoken, A is said: ties would be left to rounding.
        body.wpe.weight.copy_(everywhere.expand_as(body.wpe.weight))
        hf.lm_head.weight[token(" A")] += 0.02 * everywhere
        for word in RIGHT:
            body.wte.weight[token(f" {word}")] += right
        for i, letter in enumerate(LETTERS):
            start, _ = spans[f"option:{i}"]
            body.wte.weight[token(letter)] += is_symbol[i]
            body.wpe.weight[start] += word_at[i]
            body.wpe.weight[start - 2] += symbol_at[i]
            hf.lm_head.weight[token(f" {letter}")] += 8 * spoken[i]
        sharp = 30 * (WIDTH / HEADS) ** 0.5
        size = WIDTH // HEADS
        for layer, block in enumerate(body.h):
            attention, mlp = block.attn, block.mlp
            query, key, value = (attention.c_attn.weight[:, i * WIDTH : (i + 1) * WIDTH] for i in range(3))
            for head in range(HEADS):
                own = slice(head * size, (head + 1) * size)
                if head == 0 and layer == CONTENT:
                    attention.c_attn.bias[0] = sharp
                    key[:, 0] = right
                    value[:, 1:5] = word_at.T
                    attention.c_proj.weight[1:5] = place
                elif head == 0 and layer == BIND:
                    query[:, 1:5] = sharp * place.T
                    key[:, 1:5] = symbol_at.T
                    value[:, 1:5] = is_symbol.T
                    attention.c_proj.weight[1:5] = bound
                else:
                    for part in (query, key, value):
                        part[:, own] = junk.T @ map_of(len(junk), size, 1.0)
                    attention.c_proj.weight[own] = map_of(size, len(junk), 0.4) @ junk
            if layer == SPEAK:
                mlp.c_fc.weight[:, :4] = bound.T
                mlp.c_proj.weight[:4] = spoken
            else:
                mlp.c_fc.weight[:] = junk.T @ map_of(len(junk), 4 * WIDTH, 1.0)
                mlp.c_proj.weight[:] = map_of(4 * WIDTH, len(junk), 0.4) @ junk
    return load(hf, tokenizer=tokenizer, quiet=True)


@pytest.fixture(scope="session")
def reading():
    return reading_questions()


@pytest.fixture(scope="session")
def linear():
    """Every block adds a linear map of the stream, and a bias, to it."""
    hf, tokenizer = gpt2(4, 32, 2, "linear")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            if ".mlp." in name or "wte" in name or "wpe" in name or "lm_head" in name:
                scale = 0.08 if ".mlp." in name else 1.0
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return load(hf, tokenizer=tokenizer, quiet=True)
