"""What each kind of strategy chooses, against its criterion and against brute force."""

from itertools import pairwise

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import skip
from decision_phases.models import load
from decision_phases.pruning import STRATEGIES, Unit, prune, rank
from decision_phases.pruning.criteria import PARTS
from decision_phases.pruning.orders import choose
from decision_phases.pruning.setting import make_setting
from decision_phases.pruning.strategies import find_strategy
from decision_phases.readout import ask, perplexity
from decision_phases.tasks import TextSet, questions

TEXTS = TextSet(
    "some", tuple(f"A {a} is {b}." for a in ("cow", "sun", "dog") for b in ("hot", "cold", "white"))
)


@pytest.fixture(scope="module")
def setting():
    model = load("tiny-llama", quiet=True)
    every = questions("facts", limit=48)
    search, evaluation = every.split(0.5, 0)
    return make_setting(
        model, ask(model, search), ask(model, evaluation), up_to=3, draws=2, seed=0, texts=TEXTS
    )


RANKED = [name for name, s in STRATEGIES.items() if s.criterion]


@pytest.mark.parametrize("name", [*RANKED, "kl:iterative", "block_influence:window", "magnitude_l1:one_shot"])
def test_ranked_cuts_stay_in_scope_and_grow_one_by_one(setting, name):
    chosen = choose(setting, find_strategy(name))
    (cuts,) = chosen.cuts.values()
    assert [len(cut) for cut in cuts] == list(range(1, len(cuts) + 1))
    assert len(cuts) >= 1
    for cut in cuts:
        assert {unit.layer for unit in cut} <= set(setting.candidates)
        assert {unit.part for unit in cut} <= set(PARTS[find_strategy(name).part])
        assert len(set(cut)) == len(cut)
        assert np.isfinite(chosen.values[cut])
    if chosen.nested:
        assert all(longer[: len(cut)] == cut for cut, longer in pairwise(cuts))
    else:
        layers = [[unit.layer for unit in cut] for cut in cuts]
        assert all(run == list(range(run[0], run[0] + len(run))) for run in layers)


def test_one_shot_takes_the_head_of_the_ranking(setting):
    (cuts,) = choose(setting, find_strategy("block_influence")).cuts.values()
    ranking = rank(setting.model, setting.search, by="block_influence", texts=TEXTS)
    assert list(cuts[-1]) == [unit for unit in ranking.order if unit.layer in setting.candidates][:3]


def test_sleb_is_brute_force_over_perplexity(setting):
    (cuts,) = choose(setting, find_strategy("sleb")).cuts.values()
    gone: tuple[int, ...] = ()
    for cut in cuts:
        left = [layer for layer in setting.candidates if layer not in gone]
        values = [
            perplexity(setting.model, TEXTS, window=128, under=skip(*gone, layer)).value for layer in left
        ]
        gone = (*gone, left[int(np.argmin(values))])
        assert cut == tuple(Unit((layer,)) for layer in gone)


def test_curves_of_criteria_are_curves_like_any_other():
    curves = prune(
        "tiny-llama",
        questions("facts", limit=40),
        by=["angular", "kl:iterative"],
        up_to=2,
        draws=1,
        texts=TEXTS,
    )
    table = curves.to_pandas()
    assert set(table["strategy"]) == {"angular", "kl:iterative", "random", "deepest"}
    assert table[table["strategy"] == "angular"]["removed"].isna().all()
    assert curves.compare("angular", "random", step=2).n_questions == 20


def test_unknown_names_are_found_out_before_anything_runs():
    with pytest.raises(InputError, match="unknown criterion 'klx'; did you mean 'kl'"):
        find_strategy("klx:iterative")
    with pytest.raises(InputError, match="unknown search 'itertive'; did you mean 'iterative'"):
        find_strategy("kl:itertive")
    with pytest.raises(InputError, match="unknown strategy 'slebb'"):
        find_strategy("slebb")
