"""Random draws depend on what they are for, not on the batch or the order."""

import itertools

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import noise_values, resample_index


def test_noise_does_not_depend_on_batch_or_order():
    places = list(itertools.product((0, 1), range(4), range(3)))
    forwards = {place: noise_values(*place, (2, 5)) for place in places}
    np.random.default_rng(0).standard_normal(100)
    for place in reversed(places):
        np.testing.assert_array_equal(noise_values(*place, (2, 5)), forwards[place])


def test_every_place_has_noise_of_its_own():
    draws = [
        noise_values(seed, question, layer, (4,), site=site, head=head)
        for seed, question, layer in itertools.product((0, 1, 2**32, 2**40), (0, 1, 300), (0, 1, 29))
        for site, head in (("resid_post", None), ("resid_pre", None), ("head_out", 0), ("head_out", 1))
    ]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_the_noise_of_a_prefix_is_the_prefix_of_the_noise():
    whole = noise_values(3, 1, 4, (50, 7))
    for length in (1, 2, 49):
        np.testing.assert_array_equal(noise_values(3, 1, 4, (length, 7)), whole[:length])


def test_noise_is_standard_normal_and_uncorrelated_between_questions():
    draws = np.stack([noise_values(0, question, 2, (4000,)) for question in range(20)])
    assert abs(draws.mean()) < 4 / np.sqrt(draws.size)
    assert abs(draws.var() - 1) < 4 * np.sqrt(2 / draws.size)
    correlations = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


def test_a_question_never_resamples_itself():
    for n_sources in (2, 3, 7):
        for seed, question in itertools.product(range(20), range(10)):
            index = resample_index(seed, question, n_sources)
            assert 0 <= index < n_sources
            assert index != question


@pytest.mark.parametrize(("question", "possible"), [(2, [0, 1, 3, 4]), (7, [0, 1, 2, 3, 4])])
def test_resampling_is_uniform_over_the_others(question, possible):
    drawn = [resample_index(seed, question, 5) for seed in range(4000)]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == possible
    expected = 4000 / len(possible)
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi-square, 4 degrees of freedom, p = 0.001


def test_resampling_depends_on_seed_and_question_only():
    first = [resample_index(5, question, 100) for question in range(50)]
    assert [resample_index(5, question, 100) for question in reversed(range(50))] == first[::-1]
    assert [resample_index(6, question, 100) for question in range(50)] != first


def test_there_must_be_another_question():
    with pytest.raises(InputError, match="resampling question 0 needs another question to draw from"):
        resample_index(0, 0, 1)
    assert resample_index(0, 1, 1) == 0
