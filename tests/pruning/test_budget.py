"""Budgets: exact on small models, refused where they cannot be."""

from dataclasses import replace

import pytest

from decision_phases.errors import InputError
from decision_phases.pruning import Budget, Unit, prune
from decision_phases.pruning.budget import check_budget, find_budget, n_parameters
from decision_phases.pruning.criteria import units_of
from decision_phases.pruning.orders import choose
from decision_phases.pruning.setting import make_setting
from decision_phases.pruning.strategies import find_strategy
from decision_phases.readout import ask


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_parameters_are_counted_as_they_are_in_the_model(family, model_of):
    model = model_of(family)
    blocks = n_parameters(model, units_of(model))
    hf = model.fresh_hf()
    inside = sum(
        p.numel() for name, p in hf.named_parameters() if any(part.isdecimal() for part in name.split("."))
    )
    assert blocks == inside
    parts = n_parameters(model, units_of(model, "joint"))
    shared = (
        2 * model.d_model if family == "gpt_neox" else 0
    )  # where one norm serves both, it belongs to neither
    assert blocks - model.n_layers * shared <= parts <= blocks


@pytest.fixture(scope="module")
def plain(tiny, facts):
    return setting_of(tiny, facts, 1)


def setting_of(tiny, facts, up_to, **settings):
    search, evaluation = facts.split(0.5, 0)
    return make_setting(tiny, ask(tiny, search), ask(tiny, evaluation), up_to=up_to, draws=3, **settings)


@pytest.mark.parametrize(
    "name", ["margin", "margin:beam", "deepest", "block_influence", "block_influence:window", "random"]
)
def test_a_share_of_parameters_is_used_up_and_never_exceeded(tiny, plain, name):
    block, total = n_parameters(tiny, [Unit((1,))]), tiny.n_params
    for count in (1, 2, 3):
        for share, expected in ((count * block / total, count), ((count + 0.99) * block / total, count)):
            setting = replace(plain, budget=Budget(parameters=share))
            for cuts in choose(setting, find_strategy(name)).cuts.values():
                assert [len(cut) for cut in cuts] == list(range(1, expected + 1))


@pytest.mark.parametrize(
    "name",
    ["cosine_joint", "random_joint", "cosine_joint:iterative", "margin:greedy:joint", "cosine_joint:swaps"],
)
def test_unequal_units_fill_the_budget_until_nothing_fits(tiny, plain, name):
    total = tiny.n_params
    sizes = [n_parameters(tiny, [unit]) for unit in units_of(tiny, "joint")]
    share = 2.6 * max(sizes) / total
    setting = replace(plain, budget=Budget(parameters=share))
    for cuts in choose(setting, find_strategy(name)).cuts.values():
        used = [n_parameters(tiny, cut) for cut in cuts]
        assert all(number <= share * total for number in used)
        if "swaps" not in name:
            left = [unit for unit in setting.units(find_strategy(name)) if unit not in cuts[-1]]
            assert all(used[-1] + n_parameters(tiny, [unit]) > share * total for unit in left)


def test_curves_say_how_many_parameters_went(tiny, facts):
    curves = prune(tiny, facts, by="cosine_joint", up_to="10%", draws=1)
    assert curves.n_parameters == tiny.n_params
    for step in curves.steps:
        assert step.parameters == n_parameters(tiny, step.units) <= 0.1 * tiny.n_params


def test_budgets_are_read_as_they_are_written():
    assert find_budget(3) == find_budget("3") == Budget(3)
    assert find_budget(" 12.5% ") == Budget(parameters=0.125)
    assert str(Budget(3, 0.125)) == "3, 12.5%"
    assert find_budget(Budget(2, 0.5)) == Budget(2, 0.5)


@pytest.mark.parametrize(
    ("up_to", "part", "message"),
    [
        (0, "block", "0 blocks cannot be removed"),
        (5, "block", r"5 blocks cannot be removed: 4 of 6 are not protected.*1\.\.4"),
        (5, "attention", r"5 attentions cannot be removed: 4 of 6 are not protected; up_to can be 1\.\.4"),
        (
            9,
            "joint",
            r"9 attentions and MLPs cannot be removed: 8 of 12 are not protected; up_to can be 1\.\.8",
        ),
        (
            "40%",
            "block",
            "40% of the parameters cannot be removed: the blocks .* from one to all, have 7.5% to 30%",
        ),
        ("2%", "mlp", "2% of the parameters cannot be removed: the MLPs"),
        ("100%", "block", "a share lies above 0 and below 1"),
        ("0%", "block", "a share lies above 0 and below 1"),
        ("many", "block", "up_to='many' is no budget"),
        ("x%", "block", "up_to='x%' is no budget"),
    ],
)
def test_budgets_beyond_what_is_there_are_refused(tiny, up_to, part, message):
    with pytest.raises(InputError, match=message):
        check_budget(tiny, up_to=up_to, parts=[part])


def test_a_budget_has_a_limit():
    with pytest.raises(InputError, match="without a limit"):
        Budget()


def test_one_block_is_always_left(tiny, facts):
    blocks = n_parameters(tiny, units_of(tiny)) / tiny.n_params
    with pytest.raises(InputError, match="cannot be removed"):
        check_budget(tiny, up_to=Budget(parameters=blocks), protect=())
    setting = setting_of(tiny, facts, 5, protect=())
    assert len(choose(setting, find_strategy("deepest")).cuts[None][-1]) == 5
    assert not setting.fits(units_of(tiny))


def test_a_family_without_the_part_is_refused(model_of):
    with pytest.raises(InputError, match="has no attention to remove"):
        check_budget(model_of("mamba"), up_to=1, parts=["attention"])
