"""Strategies on a model of which it is known where it decides, and on a random one."""

from dataclasses import replace
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from decision_phases.errors import InputError
from decision_phases.interventions import skip
from decision_phases.models import load, tiny_hf, tiny_tokenizer
from decision_phases.pruning import SEARCHES, STRATEGIES, Budget, RandomPool, prune, prune_one, safe_cut
from decision_phases.pruning.criteria.data import text_data
from decision_phases.pruning.criteria.registry import CRITERIA
from decision_phases.pruning.prune import divide, gather, make_setting
from decision_phases.pruning.strategies import find_strategy, searched_by
from decision_phases.readout import ask, find_phases, read
from decision_phases.tasks import questions as as_set

DEFINED = [
    name for name in STRATEGIES if name != "cka"
]  # the planted blocks that do nothing leave nothing to align


@pytest.fixture(scope="session")
def planted_set(planted_setting):
    return planted_setting.search.questions + planted_setting.evaluation.questions


def with_answers(questions, answers):
    """The same questions with other right answers, in the order of the letters."""
    order = sorted(range(len(questions)), key=lambda i: questions[i].id)
    items = [replace(questions[i], answer=int(a)) for i, a in zip(order, answers, strict=True)]
    return replace(questions, items=tuple(items))


def by_strategy(setting, name):
    return [step for step in prune_one(setting, name) if step.step > 0]


def test_the_planted_model_decides_where_it_was_planted(planted_setting):
    assert planted_setting.phases.transition == 3
    assert planted_setting.phases.silent == (0, 1, 2)
    assert planted_setting.phases.decisive == (3, 4, 5)


@pytest.fixture(scope="module")
def every(planted_setting):
    """The steps of every strategy, each knowing what those before it found."""
    setting = replace(planted_setting, known={})
    return {name: prune_one(setting, name) for name in DEFINED}


@pytest.mark.parametrize("name", DEFINED)
def test_protected_layers_are_never_removed(every, name):
    assert every[name]
    for step in every[name]:
        assert not {0, 5} & set(step.cut)


def test_what_cannot_be_measured_ends_its_strategy_only(planted, planted_set, monkeypatch):
    module = import_module("decision_phases.pruning.prune")
    whole = module.measure

    def measured(setting, name, chosen, *, progress):
        if name == "random":
            raise InputError("NaN in the logits at layer 3")
        return whole(setting, name, chosen, progress=progress)

    monkeypatch.setattr(module, "measure", measured)
    curves = prune(planted, planted_set, by="margin", up_to=2, draws=1)
    assert curves.strategies == ("margin", "deepest")
    assert dict(curves.not_applicable) == {"random": "NaN in the logits at layer 3"}
    assert len(curves.summary()) == 2


def test_the_end_alone_can_be_read(planted, planted_set):
    """The same cuts with the same ends; nothing is said of the layers on the way, which were not read."""
    whole, end = (
        prune(planted, planted_set, by=["margin", "trajectory"], up_to=2, draws=1, every_layer=every_layer)
        for every_layer in (True, False)
    )
    assert len(whole.steps) == len(end.steps) == 4 * 3
    for a, b in zip(whole.steps, end.steps, strict=True):
        told, other = a.to_dict(), b.to_dict()
        by_layer = {
            name: other.pop(name) for name in ("margin_by_layer", "accuracy_by_layer", "option_frequency")
        }
        where = [other.pop(name) for name in ("transition", "transition_ci", "outcome")]
        assert other == {name: told[name] for name in other}
        np.testing.assert_array_equal(a.margins, b.margins)
        if b.step:
            assert where == [None, None, "not read"]
            assert by_layer["option_frequency"] is None
            assert by_layer["margin_by_layer"] == by_layer["accuracy_by_layer"] == [None] * 6
        else:
            assert where[2] == a.outcome == "transition"
    assert end.by_step()["transition"].dropna().index.tolist() == [0, 3, 6, 9]
    assert end.summary().equals(whole.summary())


def test_protection_can_be_moved(planted, fresh):
    setting = make_setting(planted, fresh.search, fresh.evaluation, up_to=3, protect=[1, 2, 3], draws=3)
    for name in ("margin", "random", "deepest", "shallowest", "within_silent", "within_decisive"):
        assert not {1, 2, 3} & {layer for step in prune_one(setting, name) for layer in step.cut}


def test_nothing_protected_leaves_one_block(planted, fresh):
    setting = make_setting(planted, fresh.search, fresh.evaluation, up_to=5, protect=(), draws=1)
    assert prune_one(setting, "deepest")[-1].cut == (5, 4, 3, 2, 1)
    with pytest.raises(InputError, match=r"6 blocks cannot be removed.*up_to can be 1\.\.5"):
        make_setting(planted, fresh.search, fresh.evaluation, up_to=6, protect=())


@pytest.mark.parametrize(("name", "phase"), [("within_silent", {1, 2}), ("within_decisive", {3, 4})])
def test_a_phase_strategy_stays_in_its_phase_and_ends_with_it(fresh, name, phase):
    steps = prune_one(fresh, name)
    assert set(steps[-1].cut) == phase
    assert [step.step for step in steps] == [0, 1, 2]
    curves = gather(fresh, steps, [name])
    assert any(f"{name} ends at 2 blocks" in note for note in curves.notes)


def test_the_decisive_phase_is_searched_by_the_margin(fresh):
    assert prune_one(fresh, "within_decisive")[-1].cut == (4, 3)


def test_removing_the_planted_block_makes_the_transition_vanish(fresh):
    intact, one, two = prune_one(fresh, "deepest")[:3]
    assert (intact.transition, one.transition, two.transition) == (3, 3, None)
    assert (intact.accuracy, one.accuracy, two.accuracy) == (1.0, 1.0, 0.0)
    assert two.outcome == "no transition"
    assert np.isnan(two.margin_by_layer[[3, 4]]).all()
    assert not np.isnan(two.margin_by_layer[[0, 1, 2, 5]]).any()


def test_a_cut_that_does_nothing_is_wholly_similar(fresh):
    for step in prune_one(fresh, "shallowest")[:3]:  # blocks 1 and 2 do nothing
        assert step.cka["debiased"] == pytest.approx(1.0, abs=1e-12)
        assert step.cka["biased"] == pytest.approx(1.0, abs=1e-12)
        assert step.cka["null_high"] < 1.0
        assert step.decision_similarity == pytest.approx(1.0, abs=1e-12)
        assert step.decision_agreement == 1.0
    gone = prune_one(fresh, "shallowest")[3]
    assert gone.cka == {}  # every two questions are equally far apart: there is nothing to align
    assert gone.decision_similarity < 0.9
    assert gone.decision_agreement == 0.0


def test_option_frequency_follows_the_cut(fresh):
    intact, _, two = prune_one(fresh, "deepest")[:3]
    gold = np.bincount(fresh.evaluation.gold, minlength=4) / len(fresh.evaluation)
    for k, name in enumerate(("W", "X", "Y", "Z")):
        assert intact.option_frequency[name][5] == pytest.approx(gold[k])
        assert two.option_frequency[name][5] == pytest.approx(
            gold[k - 1]
        )  # the wrong one that each letter likes
        assert two.option_frequency[name][3] is None


def test_numbers_of_a_step_are_those_of_reading_under_its_cut(tiny, facts):
    setting = make_setting(tiny, ask(tiny, facts[:20]), ask(tiny, facts[20:]), up_to=3, draws=2, seed=4)
    for name in ("margin", "random", "deepest"):
        for step in prune_one(setting, name):
            plain = read(tiny, setting.evaluation, under=skip(*step.cut) if step.cut else None)
            assert step.accuracy == plain.final.accuracy
            assert step.margin == pytest.approx(plain.final.margin.mean(), abs=1e-6)
            assert np.array_equal(step.correct, plain.final.correct)
            np.testing.assert_allclose(step.margin_by_layer, plain.margin.mean(axis=0), atol=1e-6)
            np.testing.assert_allclose(step.accuracy_by_layer, plain.accuracy, atol=1e-12)
            assert step.removed == (step.cut[-1] if step.cut else None)
            assert len(step.cut) == step.step


def test_cuts_grow_by_one_block_a_step_and_searches_keep_their_value(every):
    for name, steps in every.items():
        for seed in {step.seed for step in steps}:
            own = [step for step in steps if step.seed == seed]
            assert [step.step for step in own] == list(range(len(own)))
            assert own[0].cut == () and own[0].removed is None  # noqa: PT018
            for before, after in pairwise(own):
                if STRATEGIES[name].search in ("window", "beam", "swaps"):
                    assert (len(after.cut), after.removed) == (after.step, None)
                else:
                    assert after.cut == (*before.cut, after.removed)
        searched = SEARCHES[STRATEGIES[name].search].by != "order"
        assert all((step.search_value is not None) == (searched and step.step > 0) for step in steps)


def test_random_draws_come_from_the_pool_however_many_are_asked_for(fresh):
    pool = RandomPool(fresh.candidates, fresh.seed)
    for draws, up_to in ((1, 2), (3, 4)):
        steps = prune_one(replace(fresh, draws=draws, budget=Budget(up_to)), "random")
        assert {step.seed for step in steps} == set(range(draws))
        for draw in range(draws):
            last = [step for step in steps if step.seed == draw][-1]
            assert last.cut == pool.order(draw)[:up_to]


def test_random_does_not_depend_on_the_other_strategies(planted, planted_set):
    settings = {"up_to": 2, "draws": 2, "seed": 9}
    alone = prune(planted, planted_set, by="random", controls=False, **settings)
    among = prune(planted, planted_set, by=["accuracy", "within_silent"], **settings)
    assert [s.cut for s in alone.of("random")] == [s.cut for s in among.of("random")]
    assert among.strategies == ("accuracy", "within_silent", "random", "deepest")


def test_without_a_transition_phase_strategies_are_not_applicable(tiny, facts):
    curves = prune(tiny, facts, by=["within_silent", "within_decisive"], up_to=1, draws=1)
    assert curves.strategies == ("random", "deepest")
    assert set(curves.not_applicable) == {"within_silent", "within_decisive"}
    for reason in curves.not_applicable.values():
        assert "no phases to target on the search questions: No transition" in reason


def test_phase_strategies_alone_without_a_transition_give_empty_curves(tiny, facts):
    curves = prune(tiny, facts, by="within_silent", up_to=1, controls=False)
    assert curves.steps == ()
    assert curves.to_pandas().empty
    assert {"strategy", "step", "removed", "cut", "seed", "margin", "accuracy"} <= set(curves.to_pandas())
    assert curves.to_dict() == {}


def test_a_phase_whose_blocks_are_all_protected_is_not_applicable(planted, fresh):
    setting = make_setting(planted, fresh.search, fresh.evaluation, up_to=2, protect=[0, 1, 2, 5])
    assert prune_one(setting, "within_silent") == ()
    curves = gather(setting, (), ["within_silent"])
    assert curves.not_applicable == {"within_silent": "every block of the Silent Phase is protected"}


def test_a_random_model_has_no_transition(tiny, facts):
    phases = find_phases(read(tiny, facts))
    assert phases.outcome == "no transition"
    assert phases.phases is None


def test_shuffled_labels_have_no_transition(planted, planted_set, shuffled_answers):
    decisions = read(planted, with_answers(planted_set, shuffled_answers))
    assert find_phases(decisions).outcome == "no transition"
    assert find_phases(read(planted, planted_set)).transition == 3


def test_removing_all_blocks_after_a_layer_is_the_logit_lens_there(tiny, facts):
    intact = read(tiny, facts)
    for layer in range(5):
        cut = read(tiny, facts, under=skip(*range(layer + 1, 6)))
        np.testing.assert_allclose(cut.final.scores, intact.scores[:, layer], atol=1e-5)
        np.testing.assert_allclose(cut.final.margin, intact.margin[:, layer], atol=1e-6)
        assert np.array_equal(cut.final.choice, intact.choice[:, layer])
        assert cut.final.accuracy == intact.accuracy[layer]


def test_questions_that_choose_do_not_measure(tiny, facts):
    search, evaluation = divide(tiny, facts, 0.25, seed=1)
    ids = [{item.id for item in side.questions} for side in (search, evaluation)]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == {item.id for item in facts}
    assert (len(search), len(evaluation)) == (10, 30)
    curves = prune(tiny, facts, by="margin", up_to=1, draws=1, split=0.25, seed=1)
    assert curves.split is True
    assert (curves.n_search, curves.n_evaluation) == (10, 30)
    assert not any("optimistic" in note for note in curves.notes)


def test_one_set_for_both_is_said(tiny, facts):
    curves = prune(tiny, facts, by="margin", up_to=1, draws=1, split=None)
    assert curves.split is False
    assert curves.n_search == curves.n_evaluation == 40
    assert any("same questions chose the cuts and measured them" in note for note in curves.notes)
    assert "what chose also measures" in str(curves)
    step = next(s for s in curves.of("margin") if s.step == 1)
    assert step.search_value == pytest.approx(step.margin, abs=1e-9)


def test_encoded_questions_are_refused(tiny, facts):
    with pytest.raises(InputError, match="divided before they are encoded"):
        prune(tiny, ask(tiny, facts))


def test_searches_by_kl_measure_it_from_the_intact_model(tiny, facts):
    """After every removal anew, as the objective does: not from the model that the last removal left."""
    by_ranking, by_objective = (
        prune(tiny, facts, by=name, up_to=3, draws=1, controls=False)
        for name in ("kl:iterative", "kl:greedy")
    )
    for one, other in zip(by_ranking.of("kl:iterative"), by_objective.of("kl:greedy"), strict=True):
        assert one.cut == other.cut
        if one.step:
            assert one.search_value == pytest.approx(other.search_value, rel=1e-4)


def test_what_a_strategy_finds_undefined_ends_that_strategy_only(tiny, facts, monkeypatch):
    from decision_phases.pruning import orders

    real = orders.rank

    def undefined(*given, by, **more):
        if by == "kl":
            raise InputError("kl is not finite for block 2 (nan)")
        return real(*given, by=by, **more)

    monkeypatch.setattr(orders, "rank", undefined)
    names = ["deepest", "kl:iterative", "kl:swaps", "cka"]
    curves = prune(tiny, facts, by=names, up_to=1, draws=1, controls=False)
    assert curves.strategies == ("deepest", "cka")
    assert dict(curves.not_applicable) == dict.fromkeys(
        ["kl:iterative", "kl:swaps"], "kl is not finite for block 2 (nan)"
    )
    assert "kl:iterative: not applicable, for kl is not finite for block 2 (nan)" in str(curves)


def test_what_a_strategy_starts_from_is_checked_before_anything_runs(facts, monkeypatch):
    model = load("tiny-llama", quiet=True)
    model.processed = True
    monkeypatch.setattr(import_module("decision_phases.pruning.setting"), "read", None)
    for name in ("magnitude_l1:swaps", "cka:swaps"):
        with pytest.raises(InputError, match="depends on weights as published"):
            prune(model, facts, by=["margin", name], up_to=1)


def test_what_stands_for_texts_is_said(tiny, facts):
    given = {"by": ["margin", "sleb:swaps", "magnitude", "kl:greedy"], "up_to": 1, "draws": 1}
    without = prune(tiny, facts, **given)
    (note,) = [note for note in without.notes if "No texts" in note]
    assert "so sleb:swaps, kl:greedy went by the questions that choose" in note
    with_texts = prune(tiny, facts, **given, texts="pydoc", window=20, limit=2)
    assert not any("No texts" in note for note in with_texts.notes)


def test_search_is_for_all_names_that_do_not_say_how(tiny, facts):
    one, other = (
        prune(tiny, facts, up_to=2, draws=1, controls=False, **how)
        for how in (
            {"by": ["kl", "margin:greedy", "beam"], "search": "iterative"},
            {"by": ["kl:iterative", "margin:greedy", "beam"]},
        )
    )
    assert one.strategies == other.strategies == ("kl:iterative", "margin:greedy", "beam")
    assert [step.cut for step in one.steps] == [step.cut for step in other.steps]


@pytest.mark.parametrize(
    "search", [way.name for way in SEARCHES.values() if way.by in ("criterion", "strategy")]
)
def test_any_criterion_takes_a_search(search):
    names = [name for name in CRITERIA if name not in SEARCHES]
    assert [find_strategy(name).search for name in searched_by(names, search)] == [search] * len(names)


def test_what_a_criterion_protects_is_not_removed_and_said():
    config = tiny_hf("llama").config
    config.num_hidden_layers = 9
    torch.manual_seed(0)
    model = load(LlamaForCausalLM(config), tokenizer=tiny_tokenizer(), quiet=True)
    items = as_set("facts", limit=24)
    curves = prune(
        model, items, by=["deepest", "magnitude_plus:iterative", "magnitude_plus:one_shot"], up_to=4, draws=1
    )
    for name in ("magnitude_plus:iterative", "magnitude_plus:one_shot"):
        assert set(curves.of(name)[-1].cut) == {4, 5, 6}
        assert any(f"{name} ends at 3 blocks" in note for note in curves.notes)
    assert len(curves.of("deepest")[-1].cut) == 4
    none = prune(model, items, by="magnitude_plus:one_shot", up_to=2, protect=[4, 5, 6], draws=1)
    assert "protects every block" in none.not_applicable["magnitude_plus:one_shot"]
    none = prune(model, items, by="magnitude_plus:swaps", up_to=2, protect=[4, 5, 6], draws=1)
    assert none.not_applicable["magnitude_plus:swaps"].startswith(
        "it starts from magnitude_plus:one_shot, and the cri"
    )
    with pytest.raises(
        InputError, match="is not applicable: the criterion magnitude_plus protects every block"
    ):
        safe_cut(model, items, by="magnitude_plus:one_shot", up_to=2, protect=[4, 5, 6], max_drop=0.5)


def test_as_many_windows_choose_and_measure_as_asked_for(tiny, facts, monkeypatch):
    seen = []

    def noted(*given, **more):
        seen.append(text_data(*given, **more).sequences)
        return text_data(*given, **more)

    for module in ("setting", "rank"):
        monkeypatch.setattr(import_module(f"decision_phases.pruning.{module}"), "text_data", noted)
    by = ["sleb", "perplexity:greedy"]  # by a criterion, and by an objective
    prune(tiny, facts, by=by, up_to=1, draws=1, texts="pydoc", window=20, limit=3, evaluate=["perplexity"])
    assert [(len(half), max(map(len, half))) for half in seen] == 3 * [(3, 20)]
    one, other = {frozenset(s.tokens for s in half) for half in seen}
    assert one.isdisjoint(other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"up_to": 5}, r"5 blocks cannot be removed: 4 of 6 are not protected.*1\.\.4"),
        ({"up_to": 0}, "0 blocks cannot be removed"),
        ({"up_to": 2, "protect": [0, 6]}, "6"),
        ({"up_to": 2, "draws": 0}, "0 random draws"),
        ({"by": "margins"}, "margin"),
        ({"by": []}, "no strategy is asked for; give by="),
        ({"by": "kl", "search": "iterativ"}, "unknown search 'iterativ'; did you mean 'iterative'"),
        ({"by": "kl", "search": "random"}, "unknown search 'random'"),
        (
            {"by": "cka", "search": "beam"},
            "'cka:beam': beam goes by what whole cuts are worth, and cka ranks single",
        ),
        ({"by": ["margin", "accuraci"], "search": "beam"}, "'accuraci'; did you mean 'accuracy'"),
        (
            {"by": ["beam", "kl:swaps"], "search": "iterative"},
            "would change nothing, for beam, kl:swaps say how to",
        ),
        ({"by": None}, "by=None names no strategy; give a text"),
        ({"by": ["margin", 3]}, "by=3 names no strategy"),
        ({"by": CRITERIA["kl"]}, "searched by under its name: give 'kl:one_shot' or 'kl:iterative'"),
        ({"by": [replace(CRITERIA["kl"], protect_first=1)]}, "the criterion kl has settings of its own"),
        ({"split": 0.0}, "split 0.0"),
        ({"by": "sleb", "texts": "pydoc", "window": 1}, "window"),
        ({"by": "sleb", "texts": "pydoc", "limit": 0}, "limit"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(tiny, facts, monkeypatch, settings, message):
    def refuse(*args, **kwargs):
        raise AssertionError("ran")

    for module, name in (("setting", "evaluate"), ("setting", "read"), ("ground", "evaluate")):
        monkeypatch.setattr(import_module(f"decision_phases.pruning.{module}"), name, refuse)
    with pytest.raises(InputError, match=message):
        prune(tiny, facts, **settings)


def test_searches_share_what_they_know(fresh):
    prune_one(fresh, "margin")
    known = dict(fresh.known)
    shared = prune_one(fresh, "accuracy")
    assert known.items() <= fresh.known.items()
    alone = prune_one(replace(fresh, known={}), "accuracy")
    assert [(s.cut, s.search_value, s.accuracy, s.margin) for s in shared] == [
        (s.cut, s.search_value, s.accuracy, s.margin) for s in alone
    ]
