"""The bundled question set keeps the properties that its README promises, read from the file alone."""

import json
import random
import re
from collections import Counter, defaultdict
from importlib import resources
from typing import Any

import pytest

Item = dict[str, Any]

CLOSED = {
    "classes": {"bird", "fish", "insect", "tree"},
    "colors": {"green", "red", "white", "yellow"},
    "continents": {"Africa", "Asia", "Australia", "Europe"},
    "kinds": {"animal", "country", "fruit", "metal"},
    "measures": {"length", "temperature", "time", "weight"},
    "numbers": {"eight", "four", "six", "two"},
    "seasons": {"autumn", "spring", "summer", "winter"},
    "senses": {"ears", "eyes", "mouth", "nose"},
}


def read_items() -> list[Item]:
    text = (resources.files("decision_phases.tasks.bundled") / "facts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


ITEMS = read_items()
BLOCKS = [ITEMS[start : start + 4] for start in range(0, len(ITEMS), 4)]


def by_category() -> dict[str, list[Item]]:
    groups = defaultdict(list)
    for item in ITEMS:
        groups[item["category"]].append(item)
    return groups


def gold(item: Item) -> str:
    return item["options"][item["answer"]]


def test_twenty_categories_of_sixteen() -> None:
    groups = by_category()
    assert len(ITEMS) == 320
    assert len(groups) == 20
    assert {len(items) for items in groups.values()} == {16}


def test_every_item_is_well_formed() -> None:
    for item in ITEMS:
        assert list(item) == ["id", "category", "question", "options", "answer"]
        assert len(item["options"]) == len({option.lower() for option in item["options"]}) == 4
        assert all(re.fullmatch("[A-Za-z]+", option) for option in item["options"])
        assert item["answer"] in range(4)
        assert re.fullmatch(r"[A-Z][^?]*\?", item["question"])
        assert len(item["question"].split()) <= 12


def test_ids_name_the_category_and_count_from_one() -> None:
    for category, items in by_category().items():
        assert [item["id"] for item in items] == [f"{category}-{n:03d}" for n in range(1, 17)]


def test_no_question_is_asked_twice() -> None:
    questions = [re.sub(r"\W+", " ", item["question"].lower()) for item in ITEMS]
    assert len(set(questions)) == len(questions)


def test_no_option_stands_in_its_question() -> None:
    for item in ITEMS:
        inside = [option for option in item["options"] if option.lower() in item["question"].lower()]
        assert inside == [], item["id"]


def test_closed_categories_show_one_set_of_options() -> None:
    shown = {c: {frozenset(item["options"]) for item in items} for c, items in by_category().items()}
    assert {c: set(*sets) for c, sets in shown.items() if len(sets) == 1} == CLOSED


def test_four_consecutive_items_share_four_options_and_each_is_gold_once() -> None:
    for block in BLOCKS:
        assert len({item["category"] for item in block}) == 1
        options = set(block[0]["options"])
        assert all(set(item["options"]) == options for item in block)
        assert {gold(item) for item in block} == options


def test_gold_positions_are_balanced_in_every_block() -> None:
    for block in BLOCKS:
        assert {item["answer"] for item in block} == {0, 1, 2, 3}
    assert Counter(item["answer"] for item in ITEMS) == dict.fromkeys(range(4), 80)


def test_every_option_stands_once_at_every_position_of_its_block() -> None:
    for block in BLOCKS:
        for column in zip(*(item["options"] for item in block), strict=True):
            assert set(column) == set(block[0]["options"])


def test_closed_categories_have_every_option_as_gold_at_every_position() -> None:
    for category in CLOSED:
        cells = Counter((gold(item), item["answer"]) for item in by_category()[category])
        assert len(cells) == 16
        assert set(cells.values()) == {1}


def test_gold_share_equals_appearance_share() -> None:
    for items in by_category().values():
        golds = Counter(gold(item) for item in items)
        shown = Counter(option for item in items for option in item["options"])
        assert shown == {option: 4 * count for option, count in golds.items()}


def test_any_fixed_preference_over_options_is_right_once_in_four() -> None:
    """A reader that ranks the option texts without the question cannot leave chance, whatever its ranking."""
    vocabulary = sorted({option for item in ITEMS for option in item["options"]})
    generator = random.Random(0)
    for _ in range(200):
        rank = {option: generator.random() for option in vocabulary}
        right = sum(max(item["options"], key=rank.__getitem__) == gold(item) for item in ITEMS)
        assert right == len(ITEMS) // 4


def prior_accuracy(held_out: dict[str, set[str]]) -> float:
    """Accuracy of choosing the shown option that is gold most often among the category's other items.

    `held_out` maps each id to the ids that may not be counted for it; ties share the point.
    """
    total = 0.0
    for items in by_category().values():
        for item in items:
            golds = Counter(gold(other) for other in items if other["id"] not in held_out[item["id"]])
            best = max(golds[option] for option in item["options"])
            tied = [option for option in item["options"] if golds[option] == best]
            total += (gold(item) in tied) / len(tied)
    return total / len(ITEMS)


def test_prior_only_readers_stay_at_chance() -> None:
    """Gold counts of the other blocks give 0.25; of all items but the one asked, at most 0.25."""
    own_block = {item["id"]: {other["id"] for other in block} for block in BLOCKS for item in block}
    itself = {item["id"]: {item["id"]} for item in ITEMS}
    assert prior_accuracy(own_block) == pytest.approx(0.25)
    assert prior_accuracy(itself) <= 0.25
    assert prior_accuracy({item["id"]: set() for item in ITEMS}) == pytest.approx(0.25)
