"""Who is paired with whom, and who with nobody: against brute force and known answers."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

import decision_phases as dp
from decision_phases.circuits.matching import letter_p, match
from decision_phases.circuits.paired import LetterBinding, some_of


def largest(n, allowed):
    """Size of the largest set of disjoint pairs, by trying all."""
    edges = [(i, j) for i, j in combinations(range(n), 2) if allowed(i, j)]

    def most(left):
        return max((1 + most([e for e in left if not {i, j} & set(e)]) for i, j in left), default=0)

    return most(edges)


@pytest.fixture(scope="module")
def own(tiny, relabelled):
    return relabelled(
        tiny, dp.questions("facts").filter("animals", "capitals", "colors", "places", "jobs", "tools")
    )


@pytest.fixture(scope="module")
def found(tiny, own):
    return dp.pairs(tiny, own, least=2)


@pytest.mark.parametrize("seed", range(8))
def test_matching_keeps_its_conditions_and_leaves_few_over(seed):
    rng = np.random.default_rng(seed)
    n = 9
    groups, gold = rng.integers(2, size=n).tolist(), rng.integers(3, size=n).tolist()
    right = rng.random(n) < 0.8
    together = rng.random((n, n)) < 0.7
    together &= together.T

    def allowed(i, j):
        return groups[i] == groups[j] and gold[i] != gold[j] and together[i, j] and right[i] and right[j]

    found, dropped = match(groups, gold, right, together, seed=seed)
    assert all(allowed(i, j) for i, j in found)
    members = [i for pair in found for i in pair]
    assert len(set(members)) == len(members)
    assert 2 * len(found) + sum(dropped.values()) == n
    assert dropped.get("the model is wrong", 0) == (~right).sum()
    assert largest(n, allowed) - len(found) <= 1
    assert found == match(groups, gold, right, together, seed=seed)[0]


def test_letters_that_follow_are_told_from_a_favourite():
    rng = np.random.default_rng(0)
    gold, four = rng.integers(4, size=60), np.full(60, 4)
    assert letter_p(gold, gold, four, seed=0) == pytest.approx(1 / 2001)
    assert letter_p(np.zeros(60, int), gold, four, seed=0) == 1.0
    assert letter_p(rng.integers(4, size=60), gold, four, seed=0) > 0.05
    counts = np.repeat([2, 4], 30)
    assert letter_p(counts - 2, counts - 2, counts, seed=0) == 1.0  # one letter for each number of options
    mixed = np.repeat([2, 4], 30)  # letters are dealt among questions with as many options
    assert letter_p(gold % mixed, gold % mixed, mixed, seed=0) < 0.01


def test_pairs_are_what_they_say(tiny, found):
    clean, corrupted = found.sides
    assert len(found) == len(clean) == len(corrupted) >= 4
    assert found.n_questions == 96 == 2 * len(found) + sum(found.dropped.values())
    for side in found.sides:
        assert dp.read(tiny, side).final.correct.all()
    for i, (a, b) in enumerate(zip(clean.questions, corrupted.questions, strict=True)):
        assert a.category == b.category
        assert a.gold != b.gold
        assert clean.sequences[i].spans == corrupted.sequences[i].spans
        assert len(clean.sequences[i]) == len(corrupted.sequences[i])
        assert found.tokens[i][:2] == (clean.option_ids[i][a.answer], corrupted.option_ids[i][b.answer])
        assert set(found.tokens[i]) == {*clean.option_ids[i], *corrupted.option_ids[i]}
    texts = [q.text for side in found.sides for q in side.questions]
    assert len(set(texts)) == len(texts)
    assert found.positions == ("answer", "question")
    table = found.to_pandas()
    assert list(table["clean_answer"]) == [q.gold for q in clean.questions]
    assert "96 questions" in str(found)


def test_both_answers_are_right_among_the_options_of_both(tiny, found):
    for side in found.sides:
        logits = dp.read(
            tiny,
            [replace(q, options=tuple({*a.options, *b.options}), answer=0)
             for q, a, b in zip(side.questions, *(s.questions for s in found.sides), strict=True)],
            scoring="first_token", template="question_answer",
        )  # fmt: skip
        chosen = [q.options[c] for q, c in zip(logits.encoded.questions, logits.final.choice, strict=True)]
        assert chosen == [q.gold for q in side.questions]


def test_a_limit_draws_from_all_and_says_so(tiny, own, found):
    some = dp.pairs(tiny, own, limit=3, least=2)
    assert len(some) == 3
    assert {q.text for q in some.clean.questions} < {q.text for q in found.clean.questions}
    assert some.dropped["beyond the limit"] == 2 * (len(found) - 3)
    assert sum(some.dropped.values()) == 96 - 6


def test_with_options_in_the_prompt_each_has_its_place(tiny, relabelled):
    shown = {"show_options": True}
    some = dp.questions("facts").filter("animals", "capitals", "family", "jobs", "places", "tools")
    found = dp.pairs(tiny, relabelled(tiny, some, **shown), least=2, **shown)
    assert found.positions == ("answer", "option:0", "option:1", "option:2", "option:3", "question")


@pytest.mark.parametrize("kind", ["letter_order", "symbol"])
def test_a_model_that_binds_no_letters_makes_letters_not_testable(tiny, kind):
    """Its letters are right as often as dealt ones; what is not testable is said, and cannot be swept."""
    found = dp.pairs(tiny, dp.questions("facts").limit(60), kind=kind)
    assert not found.testable
    assert len(found) == 0
    assert not found.letters.binds
    assert "does not bind letters" in str(found)
    with pytest.raises(dp.InputError, match="not testable"):
        dp.patch_sweep(tiny, found)


def test_letters_are_bound_only_if_they_are_in_both_forms():
    assert LetterBinding((0.9, 0.9), (0.01, 0.01)).binds
    assert not LetterBinding((0.9, 0.3), (0.01, 0.4)).binds
    assert not LetterBinding((0.3, 0.9), (0.4, 0.01)).binds


def test_a_letter_pair_is_right_in_both_forms_among_the_symbols_of_both(tiny, monkeypatch):
    """Question 0 is wrong in its second form; in the first form of question 1 a symbol of the other is ahead."""
    import decision_phases.circuits.letter_pairs as module

    calls = []

    def nearly_right(model, encoded, tokens):
        logits = np.zeros((len(encoded), max(map(len, tokens))))
        for i, named in enumerate(tokens):
            own = encoded.option_ids[i]
            logits[i, named.index(own[encoded.gold[i]])] = 1.0
            if (len(calls), i) == (1, 0):
                logits[i, named.index(own[encoded.gold[i] - 1])] = 2.0
            if (len(calls), i) == (0, 1):
                logits[i, next(k for k, token in enumerate(named) if token not in own)] = 2.0
        calls.append(encoded)
        return logits

    monkeypatch.setattr(module, "read_answers", nearly_right)
    asked = dp.questions("facts").limit(40)
    found = dp.pairs(tiny, asked, kind="symbol")
    assert found.dropped["the model is wrong about one of its two forms"] == 2
    assert found.letters.accuracy == (1.0, 39 / 40)
    assert not {asked[0].text, asked[1].text} & {q.text for q in found.clean.questions}


@pytest.mark.parametrize("kind", ["letter_order", "symbol"])
def test_a_model_that_binds_letters_has_letter_pairs(tiny, kind, monkeypatch):
    """Planted: answers are read as if the right letter were always ahead."""
    import decision_phases.circuits.letter_pairs as module

    def right(model, encoded, tokens):
        logits = np.zeros((len(encoded), max(map(len, tokens))))
        for i, named in enumerate(tokens):
            logits[i, named.index(encoded.option_ids[i][encoded.gold[i]])] = 1.0
        return logits

    monkeypatch.setattr(module, "read_answers", right)
    found = dp.pairs(tiny, dp.questions("facts").limit(40), kind=kind)
    assert found.testable
    assert found.letters.accuracy == (1.0, 1.0)
    assert 8 <= len(found) <= 40
    for i, (a, b) in enumerate(zip(found.clean.questions, found.corrupted.questions, strict=True)):
        assert a.text == b.text
        assert a.gold == b.gold
        assert found.tokens[i][0] != found.tokens[i][1]
        assert (a.options == b.options) == (kind == "symbol")
    assert {found.clean.scoring, found.corrupted.scoring} == {"letter"}
    assert (found.clean.symbols == found.corrupted.symbols) == (kind == "letter_order")


def test_pairs_of_your_own_are_checked(tiny):
    encoded = dp.ask(tiny, "facts")
    lengths = [len(s) for s in encoded.sequences]
    short, long = int(np.argmin(lengths)), int(np.argmax(lengths))
    with pytest.raises(dp.InputError, match=f"have {lengths[short]} and {lengths[long]} tokens"):
        dp.Pairs.of(some_of(encoded, [short]), some_of(encoded, [long]))
    one, (sequence,) = some_of(encoded, [short]), some_of(encoded, [short]).sequences
    start, stop = sequence.spans["question"]
    moved = replace(sequence, spans={**sequence.spans, "question": (start - 1, stop - 1)})
    with pytest.raises(dp.InputError, match="pair 0 is not aligned"):
        dp.Pairs.of(one, replace(one, sequences=(moved,)))
    with pytest.raises(dp.InputError, match="same answer"):
        dp.Pairs.of(some_of(encoded, [short]), some_of(encoded, [short]))
    with pytest.raises(dp.InputError, match="1 clean and 2 corrupted"):
        dp.Pairs.of(some_of(encoded, [short]), some_of(encoded, [short, long]))
    cloze = dp.ask(tiny, dp.questions("facts").limit(4), scoring="cloze")
    with pytest.raises(dp.InputError, match="one token answers"):
        dp.Pairs.of(cloze, cloze)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "contents"}, "unknown kind of pairs 'contents'; did you mean 'content'"),
        ({"least": 1}, "at least two pairs"),
        ({"least": 8, "limit": 4}, "no smaller limit"),
        ({"scoring": "cloze"}, "one token answers"),
        ({"kind": "symbol", "scoring": "first_token"}, "no other scoring"),
        ({"least": 300}, "too few for an interval"),
    ],
)
def test_what_cannot_be_paired_is_refused(tiny, settings, message):
    with pytest.raises(dp.InputError, match=message):
        dp.pairs(tiny, "facts", **settings)
