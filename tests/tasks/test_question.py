from collections import Counter
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_phases.errors import InputError
from decision_phases.tasks import Question, QuestionSet


@st.composite
def rows(draw):
    """The fields of a question; beartype draws random numbers, so nothing is built inside a strategy."""
    options = draw(st.lists(st.text("abcdefgh", min_size=1), min_size=2, max_size=6, unique=True))
    answer = draw(st.integers(0, len(options) - 1))
    return (
        tuple(options),
        answer,
        draw(st.text("pqr", min_size=1)),
        draw(st.sampled_from(["", "x", "y", "z"])),
    )


def build(options, answer, text, category):
    return Question(options, answer, text, category=category)


def build_set(drawn):
    return QuestionSet("drawn", tuple(build(*row) for row in drawn))


many_rows = st.lists(rows(), min_size=2, max_size=30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ("Paris",), "answer": 0}, "has 1 option(s); at least two are needed"),
        ({"options": ("Paris", "Rome", " Paris ")}, "options that occur twice: ['Paris']"),
        ({"options": ("Paris", " ")}, "has an empty option"),
        ({"answer": 2}, "has answer 2; expected an index from 0 to 1"),
        ({"answer": -1}, "has answer -1; expected an index from 0 to 1"),
        ({"answer": True}, "has answer True; expected an index"),
        ({"prompt": "The capital is"}, "has both of question= and prompt=; give exactly one"),
        ({"question": None}, "has neither of question= and prompt=; give exactly one"),
        ({"question": "  "}, "has an empty text"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(changes, message):
    fields = {"options": ("Paris", "Rome"), "answer": 0, "question": "Capital?", "id": "q7"} | changes
    with pytest.raises(InputError) as caught:
        Question(**fields)
    assert message in str(caught.value)
    assert "'q7'" in str(caught.value)


def test_white_space_around_options_is_dropped():
    assert Question((" Paris", "Rome\n"), 0, "Capital?").options == ("Paris", "Rome")


def test_a_question_does_not_change():
    with pytest.raises(FrozenInstanceError):
        Question(("a", "b"), 0, "?").answer = 1


@given(rows(), st.integers(-20, 20), st.integers(-20, 20))
def test_rotations_compose_return_after_a_full_turn_and_carry_the_gold(row, one, two):
    item = build(*row)
    assert item.rotated(one).rotated(two) == item.rotated(one + two)
    assert item.rotated(len(item.options)) == item
    assert item.rotated(one).gold == item.gold
    assert item.rotated(one).options[0] == item.options[one % len(item.options)]


@given(rows())
def test_all_rotations_put_the_gold_everywhere_once(row):
    item = build(*row)
    count = len(item.options)
    assert sorted(item.rotated(k).answer for k in range(count)) == list(range(count))


def test_a_verbatim_prompt_is_not_rotated():
    item = Question(("a", "b"), 0, prompt="A. a B. b Answer:", id="p")
    assert item.rotated(2) is item
    with pytest.raises(InputError, match="'p' has a verbatim prompt, whose options cannot be rotated"):
        item.rotated(1)


@given(many_rows, st.integers(0, 5), st.integers(1, 30), st.integers(1, 30))
def test_limits_are_deterministic_ordered_and_nested(drawn, seed, one, two):
    questions = build_set(drawn)
    small, large = sorted((one, two))
    assert questions.limit(small, seed) == questions.limit(small, seed)
    chosen = questions.limit(small, seed)
    assert len(chosen) == min(small, len(questions))
    assert not Counter(chosen) - Counter(questions.limit(large, seed))
    remaining = iter(questions)
    assert all(any(item == other for other in remaining) for item in chosen)  # in the set's order


@given(many_rows, st.integers(0, 5))
def test_a_split_in_halves_is_disjoint_complete_and_stratified(drawn, seed):
    questions = build_set(drawn)
    search, evaluation = questions.split(0.5, seed)
    assert (search, evaluation) == questions.split(0.5, seed)
    assert Counter(search) + Counter(evaluation) == Counter(questions)
    for category in questions.categories:
        counts = [sum(item.category == category for item in part) for part in (search, evaluation)]
        assert abs(counts[0] - counts[1]) <= 1


@given(many_rows, st.integers(0, 5), st.integers(1, 5))
def test_rotated_questions_split_alike(drawn, seed, steps):
    questions = build_set(drawn)
    for plain, turned in zip(
        questions.split(0.5, seed), questions.rotated(steps).split(0.5, seed), strict=True
    ):
        assert plain.rotated(steps) == turned


def test_a_limit_takes_as_many_of_each_category():
    items = tuple(Question(("a", "b"), 0, f"{i}?", category="wxyz"[i // 10]) for i in range(40))
    for n in (4, 8, 12, 20):
        assert set(Counter(item.category for item in QuestionSet("q", items).limit(n, seed=3)).values()) == {
            n // 4
        }


def test_another_seed_draws_others():
    items = tuple(Question(("a", "b"), 0, f"{i}?") for i in range(40))
    questions = QuestionSet("q", items)
    assert questions.limit(10, seed=0) != questions.limit(10, seed=1)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.1])
def test_a_split_with_an_empty_part_is_refused(fraction):
    questions = QuestionSet("q", tuple(Question(("a", "b"), 0, f"{i}?") for i in range(3)))
    with pytest.raises(InputError, match="leaves an empty part"):
        questions.split(fraction)


def test_a_limit_below_one_and_an_empty_set_are_refused():
    with pytest.raises(InputError, match="limit is 0; at least one"):
        QuestionSet("q", (Question(("a", "b"), 0, "?"),)).limit(0)
    with pytest.raises(InputError, match="question set 'q' is empty"):
        QuestionSet("q", ())


def test_slices_and_sums_are_sets():
    items = tuple(Question(("a", "b"), 0, f"{i}?") for i in range(5))
    questions = QuestionSet("q", items, scoring="cloze", source="here", template="q_a")
    assert questions[1:3] == QuestionSet("q", items[1:3], "cloze", "here", "q_a")
    assert questions[-1] is items[-1]
    assert questions[:2] + questions[2:] == questions
    other = QuestionSet("r", items[:1], scoring="letter", source="there")
    both = questions + other
    assert (both.name, both.scoring, both.source, both.template) == (
        "q+r",
        None,
        "here+there",
        "question_answer",
    )
    assert both.items == (*items, items[0])


def test_the_hash_is_of_the_content_and_its_order():
    one, two = Question(("a", "b"), 0, "1?"), Question(("a", "b"), 0, "2?")
    first = QuestionSet("q", (one, two))
    assert first.content_hash == QuestionSet("another name", (one, two), scoring="cloze").content_hash
    assert len(first.content_hash) == 16
    assert (
        len({s.content_hash for s in (first, QuestionSet("q", (two, one)), first.rotated(1), first[:1])}) == 4
    )


def test_chance_categories_and_closed_options():
    questions = QuestionSet(
        "q",
        (
            Question(("red", "green"), 0, "1?", category="colour"),
            Question(("a", "b", "c", "d"), 0, "2?", category="other"),
            Question(("green", "red"), 0, "3?", category="colour"),
        ),
    )
    assert questions.chance == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert questions.categories == ("colour", "other")
    assert questions.closed_options() is None
    assert questions.closed_options("colour") == ("green", "red")
    assert [item.question for item in questions.filter("colour")] == ["1?", "3?"]
    with pytest.raises(InputError, match="unknown category of 'q' 'color'; did you mean 'colour'"):
        questions.filter("color")


def test_the_table_has_a_row_per_question():
    table = QuestionSet("q", (Question(("a", "b"), 1, "?", category="c", id="i"),)).to_pandas()
    expected = {
        "id": "i",
        "category": "c",
        "question": "?",
        "prompt": None,
        "options": ["a", "b"],
        "answer": 1,
    }
    assert table.to_dict("records") == [expected | {"gold": "b"}]
