"""Onsets: probes that generalise, folds that hold out words and templates, and depths that were built in."""

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import skip
from decision_phases.lenses import onsets
from decision_phases.lenses.onset_depths import first_halfway
from decision_phases.lenses.probes import balanced_accuracy, make_folds, predicted
from decision_phases.readout import read
from decision_phases.tasks import Question, questions

FEW = {"n_folds": 4, "controls": 2, "n_boot": 60}


@pytest.fixture(scope="module")
def found(reader, reading):
    return onsets(reader, reading, **FEW)


# -- depths -----------------------------------------------------------------------------------------------------------


def test_the_model_made_by_hand_answers(reader, reading):
    decisions = read(reader, reading)
    assert decisions.final.accuracy == 1.0
    assert np.abs(decisions.margin[:, :4]).max() < 0.02


def test_planted_steps_are_found_at_their_layers(found):
    assert found.testable
    assert found.depths == {"content_at_options": 1, "content": 1, "symbol": 3, "letter": 4}
    for stage, layer in found.depths.items():
        one = found[stage]
        assert (one.accuracy[layer:] > 0.95).all()
        assert one.accuracy[:layer].max(initial=0.0) < 0.5
        assert one.ci == (layer, layer)
        assert abs(one.control.mean() - 0.25) < 0.1
    assert (found.accuracy[0], found.chance) == (1.0, 0.25)
    assert found.n_prompts == 32 * 4 * 2
    assert "content 1 [1, 1], symbol 3 [3, 3], letter 4 [4, 4]" in str(found)


def test_results_can_be_tabulated_and_drawn(found):
    table = found.to_pandas()
    assert len(table) == 4 * 6
    assert set(table.loc[table["stage"] == "symbol", "onset"]) == {3}
    assert len(found.plot().axes) == 4
    with pytest.raises(InputError, match="unknown stage 'letters'; did you mean 'letter'"):
        found["letters"]


def test_without_the_block_that_speaks_nothing_is_testable(reader, reading):
    cut = onsets(reader, reading, under=skip(4), **FEW)
    assert not cut.testable
    assert "not right above chance" in cut.reason
    assert cut.depths == {}
    assert str(cut).endswith(cut.reason)
    assert cut.to_pandas().empty
    assert cut.plot().texts


def test_removed_layers_keep_the_intact_numbers(reader, reading):
    cut = onsets(reader, reading, under=skip(2), templates=["q_a"], **{**FEW, "controls": 1})
    assert cut["symbol"].layers.tolist() == [0, 1, 3, 4, 5]
    assert (cut.depths["symbol"], cut.depths["letter"]) == (3, 4)


def test_a_model_at_chance_is_not_testable(tiny):
    found = onsets(tiny, questions("facts").limit(24), templates=["q_a"], **FEW)
    assert not found.testable


# -- probes -----------------------------------------------------------------------------------------------------------


def test_folds_hold_out_words_and_templates_and_test_every_row_once():
    words = [f"w{i % 6}" for i in range(48)]
    templates = ["a" if i < 24 else "b" for i in range(48)]
    folds = make_folds(words, templates, n_folds=3)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(48))
    for fit, test in folds:
        assert len(fit)
        assert not {words[i] for i in fit} & {words[i] for i in test}
        assert not {templates[i] for i in fit} & {templates[i] for i in test}


def test_a_probe_that_could_only_learn_words_fails_on_new_ones():
    rng = np.random.default_rng(0)
    codes = 5 * rng.normal(size=(12, 20))
    word = np.repeat(np.arange(12), 10)
    labels = (word % 2)[None]
    states = codes[word] + 0.1 * rng.normal(size=(120, 20))
    names, alike = [str(w) for w in word], ["t"] * 120
    inside = [(np.arange(0, 120, 2), np.arange(1, 120, 2)), (np.arange(1, 120, 2), np.arange(0, 120, 2))]
    assert (predicted(states, labels, inside) == labels).mean() > 0.95
    assert (predicted(states, labels, make_folds(names, alike, n_folds=6)) == labels).mean() < 0.8


def test_a_probe_is_a_logistic_regression():
    """At the minimum the slope vanishes: checked by the loss, written anew, at the fitted weights and around them."""
    from decision_phases.lenses import probes

    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(30, 4)), rng.integers(3, size=30)
    labels[:3] = [0, 1, 2]
    found = probes._fitted(x, labels, 3, 0.5)

    def loss(w):
        z = np.column_stack([x, np.ones(30)]) @ w
        logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        weight = 30 / (3 * np.bincount(labels))[labels]
        return -(weight * logp[np.arange(30), labels]).sum() + 0.25 * (w[:-1] ** 2).sum()

    for _ in range(20):
        assert loss(found) <= loss(found + 1e-2 * rng.normal(size=found.shape)) + 1e-9


def test_balanced_accuracy_counts_classes_alike_in_every_resample():
    hits = np.array([[True, False], [True, True], [False, True], [False, False]])
    labels, groups = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    expected = [
        [(2 / 3 + 0) / 2, (2 / 3 + 0) / 2],
        [1.0, 0.5],  # the only row of class 1 is not drawn
        [0.0, 0.5],
    ]
    np.testing.assert_allclose(balanced_accuracy(hits, labels, groups, weights), expected)


def test_half_way():
    control = np.full(5, 0.25)
    assert first_halfway(np.array([0.25, 0.3, 0.7, 0.8, 0.3]), control) == 2
    assert first_halfway(np.array([0.25, 0.3, 0.3, 0.3, 0.9]), control) == 4
    assert first_halfway(np.array([0.2, 0.1, 0.2, 0.2, 0.2]), control) is None
    assert first_halfway(np.array([0.25, 0.9, 0.25, 0.25, 0.25]), control) == 1


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"controls": 0}, "controls=0"),
        ({"templates": []}, "give at least one, each once"),
        ({"templates": ["q_a", "nothing"]}, "unknown template"),
        ({"n_folds": 9}, "9 folds over 8 different right answers"),
        ({"under": skip(*range(6))}, "every layer is removed"),
    ],
)
def test_bad_input_is_refused(settings, text, reader, reading):
    with pytest.raises(InputError, match=text):
        onsets(reader, reading, **{**FEW, **settings})


def test_questions_with_another_number_of_options_are_left_out(reader, reading):
    odd = Question(("cow", "dog"), 0, "Which animal?", id="odd")
    found = onsets(reader, [*reading, odd], under=skip(4), templates=["q_a"], **FEW)
    assert (found.dropped, found.n_questions) == (1, 32)


def test_verbatim_prompts_are_refused(reader):
    some = [Question(("cow", "dog"), 0, prompt=f"{i} cow or dog?", id=str(i)) for i in range(4)]
    with pytest.raises(InputError, match="verbatim prompt"):
        onsets(reader, some, **FEW)
