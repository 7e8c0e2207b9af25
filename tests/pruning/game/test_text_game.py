"""Games on texts: the negative cross-entropy and the perplexity ratio, equal to `dp.perplexity` one mask at a time."""

import numpy as np
import pytest

import decision_phases as dp
from decision_phases.errors import InputError
from decision_phases.pruning.criteria import text_data
from decision_phases.pruning.game import ModelGame, all_masks, find_units, values_of_masks
from decision_phases.readout import ask
from decision_phases.stats import resample_weights
from decision_phases.tasks import questions

TEXTS = (
    "Is water wet? Yes, it is. Is fire cold? No, it is not.",
    "What is hot? Fire is hot, and ice is not.",
    "Is the sky blue?",
)
LAYERS = (1, 2, 4)


@pytest.fixture(scope="module")
def data(tiny):
    return text_data(tiny, TEXTS, window=8, limit=None)


@pytest.fixture(scope="module")
def one_by_one(tiny):
    cuts = [
        [layer for layer, kept in zip(LAYERS, mask, strict=True) if not kept]
        for mask in all_masks(3).tolist()
    ]
    return [dp.perplexity(tiny, TEXTS, window=8, under=dp.skip(*cut) if cut else None) for cut in cuts]


def test_values_are_those_of_perplexity_one_mask_at_a_time(tiny, data, one_by_one):
    units, masks = find_units(LAYERS, 6), all_masks(3)
    logs = values_of_masks(tiny, data, masks, units, objective="log_probability")
    np.testing.assert_allclose(logs.values, [-found.log_value for found in one_by_one], atol=1e-6)
    by_text = [-found.nll / found.tokens for found in one_by_one]
    np.testing.assert_allclose(logs.per_question, by_text, atol=1e-6)
    ratio = values_of_masks(tiny, data, masks, units, objective="perplexity_ratio")
    intact = one_by_one[-1].value
    np.testing.assert_allclose(ratio.values, [intact / found.value for found in one_by_one], rtol=1e-6)
    assert ratio.values[-1] == 1


def test_resamples_weigh_texts_by_their_tokens(tiny, data, one_by_one):
    game = ModelGame(tiny, data, find_units(LAYERS, 6), objective="perplexity_ratio")
    found = game.resampled(all_masks(3), 50, seed=3)
    times = np.round(resample_weights(3, 50, seed=3) * 3).astype(int)
    for column, drawn in enumerate(times):
        rows = np.repeat(np.arange(3), drawn)
        logs = np.array([-p.nll[rows].sum() / p.tokens[rows].sum() for p in one_by_one])
        np.testing.assert_allclose(found[:, column], np.exp(logs - logs[-1]), rtol=1e-6)


def test_shapley_values_on_texts_add_up(tiny):
    found = dp.shapley(tiny, texts=TEXTS, window=8, units=LAYERS, method="exact", objective="log_probability")
    assert abs(found.gap) < 1e-9
    assert (found.n_questions, found.kind, found.over) == (3, "text", "questions")
    assert "on 3 texts" in str(found)


def test_what_texts_do_not_have_is_refused(tiny, data):
    units = find_units(LAYERS, 6)
    for objective in ("margin", "accuracy", lambda final, gold: final.margin):
        with pytest.raises(InputError, match="needs options, which texts do not have"):
            ModelGame(tiny, data, units, objective=objective)
    some = ask(tiny, questions("facts", limit=4))
    for given in ({}, {"questions": some, "texts": TEXTS}):
        with pytest.raises(InputError, match="give either questions or texts"):
            dp.shapley(tiny, units=LAYERS, **given)
