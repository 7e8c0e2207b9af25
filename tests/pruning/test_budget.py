"""Budgets: exact on small models, refused where they cannot be."""

from dataclasses import replace

import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.pruning import Budget, Unit, prune, savings
from decision_phases.pruning import measure as measuring
from decision_phases.pruning.budget import check_budget, find_budget, n_parameters
from decision_phases.pruning.criteria import units_of
from decision_phases.pruning.orders import choose
from decision_phases.pruning.setting import make_setting
from decision_phases.pruning.strategies import find_strategy
from decision_phases.pruning.timing import Cost, Timing, measure_costs
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
    for budget in (Budget(3, 0.125, 0.2, 0.1), Budget(latency=0.2), Budget(memory=0.05), Budget(4)):
        assert find_budget(str(budget)) == budget
    assert find_budget("20 % latency") == Budget(latency=0.2)


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
        ("20% speed", "block", "up_to='20% speed' is no budget"),
        ("3, 4", "block", "up_to='3, 4' is no budget"),
        ("120% latency", "block", "latency=1.2: a share lies above 0 and below 1"),
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


def measured_as(monkeypatch, milliseconds):
    """Forward passes that take 10 ms and so many for every block, attention and MLP that is left."""

    def costs(model, cuts, timing, *, seed=0):
        found = []
        for cut in cuts:
            gone = [edit.site for edit in cut.edits]
            saved = sum(milliseconds[site] for site in gone)
            whole = 10.0 + model.n_layers * milliseconds["block"]
            found.append(Cost(whole - saved, 100.0 - sum(5.0 if site == "block" else 2.0 for site in gone)))
        return found

    monkeypatch.setattr(savings, "measure_costs", costs)
    monkeypatch.setattr(measuring, "measure_costs", costs)


MS = {"block": 15.0, "attention": 6.0, "mlp": 9.0}


@pytest.mark.parametrize(
    ("up_to", "by", "removed"),
    [
        ("45% latency", "deepest", 3),  # a block is 15 of 100 ms
        ("16% memory", "deepest", 3),  # and 5 of 100 MiB
        ("45% latency, 11% memory", "deepest", 2),
        ("2, 45% latency", "deepest", 2),
        ("25% latency", "cosine_joint", 3),  # attentions of 6 and MLPs of 9: at most 4, at least 2
    ],
)
def test_measured_budgets_are_used_up_and_never_exceeded(tiny, facts, monkeypatch, up_to, by, removed):
    measured_as(monkeypatch, MS)
    budget = find_budget(up_to)
    curves = prune(tiny, facts, by=by, up_to=up_to, draws=1)
    last = curves.of(by)[-1]
    assert last.step == removed
    for step in curves.steps:
        assert 1 - step.latency_ms / 100 <= (budget.latency or 1) + 1e-9
        assert 1 - step.peak_mib / 100 <= (budget.memory or 1) + 1e-9
    assert any("100.0 ms and 100 MiB (1 × 128 tokens, median of 5 passes)" in note for note in curves.notes)


def test_a_measured_budget_holds_for_parts_that_only_controls_remove(tiny, facts, monkeypatch):
    measured_as(monkeypatch, MS)
    curves = prune(tiny, facts, by=["margin", "random_mlp"], up_to="20% latency", draws=1)
    assert [curves.of(name)[-1].step for name in ("margin", "random_mlp")] == [1, 2]  # of 15 and of 9 ms


@pytest.mark.parametrize("up_to", ["20% latency", "20%", 1])
def test_where_all_is_protected_nothing_is_measured(tiny, facts, monkeypatch, up_to):
    monkeypatch.setattr(savings, "measure_costs", None)
    with pytest.raises(InputError, match=r"protected"):
        prune(tiny, facts, by="deepest", up_to=up_to, protect=range(6))


@pytest.mark.parametrize(
    ("up_to", "most"),
    [("10% latency", "15% to 60%"), ("70% latency", "15% to 60%"), ("3% memory", "5% to 20%")],
)
def test_measured_budgets_that_nothing_or_everything_meets_are_refused(tiny, facts, monkeypatch, up_to, most):
    measured_as(monkeypatch, MS)
    with pytest.raises(InputError, match=f"cannot be saved: .* saves {most} of it"):
        prune(tiny, facts, by="deepest", up_to=up_to)


def test_what_a_block_saves_is_what_half_of_them_save(tiny):
    found = savings.measure_savings(tiny, units_of(tiny), Timing(1, 8, repeats=3))
    intact, without = measure_costs(tiny, [Intervention(), skip(1, 3, 5)], Timing(1, 8, repeats=3))
    assert found.intact.peak_mib == intact.peak_mib
    for cost in found.units.values():
        assert cost.peak_mib == pytest.approx((intact.peak_mib - without.peak_mib) / 3)
    parameters = n_parameters(tiny, units_of(tiny)[:1]) * 4 / 2**20
    assert found.units[units_of(tiny)[0]].peak_mib == pytest.approx(parameters, rel=0.2)


def test_kinds_are_measured_apart(tiny, monkeypatch):
    measured_as(monkeypatch, MS)
    found = savings.measure_savings(tiny, units_of(tiny, "joint"), Timing())
    assert {(unit.part, cost.latency_ms) for unit, cost in found.units.items()} == {
        ("attention", 6.0),
        ("mlp", 9.0),
    }


def test_what_cannot_be_left_out_has_no_measured_budget(model_of, facts, monkeypatch):
    def costs(model, cuts, timing, *, seed=0):
        return [Cost(1.0, 1.0), *[None] * (len(cuts) - 1)]

    monkeypatch.setattr(savings, "measure_costs", costs)
    with pytest.raises(InputError, match=r"cannot leave out the block .* a budget of units or parameters"):
        prune(model_of("llama"), facts, by="deepest", up_to="20% latency")
