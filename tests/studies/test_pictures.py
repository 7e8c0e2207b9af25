"""Pictures of single questions: which are looked at, what is kept of them, and what is said where there is nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from decision_phases.interventions import noise, patch, skip
from decision_phases.models.patterns import attention_from_last
from decision_phases.readout import ask, capture, read
from decision_phases.studies import RunSettings, run_study
from decision_phases.studies import pictures as module
from decision_phases.studies.pictures import keep_pictures, typical
from decision_phases.tasks import questions

FACTS = questions("facts").limit(32, seed=0)


@pytest.fixture(scope="module")
def decisions(tiny):
    return read(tiny, FACTS)


def kept(model, decisions, folder):
    keep_pictures(model, decisions, folder)
    return json.loads((folder / "pictures.json").read_text("utf-8"))["questions"]


def test_the_typical_question_has_the_median_margin_of_its_kind(decisions):
    final = decisions.final
    assert 2 < final.correct.sum() < len(FACTS) - 2
    right, wrong = typical(decisions)
    assert final.correct[right]
    assert not final.correct[wrong]
    for row, kind in ((right, final.correct), (wrong, ~final.correct)):
        margins = np.sort(final.margin[kind])
        assert final.margin[row] == margins[len(margins) // 2]


def test_where_all_answers_are_alike_there_is_one(tiny, decisions):
    for kind in (decisions.final.correct, ~decisions.final.correct):
        alike = read(tiny, replace(FACTS, items=tuple(q for q, k in zip(FACTS, kind, strict=True) if k)))
        assert len(typical(alike)) == 1


def test_what_is_kept_is_what_the_model_computes(tiny, decisions, tmp_path):
    rows = typical(decisions)
    found = kept(tiny, decisions, tmp_path)
    assert [question["question"] for question in found] == [FACTS[row].text for row in rows]
    for question, row in zip(found, rows, strict=True):
        assert question["options"] == list(FACTS[row].options)
        assert question["gold"] == FACTS[row].answer
        assert question["choice"] == decisions.final.choice[row]
        assert question["margin"] == decisions.final.margin[row]
        assert question["left_out"] == {}
        attention, contributions, top = question["pictures"]
        tokens = torch.tensor(decisions.encoded.sequences[row].tokens)
        expected = attention_from_last(tiny, tokens, range(6)).mean(dim=1).T
        torch.testing.assert_close(
            torch.tensor(attention["values"]["values"]), expected, atol=1e-4, rtol=1e-3
        )
        assert contributions["values"]["labels"][:-1] == list(FACTS[row].options)
        assert top["element"] == "TopkTokens"


def test_pictures_hold_few_digits_and_no_script(tiny, decisions, tmp_path):
    kept(tiny, decisions, tmp_path)
    text = (tmp_path / "pictures.json").read_text("utf-8")
    assert len(text) < 80_000
    assert "function" not in text


def test_what_was_looked_at_is_not_looked_at_again(tiny, decisions, tmp_path, monkeypatch):
    first = kept(tiny, decisions, tmp_path)
    monkeypatch.setattr(module, "attention_picture", None)
    assert kept(tiny, decisions, tmp_path) == first


def test_what_cannot_be_pictured_is_named_with_the_reason(tiny, decisions, tmp_path, monkeypatch):
    (cloze,) = kept(tiny, read(tiny, FACTS.limit(4), scoring="cloze"), tmp_path)[:1]
    assert cloze["pictures"] == []
    assert cloze["left_out"] == dict.fromkeys(
        ("attention", "contributions", "top tokens"), "cloze scoring has several sequences a question"
    )
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(module, "quantised", lambda _: "it has int8 weights")
    one = kept(tiny, decisions, tmp_path / "b")[0]
    assert [picture["element"] for picture in one["pictures"]] == ["ColoredTokensMulti", "TopkTokens"]
    assert one["left_out"] == {"contributions": f"{tiny.name} has no gradients, because it has int8 weights"}
    (tmp_path / "c").mkdir()
    monkeypatch.setattr(module, "MAX_TOKENS", 3)
    (long, *_) = kept(tiny, decisions, tmp_path / "c")
    assert "tokens, more than 3" in long["left_out"]["attention"]


def test_pictures_are_of_the_model_that_was_read(tiny, tmp_path):
    under = skip(1) + skip(2, part="attention")
    attention, _, top = kept(tiny, read(tiny, FACTS, under=under), tmp_path)[0]["pictures"]
    assert attention["values"]["labels"] == [f"layer {layer}" for layer in (0, 3, 4, 5)]
    assert len(top["values"]["topkVals"][0][0][0]) == 5


def test_where_every_block_is_gone_there_is_nothing_to_look_at(tiny, tmp_path):
    for question in kept(tiny, read(tiny, FACTS, under=skip(*range(6))), tmp_path):
        assert [picture["title"] for picture in question["pictures"]] == [
            f"Contributions to the options of {tiny.name}"
        ]
        assert list(question["left_out"]) == ["attention", "top tokens"]


@pytest.mark.parametrize("op", ["patch", "noise"])
def test_what_differs_from_question_to_question_is_not_done_to_one_alone(tiny, tmp_path, op):
    under = patch("resid_post", 2, capture(tiny, FACTS, layers=[2])) if op == "patch" else noise(2, 0.1)
    for question in kept(tiny, read(tiny, FACTS, under=under), tmp_path):
        assert question["pictures"] == []
        assert set(question["left_out"].values()) == {
            "what is done to the model differs from question to question"
        }


def test_a_run_that_was_stopped_early_gets_its_pictures_when_it_goes_on(tiny, tmp_path, monkeypatch):
    settings = RunSettings(limit=12, strategies=(), last_blocks=1)

    def stop(*_):
        raise KeyboardInterrupt

    run = module.__name__.replace("pictures", "run")
    with monkeypatch.context() as patched:
        patched.setattr(f"{run}.keep_pictures", stop)
        with pytest.raises(KeyboardInterrupt):
            run_study(tiny, settings, out=tmp_path / "x", progress=False)
    assert not (tmp_path / "x" / "pictures.json").exists()
    run_study(tiny, settings, out=tmp_path / "x", resume=True, progress=False)
    assert len(json.loads((tmp_path / "x" / "pictures.json").read_text())["questions"]) == 2


def test_questions_stand_as_they_were_asked(tiny, tmp_path):
    """With solved examples in front and all."""
    encoded = ask(tiny, FACTS, shots=2)
    found = kept(tiny, read(tiny, encoded), tmp_path)
    row = typical(read(tiny, encoded))[0]
    assert len(found[0]["pictures"][0]["values"]["tokens"]) == len(encoded.sequences[row])
