"""Text that several sequences begin with is computed once, and nothing changes by it."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_phases.engine import evaluate
from decision_phases.engine.local import plan_for
from decision_phases.engine.trees import Tree, make_trees
from decision_phases.interventions import Intervention, insert, noise, scale, skip, zero
from decision_phases.models import FAMILIES, ModelAccess
from decision_phases.readout import DecisionObserver, ask
from decision_phases.tasks import TokenSequence, questions

ASKED = (
    {"scoring": "cloze"},
    {"scoring": "cloze_pmi", "shots": 2},
    {"shots": 5},
    {"scoring": "letter", "shots": 3},
)
SHARING = sorted(set(FAMILIES) - {"mamba", "rwkv"})
SET = questions("facts", limit=8)
# Every scoring on one family, and on the others what comes in both ways: examples before, options behind.
CASES = [("llama", asked) for asked in ASKED] + [
    (family, ASKED[1]) for family in SHARING if family != "llama"
]


def of(rows: Sequence[Sequence[int]], owners: Sequence[int] | None = None) -> list[TokenSequence]:
    given = owners or range(len(rows))
    return [
        TokenSequence(tuple(row), (len(row) - 1,), (), owner) for row, owner in zip(rows, given, strict=True)
    ]


def texts(trees: Sequence[Tree]) -> dict[int, tuple[int, ...]]:
    """Every sequence, put together again from the stretches above its leaf."""
    found = {}
    for tree in trees:
        for leaf, batch in tree.leaves:
            for row, index in enumerate(batch.indices):
                parts, at, here = [], leaf, row
                while at is not None:
                    stretch = tree.stretches[at]
                    end = stretch.ends[here] - stretch.offset
                    parts.append(tuple(stretch.tokens[here].tolist())[: max(0, min(end, stretch.length))])
                    here, at = stretch.rows_above[here], stretch.above
                found[index] = tuple(token for part in reversed(parts) for token in part)
    return found


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=12),
    st.integers(0, 60),
    st.booleans(),
)
def test_every_sequence_stands_in_the_trees_as_it_was(
    rows: list[list[int]], shared: int, alike: bool
) -> None:
    every = of([[*range(10, 10 + shared), *row] for row in rows], [i // 3 for i in range(len(rows))])
    trees = make_trees(every, share=True, share_all=alike)
    assert texts(trees) == {i: s.tokens for i, s in enumerate(every)}


def test_few_shot_examples_stand_once_and_questions_that_see_others_stand_apart() -> None:
    shots = list(range(100, 200))
    rows = of([*([*shots, 1 + i, 50] for i in range(6)), [*shots[50:], 9, 50]])
    (tree,) = make_trees(rows, share=True)
    stretches = [(len(s.examples), s.length, s.above) for s in tree.stretches]
    assert stretches == [(1, 100, None), (6, 2, 0), (1, 52, None)]
    apart = make_trees(rows, share=True, max_tokens=112)
    assert [len(tree.stretches) for tree in apart] == [2, 1]


def test_options_share_their_question_and_tokens_behind_the_last_read_do_not_count() -> None:
    rows = [TokenSequence((*range(10, 30), 40 + i), (19,), (40 + i,), 0, i) for i in range(4)]
    (tree,) = make_trees(rows, ends=[20] * 4, share=True)
    assert [(len(s.examples), s.length) for s in tree.stretches] == [(1, 20), (4, 0)]
    assert tree.computed == 20


def both(
    model: ModelAccess, variants: list[Intervention], monkeypatch: Any, **asked: Any
) -> tuple[list[Any], list[Any], str]:
    """Decisions with text shared, side by side and stretch by stretch, and twice without."""
    encoded = ask(model, SET, **asked)
    look = [DecisionObserver()]

    def read() -> list[Any]:
        return [run["decisions"] for run in evaluate(model, encoded, variants, look)]

    shared = read()
    said = plan_for(model, encoded, variants, look).explain()
    with monkeypatch.context() as patch:
        patch.setitem(model.__dict__, "packs", False)
        shared += read()
        plainly = lambda rows, **given: make_trees(rows, device=given["device"])  # noqa: E731
        patch.setattr(sys.modules[plan_for.__module__], "make_trees", plainly)
        plain = read()
    return shared, plain * 2, said


@pytest.mark.parametrize(("family", "asked"), CASES, ids=str)
def test_shared_text_changes_no_score(
    family: str, asked: dict[str, Any], model_of: Any, monkeypatch: Any
) -> None:
    model = model_of(family)
    variants = [
        Intervention(),
        skip(0),
        skip(2, 5),
        skip(3, part="attention") + skip(1, part="mlp"),
        scale("resid_pre", 2, 2.0) + skip(1),
        skip(1) + insert(1, np.eye(model.d_model) * 1.1),
    ]
    shared, plain, said = both(model, variants, monkeypatch, **asked)
    assert "shared text is computed once" in said
    for a, b in zip(shared, plain, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=2e-5)
        np.testing.assert_allclose(a.embed, b.embed, atol=2e-5)


def test_what_differs_by_question_is_never_shared_between_questions(
    tiny: ModelAccess, monkeypatch: Any
) -> None:
    variants = [
        noise(2, 0.1),
        zero("mlp_out", 3, positions="answer"),
        zero("resid_post", 1, positions="question"),
    ]
    for asked in ({"scoring": "cloze"}, {"shots": 5}):
        shared, plain, _ = both(tiny, variants, monkeypatch, **asked)
        for a, b in zip(shared, plain, strict=True):
            np.testing.assert_allclose(a.scores, b.scores, atol=2e-5)


def test_a_family_that_cannot_share_says_so_and_still_answers(monkeypatch: Any, model_of: Any) -> None:
    shared, plain, said = both(model_of("mamba"), [skip(1)], monkeypatch, shots=5)
    assert "cannot continue text computed before" in said
    np.testing.assert_array_equal(shared[0].scores, plain[0].scores)
