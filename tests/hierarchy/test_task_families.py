"""Families of tasks: metrics by hand, floors that are what they say, and one scale for all."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.errors import InputError
from decision_phases.hierarchy import TASK_FAMILIES, FamilyScores, task_families
from decision_phases.hierarchy.families import (
    Arithmetic,
    Continuation,
    Measured,
    MultipleChoice,
    OpenAnswers,
    Retrieval,
)
from decision_phases.hierarchy.families.answering import answers, first_number
from decision_phases.hierarchy.families.ranks import places, recall_at, reciprocal_rank
from decision_phases.hierarchy.families.retrieving import cosines
from decision_phases.interventions import Intervention, noise, skip
from decision_phases.readout import read
from decision_phases.tasks import Question, questions, read_passages

FEW = {
    "multiple_choice": MultipleChoice(),
    "retrieval": Retrieval(),
    "open_answers": OpenAnswers(steps=2),
    "arithmetic": Arithmetic(steps=2, shots=1),
    "continuation": Continuation(steps=4, prompt_tokens=6),
}


@pytest.fixture(scope="module")
def scores(tiny):
    return task_families(
        tiny, under={"cut": skip(1), "all": skip(*range(6))}, families=list(FEW.values()), limit=12
    )


# -- by hand --------------------------------------------------------------------------------------------------------


def test_ranks_by_hand():
    similarity = np.array(
        [
            [0.9, 0.1, 0.5, 0.3],  # answer 0: first
            [0.9, 0.1, 0.5, 0.3],  # answer 3: third
            [0.5, 0.5, 0.5, 0.1],  # answer 1: first to third, evenly
        ]
    )
    above, tied = places(similarity, np.array([0, 3, 1]))
    assert (above.tolist(), tied.tolist()) == ([0, 2, 0], [0, 0, 2])
    np.testing.assert_allclose(reciprocal_rank(above, tied), [1, 1 / 3, (1 + 1 / 2 + 1 / 3) / 3])
    np.testing.assert_allclose(recall_at(1, above, tied), [1, 0, 1 / 3])
    np.testing.assert_allclose(recall_at(2, above, tied), [1, 0, 2 / 3])
    np.testing.assert_allclose(recall_at(4, above, tied), [1, 1, 1])
    with pytest.raises(InputError, match="k=0"):
        recall_at(0, above, tied)


def test_ties_throughout_give_the_floor_exactly():
    above, tied = places(np.ones((3, 7)), np.array([0, 3, 6]))
    np.testing.assert_allclose(reciprocal_rank(above, tied), (1 / np.arange(1, 8)).sum() / 7)


def test_vectors_without_length_are_as_near_to_everything():
    same = np.ones((4, 3))
    assert not cosines(same[:2], same).any()


def test_retrieval_on_three_texts_by_hand(tiny):
    """The reciprocal ranks of the task, from plain hidden states and the definition."""
    rows = [
        {"query": "Which animal quacks", "passage": "Is fire cold? No"},
        {"query": "What is the capital of France", "passage": "Paris"},
        {"query": "", "passage": "red green white yellow"},
    ]
    for pooling in ("mean", "last"):
        family = Retrieval(passages=read_passages(rows), pooling=pooling)
        found = task_families(tiny, under=skip(3), families=family).of("retrieval", "skip {3}")
        vectors = []
        for text in (
            "Which animal quacks",
            "What is the capital of France",
            *(row["passage"] for row in rows),
        ):
            tokens = torch.tensor([tiny.tokenizer(text)["input_ids"]])
            with torch.no_grad():
                entry = tiny.enter(tokens)
                resid = entry.resid
                for layer in (0, 1, 2, 4, 5):
                    resid = tiny.run_block(layer, resid, entry)
                h = tiny.final_norm(resid)[0].double().numpy()
            vectors.append(h.mean(axis=0) if pooling == "mean" else h[-1])
        centre = np.mean(vectors[2:], axis=0)
        units = [(v - centre) / np.linalg.norm(v - centre) for v in vectors]
        for query in (0, 1):
            near = [float(units[query] @ units[2 + passage]) for passage in range(3)]
            rank = 1 + sum(value > near[query] for value in near)
            assert found.score[query] == pytest.approx(1 / rank)
            assert found.extra["recall@1"][query] == (rank == 1)
            assert found.floor[query] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_answers_by_hand():
    asked = Question(("New York", "York", "the red one"), 0, "?")
    assert [answers(text, asked) for text in (" New York.", "in new york\nYork", " York", "newyork")] == [
        False,  # it contains York, another option, too
        False,
        False,
        False,
    ]
    plain = Question(("red", "green"), 1, "?")
    assert answers(' It is "Green"!', plain)
    assert not answers("Neither\ngreen", plain)
    assert not answers(" green or red", plain)
    assert answers("A red one", Question(("the red one", "blue"), 0, "?"))
    assert [first_number(t) for t in (" 12\n3 + 4 = 7", "-5", " is 7.", "")] == [12, -5, 7, None]


# -- the families ---------------------------------------------------------------------------------------------------


def test_multiple_choice_is_what_reading_gives(tiny, scores):
    some = questions("facts", limit=12)
    for variant, under in (("intact", Intervention()), ("cut", skip(1))):
        found = scores.of("multiple_choice", variant)
        np.testing.assert_array_equal(found.score, read(tiny, some, under=under).final.correct)
        np.testing.assert_array_equal(found.floor, 0.25)


def test_choosing_and_answering_are_asked_with_the_same_prompts(tiny):
    """The only difference is what rivals the right answer."""
    choosing = MultipleChoice(shots=4).prepare(tiny, limit=3, seed=1)
    writing = OpenAnswers().prepare(tiny, limit=3, seed=1)
    assert tuple(sequence.tokens for sequence in choosing.encoded.sequences) == writing.prompts.tokens


def test_the_intact_model_continues_as_itself(scores):
    assert scores.of("continuation").score.tolist() == [1.0] * 12
    assert scores.of("continuation", "cut").score.mean() < 1.0
    assert scores.normalised("continuation", "intact").estimate == 1.0
    assert scores.of("continuation").floor.max() < 0.5


def test_answers_are_judged_and_their_floor_is_other_answers(tiny, monkeypatch):
    """A model that always knows is right; one that says the same everywhere is no better than its floor."""
    some = questions("facts", category="colors")
    knows = lambda *_, **__: texts([f" {item.gold}." for item in some])  # noqa: E731
    same = lambda *_, **__: texts([" green"] * len(some))  # noqa: E731

    def texts(given):
        class Written:
            texts = given

            def written(self, i):
                return (1, 2, 3)

        return Written()

    family = OpenAnswers(questions=some)
    for write, score, floor in ((knows, 1.0, 3 / 15), (same, 0.25, 0.25)):
        monkeypatch.setattr("decision_phases.hierarchy.families.answering.generate", write)
        found = task_families(tiny, families=family)
        assert found.of("open_answers").score.mean() == score
        assert found.of("open_answers").floor.mean() == pytest.approx(floor)
        assert ("open_answers" in found.left_out) == (score == floor)


def test_sums_are_true_and_their_floor_is_the_commonest_result(tiny):
    task = Arithmetic(count=20, largest=4).prepare(tiny, limit=None, seed=3)
    texts = [tiny.tokenizer.decode(row) for row in task.prompts.tokens]
    assert len(set(texts)) == 20
    for text, result in zip(texts, task.results, strict=True):
        *solved, asked = text.split("\n")
        assert len(solved) == 4
        for line in [*solved, f"{asked} {result}"]:
            left, right = line.split("=")
            assert eval(left) == int(right)
        assert all(not line.startswith(asked) for line in solved)
    commonest = max(task.results.count(result) for result in task.results)
    assert task.floor(()).mean() == pytest.approx(commonest / 20)
    assert task.right(0, f" {task.results[0]}\n1")
    assert not task.right(0, f" {task.results[0] + 1}")


# -- one scale ------------------------------------------------------------------------------------------------------


def made(intact, cut, floor=0.25):
    def measured(values):
        return Measured(np.asarray(values, float), np.full(len(values), floor))

    variants = {"intact": Intervention(), "cut": skip(1)}
    found = {"multiple_choice": {"intact": measured(intact), "cut": measured(cut)}}
    return FamilyScores(found, {"multiple_choice": MultipleChoice()}, variants, "m", 0)


def test_normalised_scores_by_hand():
    found = made([1.0] * 30 + [0.0] * 10, [1.0] * 20 + [0.0] * 20)
    assert found.normalised("multiple_choice", "cut").estimate == pytest.approx((0.5 - 0.25) / (0.75 - 0.25))
    assert found.normalised("multiple_choice", "intact").estimate == 1.0
    one = found.normalised("multiple_choice", "cut")
    assert 0.1 < one.low < one.estimate < one.high < 0.9
    same = found.difference("multiple_choice", "multiple_choice", "cut")
    assert same.low < 0 == same.estimate < same.high


def test_a_family_within_three_standard_errors_of_its_floor_is_left_out():
    known = made([1.0] * 18 + [0.0] * 22, [1.0] * 40)  # 0.45 against 0.25, standard error 0.0797: 2.5 errors
    assert (
        "0.450, which is not 3 standard errors (0.080) above the floor of 0.250"
        in known.left_out["multiple_choice"]
    )
    assert np.isnan(known.normalised("multiple_choice", "cut").estimate)
    assert known.kept == ()
    assert "left out: multiple_choice" in str(known)
    assert known.to_pandas()["left_out"].all()
    assert made([1.0] * 20 + [0.0] * 20, [1.0] * 40).kept == ("multiple_choice",)  # 0.50: 3.1 errors


def test_tables_and_figure_hold_every_family_and_variant(scores):
    table = scores.to_pandas().set_index(["family", "variant"])
    assert set(table.index) == {(family, v) for family in FEW for v in ("intact", "cut", "all")}
    one = table.loc[("retrieval", "cut")]
    assert one["score"] == pytest.approx(scores.of("retrieval", "cut").score.mean())
    assert one["low"] <= one["score"] <= one["high"]
    details = scores.details_to_pandas().set_index(["family", "variant", "measure"])
    assert details.loc[("retrieval", "cut", "recall@5"), "value"] == pytest.approx(
        scores.of("retrieval", "cut").extra["recall@5"].mean()
    )
    assert len(scores.plot().axes[0].get_yticklabels()) == 2
    assert "continuation" in str(scores)


def test_what_is_kept_is_not_run_again(tiny, tmp_path, monkeypatch):
    family = [FEW["retrieval"], FEW["continuation"]]
    first = task_families(tiny, under=skip(1), families=family, limit=4, store=tmp_path)
    for kind in ("retrieving._Retrieving", "continuing._Continuing"):
        monkeypatch.setattr(
            f"decision_phases.hierarchy.families.{kind}.measure", lambda *_: pytest.fail("it ran")
        )
    again = task_families(tiny, under=skip(1), families=family, limit=4, store=tmp_path)
    assert again.to_pandas().equals(first.to_pandas())
    assert again.details_to_pandas().equals(first.details_to_pandas())
    with pytest.raises(pytest.fail.Exception, match="it ran"):
        task_families(
            tiny, under=skip(1), families=replace(FEW["retrieval"], pooling="last"), limit=4, store=tmp_path
        )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"families": "retreival"}, "unknown task family 'retreival'; did you mean 'retrieval'"),
        ({"families": []}, "give at least one"),
        ({"families": ["retrieval", "retrieval"]}, "each with its own name"),
        ({"families": Retrieval(pooling="max")}, "unknown pooling 'max'"),
        ({"families": Continuation(steps=600)}, "600 are to follow"),
        (
            {"families": Arithmetic(count=3, largest=1)},
            "3 problems after 4 solved ones; there are 2 different ones",
        ),
        ({"under": skip(7)}, "out of range"),
        ({"under": noise(1, variance=0.1), "families": "continuation"}, "treats all positions alike"),
        ({"under": [skip(1), skip(1)]}, "called the same"),
        ({"under": {"intact": skip(1)}}, "'intact' is the name of the model without"),
        ({"under": {"cut": Intervention()}}, "'intact' is the name of the model without"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_runs(given, text, tiny, monkeypatch):
    monkeypatch.setattr(type(tiny), "logits", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=text):
        task_families(tiny, **given)


@pytest.mark.parametrize("name", TASK_FAMILIES)
def test_every_family_says_what_it_scores_and_how_its_floor_is_known(name, scores):
    family = TASK_FAMILIES[name]
    assert family.name == name
    assert family.what
    assert family.floor.startswith(("exact: ", "measured: "))
    found = scores.of(name)
    assert found.score.shape == found.floor.shape
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert ((found.floor >= 0) & (found.floor <= 1)).all()
