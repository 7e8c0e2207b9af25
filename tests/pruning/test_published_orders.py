"""Published orders of removal, found again wherever the model and its calibration texts are at hand.

Nothing is downloaded: a check is skipped unless environment variables name what it needs.

    DECISION_PHASES_LLAMA2_7B    folder of meta-llama/Llama-2-7b-hf
    DECISION_PHASES_LLAMA3_8B    folder of meta-llama/Meta-Llama-3-8B
    DECISION_PHASES_BOOKCORPUS   folder that save_to_disk of `datasets` wrote bookcorpus to, split "train"
    DECISION_PHASES_PG19         a .txt or .jsonl file of books of PG19

    DECISION_PHASES_LLAMA2_7B=/models/Llama-2-7b-hf DECISION_PHASES_BOOKCORPUS=/data/bookcorpus \\
        uv run pytest -n0 -rs tests/pruning/test_published_orders.py

No list was found for the angular distance (arXiv 2403.17887), SLEB (2402.09025), LLM-Drop (2406.15786), Iterative
Pruning (2605.07271) and representation hierarchies (2603.24652). The game (2602.07804) also has one for a quantised
Llama 2, of which the checkpoint is not released.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from decision_phases.models import ModelAccess, load
from decision_phases.pruning import rank
from decision_phases.pruning.criteria import Data, Request, find_criterion, units_of
from decision_phases.pruning.game.estimate import Setup
from decision_phases.pruning.game.model_game import ModelGame
from decision_phases.pruning.game.shapley import play
from decision_phases.pruning.game.units import find_units
from decision_phases.tasks import TokenSequence

ORDER, SET = "the order", "the blocks, in any order"


def random_crops(
    rows: Sequence[str], tokenizer, *, n: int = 10, length: int = 128, seed: int = 1234
) -> tuple[TokenSequence, ...]:
    """Draw rows of at least `length` tokens, none twice, and one crop of each, as the released code does.

    A BOS token is in a crop only if the crop begins where its row does.
    """
    generator = random.Random(seed)
    crops, seen = [], set()
    while len(crops) < n:
        row = generator.randint(0, len(rows) - 1)
        tokens = tokenizer(rows[row])["input_ids"]
        if len(tokens) < length or row in seen:
            continue
        seen.add(row)
        start = generator.randint(0, len(tokens) - length)
        crop = tuple(tokens[start : start + length])
        crops.append(TokenSequence(crop, tuple(range(length - 1)), crop[1:], len(crops)))
    return tuple(crops)


def cropped(model: ModelAccess, rows: Sequence[str], **settings: int) -> Data:
    crops = random_crops(rows, model.tokenizer, **settings)
    return Data(
        "bookcorpus", "window", crops, np.arange(len(crops)), tuple(f"#{i}" for i in range(len(crops)))
    )


def by_criterion(name: str, model: ModelAccess, rows: Sequence[str], **settings: int) -> list[int]:
    """All blocks, the least important first; 10 crops of 128 tokens, seed 1234."""
    request = Request(model, units_of(model), cropped(model, rows, **settings))
    return np.argsort(find_criterion(name).score(request).score, kind="stable").tolist()


def by_perplexity(model: ModelAccess, rows: Sequence[str], **settings: int) -> list[int]:
    return by_criterion("perplexity", model, rows, **settings)


def by_taylor(model: ModelAccess, rows: Sequence[str], **settings: int) -> list[int]:
    return by_criterion("taylor", model, rows, **settings)


def by_game(model: ModelAccess, rows: Sequence[str], *, n_masks: int = 8000, **settings: int) -> list[int]:
    """All blocks, the least valuable first; 10 crops of 128 tokens, seed 42."""
    data = cropped(model, rows, seed=42, **settings)
    game = ModelGame(
        model, data, find_units("block", model.n_layers), objective="perplexity_ratio", progress=True
    )
    setup = Setup(
        method="surrogate", sampler="published", surrogate="published", index="published", n_masks=n_masks, seed=42,
    )  # fmt: skip
    return list(play(game, setup).order(least_r2=-np.inf))


def by_block_influence(model: ModelAccess, books: str | Sequence[str], **settings: int) -> list[int]:
    """All blocks, the lowest Block Influence first; how much of PG19 was read is not stated: 64 windows are ours."""
    return list(rank(model, by="block_influence", texts=books, **settings).layers)


@dataclass(frozen=True)
class Published:
    """A published order.

    Attributes:
        name: Paper, criterion and model.
        model: The variable that names the model's folder.
        texts: The variable that names the texts.
        find: Takes the model and the texts; gives all blocks in the order of removal.
        expected: The blocks, by their numbers from 0, the first to go first.
        compared: Whether the order is compared, or, where the published draw cannot be had again, the set only.
        dtype: Number format of the release.
    """

    name: str
    model: str
    texts: str
    find: Callable[..., list[int]]
    expected: tuple[int, ...]
    compared: str = ORDER
    dtype: str = "float16"


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


ORDERS = (
    # arXiv 2403.03853. Public re-implementations report the same nine blocks in another order.
    Published(
        "ShortGPT-block_influence-LLaMA-2-7B", "LLAMA2_7B", "PG19", by_block_influence,
        numbers("27 26 25 28 24 29 23 21 22"), SET,
    ),
    # arXiv 2402.02834, whose release has the whole order; the perplexities of most blocks lie close together.
    Published(
        "Shortened_LLaMA-perplexity-LLaMA-2-7B", "LLAMA2_7B", "BOOKCORPUS", by_perplexity,
        numbers("11 8 24 21 12 7 9 10 18 27 14 23 25 15 20 26 17 6 13 28 22 19 5 29 4 16 30 3 2 31 1 0"),
    ),
    Published(
        "Shortened_LLaMA-perplexity-Llama-3-8B", "LLAMA3_8B", "BOOKCORPUS", by_perplexity,
        numbers("8 23 9 11 10 25 26 12 22 19 24 14 7 21 3 15 18 4 28 13 16 20 17 27 6 5 29 2 30 31 1 0"),
    ),
    # The same before the rule "+" of Taylor+, which never removes blocks 0 to 3, 30 and 31.
    Published(
        "Shortened_LLaMA-taylor-LLaMA-2-7B", "LLAMA2_7B", "BOOKCORPUS", by_taylor,
        numbers("0 28 27 25 29 26 24 23 21 22 30 20 19 18 17 14 16 13 12 15 31 11 10 1 9 8 7 6 5 2 4 3"),
        dtype="float32",
    ),
    Published(
        "Shortened_LLaMA-taylor-Llama-3-8B", "LLAMA3_8B", "BOOKCORPUS", by_taylor,
        numbers("24 25 26 28 29 23 27 22 20 19 21 30 18 17 16 13 14 15 12 11 10 9 8 7 6 5 31 4 3 0 2 1"),
        dtype="float32",
    ),
    # arXiv 2602.07804, by increasing contribution; the release draws its masks without a seed.
    Published(
        "game-perplexity_ratio-LLaMA-2-7B", "LLAMA2_7B", "BOOKCORPUS", by_game,
        numbers("22 21 12 24 11 23 14 25 10 18 17 8"), SET,
    ),
)  # fmt: skip


def at_hand(variable: str) -> str:
    given = os.environ.get(f"DECISION_PHASES_{variable}")
    if not given:
        pytest.skip(f"not at hand: set DECISION_PHASES_{variable} (see the head of this file)")
    if not Path(given).expanduser().exists():
        pytest.fail(f"DECISION_PHASES_{variable}={given} does not exist")
    return str(Path(given).expanduser())


class Rows(Sequence):
    """The texts of a data set, each read when it is asked for."""

    def __init__(self, folder: str) -> None:
        self.dataset = pytest.importorskip("datasets").load_from_disk(folder)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> str:
        return self.dataset[row]["text"]


def read_texts(variable: str) -> str | Sequence[str]:
    given = at_hand(variable)
    return Rows(given) if variable == "BOOKCORPUS" else given


@pytest.mark.parametrize("published", ORDERS, ids=lambda published: published.name)
def test_published_order(published):
    texts = read_texts(published.texts)
    model = load(at_hand(published.model), dtype=published.dtype)
    found = published.find(model, texts)[: len(published.expected)]
    shared = len(set(found) & set(published.expected))
    told = f"{shared} of {len(found)} blocks agree\nfound     {found}\npublished {list(published.expected)}"
    if published.compared == SET:
        assert set(found) == set(published.expected), told
    else:
        assert found == list(published.expected), told


# -- that these checks would run ------------------------------------------------------------------------------------

ROWS = (
    "Is water wet?",
    "Is water wet? Yes, it is. Is fire cold? No, it is not.",
    "What is hot? Fire is hot, and ice is not.",
)


def test_published_lists_are_orders_of_blocks():
    for published in ORDERS:
        assert len(set(published.expected)) == len(published.expected)
        assert set(published.expected) <= set(range(32))
        if published.compared == ORDER:
            assert len(published.expected) == 32


@pytest.mark.parametrize(
    "find", [by_perplexity, by_taylor, by_game, by_block_influence], ids=lambda f: f.__name__
)
def test_every_way_of_finding_runs(find, tiny):
    sizes = {} if find is by_block_influence else {"n": 2, "length": 8}
    if find is by_game:
        sizes["n_masks"] = 40
    assert sorted(find(tiny, ROWS, **sizes)) == list(range(tiny.n_layers))


def test_crops_are_cut_from_different_rows_that_are_long_enough(tiny):
    crops = random_crops(ROWS, tiny.tokenizer, n=2, length=8, seed=3)
    rows = [tuple(tiny.tokenizer(row)["input_ids"]) for row in ROWS]
    assert len(rows[0]) < 8
    homes = [
        [i for i, row in enumerate(rows) if any(row[j : j + 8] == crop.tokens for j in range(len(row)))]
        for crop in crops
    ]
    assert sorted(homes) == [[1], [2]]
    assert all(crop.targets == crop.tokens[1:] and crop.read == tuple(range(7)) for crop in crops)
    assert random_crops(ROWS, tiny.tokenizer, n=2, length=8, seed=3) == crops
