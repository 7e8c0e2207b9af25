"""Decisions equal those of plain transformers, through every scoring, space and lens."""

from typing import Any

import numpy as np
import pytest
import torch

from decision_phases.engine import capture, evaluate
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, insert, patch, scale, skip
from decision_phases.models import ModelAccess, load, tiny_hf, tiny_tokenizer
from decision_phases.readout import DecisionObserver, ask, read
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import Question, QuestionSet, cloze_scores, questions

CLOZE = ("cloze", "cloze_mean", "cloze_char", "cloze_pmi")


@pytest.fixture(scope="module")
def plain() -> Any:
    """The same weights as `tiny`, in a model that nothing has touched."""
    return tiny_hf("llama")


@pytest.fixture(scope="module")
def few() -> QuestionSet:
    """Questions of the bundled set, and one with fewer options of more tokens."""
    odd = Question(("Paris is hot", "Rome"), 1, "Which one?", category="odd")
    return QuestionSet("few", (*questions("facts").limit(6, seed=1), odd), "first_token")


def logprobs(plain: Any, tokens: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return plain(torch.tensor([tokens]), use_cache=False).logits[0].double().log_softmax(-1)


@pytest.mark.parametrize("scoring", ["first_token", "letter"])
def test_margins_at_the_end_are_those_of_plain_logits(
    scoring: str, tiny: ModelAccess, few: QuestionSet, plain: Any
) -> None:
    decisions = read(tiny, few, scoring=scoring)
    whole = read(tiny, few, scoring=scoring, space="vocabulary")
    for i, (item, sequence) in enumerate(zip(few, decisions.encoded.sequences, strict=True)):
        expected = logprobs(plain, sequence.tokens)[-1, list(decisions.encoded.option_ids[i])]
        for among, found in ((expected.softmax(-1), decisions), (expected.exp(), whole)):
            others = [float(p) for k, p in enumerate(among) if k != item.answer]
            assert found.margin[i, -1] == pytest.approx(float(among[item.answer]) - max(others), abs=1e-5)
            assert found.final.margin[i] == found.margin[i, -1]
        assert decisions.final.choice[i] == int(expected.argmax())
        assert np.isnan(decisions.scores[i, :, len(item.options) :]).all()


def test_the_space_changes_the_size_of_a_margin_but_not_its_sign(tiny: ModelAccess, few: QuestionSet) -> None:
    among, whole = read(tiny, few), read(tiny, few, space="vocabulary")
    np.testing.assert_array_equal(np.sign(among.margin), np.sign(whole.margin))
    assert (np.abs(whole.margin) < np.abs(among.margin)).all()


@pytest.mark.parametrize("scoring", CLOZE)
def test_cloze_scores_are_those_of_every_full_sequence(
    scoring: str, tiny: ModelAccess, few: QuestionSet, plain: Any
) -> None:
    decisions = read(tiny, few, scoring=scoring)
    encode = tiny.tokenizer.encode

    def total(prompt: str, option: str) -> float:
        start, tokens = len(encode(prompt)), encode(f"{prompt} {option}")
        found = logprobs(plain, tuple(tokens))
        return sum(float(found[k - 1, tokens[k]]) for k in range(start, len(tokens)))

    for i, item in enumerate(few):
        prompt = f"Question: {item.question}\nAnswer:"
        for k, option in enumerate(item.options):
            expected = total(prompt, option)
            if scoring == "cloze_mean":
                expected /= len(encode(f"{prompt} {option}")) - len(encode(prompt))
            if scoring == "cloze_char":
                expected /= len(option)
            if scoring == "cloze_pmi":
                expected -= total("Answer:", option)
            assert decisions.final.scores[i, k] == pytest.approx(expected, abs=1e-4)


def test_cloze_scores_of_every_layer_are_full_log_softmaxes(tiny: ModelAccess, few: QuestionSet) -> None:
    decisions = read(tiny, few, scoring="cloze")
    encoded = decisions.encoded
    sums = np.zeros((len(encoded.sequences), 6))
    for row, sequence in enumerate(encoded.sequences):
        kept: dict[int, torch.Tensor] = {}
        hooks = [(k, "resid_post", lambda x, k=k, kept=kept: kept.update({k: x[0]})) for k in range(6)]
        with torch.no_grad(), tiny.hooked(hooks):
            tiny.logits(torch.tensor([sequence.tokens]))
            for k in range(6):
                full = tiny.readout(kept[k]).double().log_softmax(-1)
                sums[row, k] = sum(full[p, t] for p, t in zip(sequence.read, sequence.targets, strict=True))
    np.testing.assert_allclose(decisions.scores, cloze_scores(sums, encoded), atol=1e-4)


def test_no_space_beyond_the_options_for_texts(tiny: ModelAccess, few: QuestionSet) -> None:
    with pytest.raises(InputError, match="have no vocabulary to be compared with"):
        read(tiny, few, scoring="cloze", space="vocabulary")


# -- lenses and removals --------------------------------------------------------------------------------------------


def end_under(model: ModelAccess, few: QuestionSet, variant: Intervention) -> np.ndarray:
    (run,) = evaluate(model, ask(model, few), [variant], [FinalObserver()])
    scores: np.ndarray = run["final"].scores
    return scores


def same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, float(np.nanmax(np.abs(b)))))


def test_last_blocks_lens_is_the_end_without_the_blocks_between(tiny: ModelAccess, few: QuestionSet) -> None:
    lens, logit = read(tiny, few, lens="last_blocks", last=2), read(tiny, few)
    for layer, between in {0: (1, 2, 3), 1: (2, 3), 2: (3,)}.items():
        same(lens.scores[:, layer], end_under(tiny, few, skip(*between)))
    for layer in (3, 4, 5):
        same(lens.scores[:, layer], logit.scores[:, 5])
    same(lens.embed, end_under(tiny, few, skip(0, 1, 2, 3)))
    assert (lens.lens, logit.lens) == ("last_blocks:2", "logit")
    assert lens.encoded.key == logit.encoded.key


def test_last_blocks_lens_counts_surviving_blocks(tiny: ModelAccess, few: QuestionSet) -> None:
    lens = read(tiny, few, under=skip(4) + scale("mlp_out", 2, 0.5), lens="last_blocks", last=2)
    assert lens.survivors == (0, 1, 2, 3, 5)
    assert np.isnan(lens.scores[:, 4]).all()
    same(lens.scores[:, 0], end_under(tiny, few, skip(1, 2, 4)))
    same(lens.scores[:, 2], end_under(tiny, few, skip(4) + scale("mlp_out", 2, 0.5)))


@pytest.mark.parametrize("layer", range(-1, 6))
def test_removing_all_behind_a_layer_is_the_logit_lens_there(
    layer: int, tiny: ModelAccess, few: QuestionSet
) -> None:
    intact = read(tiny, few)
    cut = skip(*range(layer + 1, 6)) if layer < 5 else Intervention()
    decisions = read(tiny, few, under=cut)
    expected = intact.embed if layer < 0 else intact.scores[:, layer]
    same(decisions.final.scores, expected)
    same(end_under(tiny, few, cut), expected)
    if layer >= 0:
        assert np.isnan(decisions.margin[:, layer + 1 :]).all()
        assert not np.isnan(decisions.margin[:, : layer + 1]).any()
    assert decisions.survivors == tuple(range(layer + 1))


def test_a_map_in_place_of_the_last_block_is_part_of_the_end(tiny: ModelAccess, few: QuestionSet) -> None:
    turned = skip(5) + insert(5, -np.eye(32))
    same(end_under(tiny, few, turned), -read(tiny, few).scores[:, 4])


def test_patched_answers_follow_their_source(tiny: ModelAccess) -> None:
    options = ("Paris", "Rome")
    asked = [Question(options, i % 2, text) for i, text in enumerate(("Where?", "Why?", "Who is it?"))]
    encoded = ask(tiny, asked, scoring="cloze"), ask(tiny, asked, scoring="first_token")
    source = capture(tiny, encoded[1]).reordered([2, 0, 1])
    found = read(tiny, encoded[1], under=patch("resid_post", 5, source))
    same(found.final.scores, read(tiny, encoded[1]).final.scores[[2, 0, 1]])
    with pytest.raises(InputError, match="one sequence a question; use letter or first_token"):
        capture(tiny, encoded[0])


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_nan_is_refused_naming_layer_and_question(tiny: ModelAccess, few: QuestionSet) -> None:
    burst = scale("resid_post", 2, 1e38) + scale("resid_post", 3, 1e38)
    for space in ("options", "vocabulary"):
        with pytest.raises(
            InputError, match=r"NaN in the logits at layer 3, question .* \(scale resid_post of l"
        ):
            read(tiny, few, under=burst, space=space)
    with pytest.raises(InputError, match="NaN in the logits at layer 3, question"):
        read(tiny, few, under=burst, scoring="cloze")
    # Searches read the end only, and say so.
    with pytest.raises(InputError, match="NaN in the logits at layer 5, question"):
        end_under(tiny, few, burst)
    # The question is the one: only it is scaled beyond all bounds.
    source = np.zeros((len(few), 32), dtype=np.float32)
    source[4] = 3e38
    one = patch("resid_post", 3, source) + scale("resid_post", 4, 1e38, positions="answer")
    with pytest.raises(InputError, match=f"question '{few.items[4].id}' "):
        read(tiny, few, under=one)


def test_a_model_without_tokenizer_says_so(few: QuestionSet) -> None:
    mute = load(tiny_hf("llama"), quiet=True)
    assert mute.tokenizer is None
    with pytest.raises(InputError, match="no tokenizer"):
        read(mute, few)
    given = load(tiny_hf("llama"), tokenizer=tiny_tokenizer(), quiet=True)
    assert read(given, few).n_questions == len(few)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lens": "last_block"}, "unknown lens 'last_block'; did you mean 'last_blocks'"),
        (
            {"lens": "last_blocks", "last": 6},
            r"last=6 is out of range: 6 blocks survive, so it can be 1\.\.5",
        ),
        ({"lens": "last_blocks", "last": 0}, "last=0 is out of range"),
        ({"lens": "last_blocks", "space": "vocabulary"}, "use space='options'"),
        ({"under": skip(6)}, r"'skip block of layer 6' is out of range: the model has layers 0\.\.5"),
        (
            {"under": patch("resid_post", 1, np.zeros((3, 32)))},
            "3 questions .* but the inputs are 7 questions",
        ),
        (
            {"under": patch("resid_post", 1, np.zeros((7, 31)))},
            "width 31, but the model's resid_post has width 32",
        ),
        ({"scoring": "clozee"}, "did you mean 'cloze'"),
        ({"templat": "cloze"}, "unknown argument 'templat'; did you mean 'template'"),
    ],
)
def test_bad_input_is_refused(
    settings: dict[str, Any], text: str, tiny: ModelAccess, few: QuestionSet
) -> None:
    with pytest.raises(InputError, match=text):
        read(tiny, few, **settings)


def test_settings_of_questions_that_are_encoded_are_refused(tiny: ModelAccess, few: QuestionSet) -> None:
    encoded = ask(tiny, few)
    assert ask(tiny, encoded) is encoded
    with pytest.raises(InputError, match="encoded already, so scoring, shots cannot be set"):
        read(tiny, encoded, shots=1, scoring="cloze")


def test_decisions_are_read_on_questions_only(tiny: ModelAccess, few: QuestionSet) -> None:
    with pytest.raises(InputError, match="decisions are read on questions"):
        evaluate(tiny, ask(tiny, few).sequences, [Intervention()], [DecisionObserver()])
