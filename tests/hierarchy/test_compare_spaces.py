"""What is compared with what: every number against plain arithmetic on captured residuals."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from decision_phases.engine import capture
from decision_phases.errors import InputError
from decision_phases.hierarchy import NoEffectWarning, compare_spaces
from decision_phases.hierarchy.distances import probability_distances
from decision_phases.hierarchy.observe import SpaceObserver, local_to
from decision_phases.hierarchy.reference import Reference, partners
from decision_phases.hierarchy.settings import SpaceSettings
from decision_phases.interventions import Intervention, insert, scale, skip, weights
from decision_phases.store import ResultStore
from decision_phases.tasks import Question, QuestionSet, questions

compare = partial(compare_spaces, partners=1, random_sets=2)
TEXTS = (
    "Is water wet? Yes, it is. Is fire cold? No, it is not.",
    "What is hot? Fire is hot, and ice is not.",
    "Where is the sun? The sun is in the sky at noon.",
)
NO_MASS = [i for i, c in enumerate(SpaceSettings((0,), ((1, 2),)).columns) if c.measure != "dense_mass"]


def turned(x, y):
    return 1 - (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def states(model, encoded, under=None, layers=None):
    """[layer, question, d]; None where a block is removed."""
    found = capture(model, encoded, under=under)
    gone = under.removed_blocks if under else ()
    return [None if k in gone else found.at("resid_post", k) for k in range(model.n_layers)]


def logits(model, resid):
    return model.readout(torch.tensor(resid)).double().numpy()


def half_off(model, layer):
    """Half of one matrix of a block set to zero."""
    name = next(n for n in model.parameters(layer) if "down_proj" in n)
    shape = tuple(model.parameters(layer)[name].shape)
    return weights(layer, {name: np.random.default_rng(0).random(shape) < 0.5})


def test_accumulated_is_the_pruned_model_against_the_dense_one(wide, some, cut, compared):
    dense, pruned = states(wide, some), states(wide, some, cut)
    for layer in range(wide.n_layers):
        found = {space: compared.values(space)[layer] for space in ("h", "z", "p")}
        if layer == 2:
            assert all(np.isnan(values).all() for values in found.values())
            continue
        a, b = (logits(wide, x[layer]) for x in (dense, pruned))
        p, q = (softmax(x / 0.5, axis=-1) for x in (a, b))
        np.testing.assert_allclose(found["h"], turned(dense[layer], pruned[layer]), atol=1e-12)
        np.testing.assert_allclose(found["z"], turned(a, b), atol=1e-12)
        np.testing.assert_allclose(found["p"], turned(p, q), atol=1e-12)
        kl = compared.values("p", "kl_dense_from_pruned")[layer]
        np.testing.assert_allclose(kl, rel_entr(p, q).sum(-1), atol=1e-12)
    assert compared.survivors == (0, 1, 3, 4, 5)
    np.testing.assert_array_equal(compared.final, compared.accumulated[-1])
    assert (
        compared.accumulated[:2][..., [compared.column("h"), compared.column("p", "theorem_3")]] == 0
    ).all()


@pytest.mark.parametrize("part", ["block", "attention", "mlp"])
def test_local_changes_one_layer_on_the_dense_context(wide, some, part):
    inside = capture(wide, some, sites=("resid_pre", "attn_out"))
    dense = states(wide, some)
    found = compare(wide, some, under=skip(1, 3, 5, part=part))
    for layer in (1, 3, 5):
        x, attention = (inside.at(site, layer) for site in ("resid_pre", "attn_out"))
        if (
            part == "attention"
        ):  # the MLP then sees another stream, and only the model itself knows what it does to it
            (own,) = [states(wide, some, skip(layer, part=part))[layer]]
        else:
            own = x + attention * (part == "mlp")
        np.testing.assert_allclose(
            found.values("h", kind="local")[layer], turned(dense[layer], own), atol=1e-12
        )
        gap = turned(logits(wide, dense[layer]), logits(wide, own))
        np.testing.assert_allclose(found.values("z", kind="local")[layer], gap, atol=1e-12)
    assert np.isnan(found.local[[0, 2, 4]]).all()
    # Nothing comes before the first edit, so there both are one; later, errors come on top of each other.
    if part != "block":
        np.testing.assert_allclose(found.local[1], found.accumulated[1], atol=1e-12)
        assert not np.allclose(found.local[5], found.accumulated[5])


def test_local_for_weights_and_for_maps_in_place_of_a_block(wide, some):
    matrix = np.random.default_rng(0).normal(size=(32, 32)) / 32
    before = capture(wide, some, sites=("resid_pre",))
    dense = states(wide, some)
    changed = half_off(wide, 3)
    found = compare(wide, some, under=changed + skip(5) + insert(5, matrix))
    own = states(wide, some, changed)[3]
    np.testing.assert_allclose(found.values("h", kind="local")[3], turned(dense[3], own), atol=1e-12)
    mapped = before.at("resid_pre", 5) @ matrix
    np.testing.assert_allclose(found.values("h", kind="local")[5], turned(dense[5], mapped), atol=1e-12)
    # The last block is gone, so its row is missing, but the model still ends with something.
    assert np.isnan(found.accumulated[5]).all()
    ended = states(wide, some, changed)[4] @ matrix
    np.testing.assert_allclose(found.values("h", kind="final")[0], turned(dense[5], ended), atol=1e-12)


def test_dense_against_dense_is_exactly_zero(tiny):
    found = compare(tiny, questions("facts", limit=6), under=Intervention())
    assert (found.accumulated[..., NO_MASS] == 0).all()
    assert (found.final[:, NO_MASS] == 0).all()
    assert np.isnan(found.local).all()
    assert "deviation by a factor of nan" in str(found)


def test_the_distance_between_prompts_is_over_all_other_prompts(wide, some, compared):
    """With as many partners as there are others, every pair counts once in each direction."""
    dense = states(wide, some)
    n = len(some)
    for layer in (0, 4):
        for space, x in (("h", dense[layer]), ("p", softmax(logits(wide, dense[layer]) / 0.5, axis=-1))):
            every = np.array([[turned(x[i], x[j]) for j in range(n) if j != i] for i in range(n)])
            place = compared.column(space)
            np.testing.assert_allclose(compared.between[layer, :, place], every.mean(1), atol=1e-12)
    raw, unit = compared.deviation("p"), compared.between[..., compared.column("p")].mean(1)
    scaled = compared.deviation("p", relative=True)
    kept = list(compared.survivors)
    np.testing.assert_allclose(scaled.estimate[kept], (raw.estimate / unit)[kept])
    for interval in (raw, scaled):
        assert (interval.low[3:] <= interval.estimate[3:]).all()
        assert (interval.estimate[3:] <= interval.high[3:]).all()
        assert (interval.low[3:] < interval.high[3:]).all()
    ratio = scaled.estimate[3:] / compared.deviation("z_centred", relative=True).estimate[3:]
    np.testing.assert_allclose(compared.amplification("z_centred").estimate[3:], ratio)
    assert np.isnan(compared.amplification("z_centred").estimate[:3]).all()  # where nothing has moved yet


def test_each_prompt_has_partners_of_other_prompts_only():
    settings = SpaceSettings((0, 0, 1, 2, 2, 2, 3), partners=9)
    found = partners(settings)
    groups = np.array(settings.groups)
    assert found.shape == (3, 7)
    for cell in range(7):
        assert sorted(groups[found[:, cell]]) == sorted({0, 1, 2, 3} - {groups[cell]})
    assert partners(SpaceSettings((0, 0))).shape == (0, 2)


def test_options_are_compared_among_themselves(wide, some, cut, compared):
    dense, pruned = states(wide, some), states(wide, some, cut)
    ids = np.array(some.option_ids)
    for layer in (0, 3, 5):
        a, b = (np.take_along_axis(logits(wide, x[layer]), ids, 1) for x in (dense, pruned))
        p, q = (softmax(x / 0.5, axis=-1) for x in (a, b))
        np.testing.assert_allclose(compared.values("p", tokens="options")[layer], turned(p, q), atol=1e-12)
        np.testing.assert_allclose(
            compared.values("p", "total_variation", "options")[layer], abs(p - q).sum(-1) / 2, atol=1e-12
        )
        every = softmax(logits(wide, dense[layer]) / 0.5, axis=-1)
        mass = np.take_along_axis(every, ids, 1).sum(-1)
        np.testing.assert_allclose(compared.values("p", "dense_mass", "options")[layer], mass, atol=1e-12)
        best = np.argsort(-logits(wide, dense[layer]), axis=-1)[:, :5]
        a, b = (np.take_along_axis(logits(wide, x[layer]), best, 1) for x in (dense, pruned))
        np.testing.assert_allclose(compared.values("z", tokens="top_5")[layer], turned(a, b), atol=1e-12)


def test_random_sets_stand_beside_the_options(wide, some, compared):
    """Of like probability, never an option, the same for every intervention and for the same seed."""
    again, other = (
        compare(wide, some, under=skip(3), partners=1, top=(5,), temperature=0.5, seed=seed, local=False)
        for seed in (0, 1)
    )
    mass = [c.values("p", "dense_mass", "random", kind="final")[0] for c in (compared, again, other)]
    np.testing.assert_array_equal(mass[0], mass[1])
    assert (mass[0] != mass[2]).all()
    own = compared.values("p", "dense_mass", "options", kind="final")[0]
    assert abs(np.log(mass[0] / own)).max() < 1.5
    ratio = compared.ratio(("p", "cosine", "options"), ("p", "cosine", "random"), relative=False)
    means = [compared.deviation("p", tokens=t).estimate[5] for t in ("options", "random")]
    assert ratio.estimate[5] == pytest.approx(means[0] / means[1])


def test_options_of_unequal_number(wide):
    items = [
        Question(("A", "B"), 0, prompt="Is water wet?", id="two"),
        Question(("A", "B", "C"), 1, prompt="What is hot?", id="three"),
    ]
    both = QuestionSet("mixed", tuple(items), "first_token", "a test")
    found = compare(wide, both, under=skip(3), top=())
    for item, row in ((items[0], 0), (items[1], 1)):
        alone = compare(wide, QuestionSet("one", (item,), "first_token", "a test"), under=skip(3), top=())
        place = found.column("p", "cosine", "options")
        np.testing.assert_allclose(found.final[row, place], alone.final[0, place], atol=1e-12)
        assert np.isnan(alone.between).all()
        assert np.isnan(alone.deviation("p").low).all()


def test_texts_at_chosen_positions(wide):
    found = compare(wide, texts=TEXTS, under=skip(3), positions=[2, -1], options=[" A", " B"])
    assert (found.resampled, found.groups.tolist()) == ("text", [0, 0, 1, 1, 2, 2])
    last = compare(wide, texts=TEXTS, under=skip(3), options=[" A", " B"])
    every = compare(wide, texts=TEXTS, under=skip(3), positions="all", options=[" A", " B"])
    ends = np.flatnonzero(np.diff(every.groups, append=9))
    # Each cell draws random sets of its own.
    drawn = [i for i, c in enumerate(found.columns) if c.tokens != "random" and c.measure != "orthogonal"]
    np.testing.assert_allclose(found.final[1::2][:, drawn], last.final[:, drawn], atol=1e-12)
    np.testing.assert_allclose(every.final[ends][:, drawn], last.final[:, drawn], atol=1e-12)
    plain = compare(wide, texts=TEXTS, under=skip(3))
    assert plain.subspaces == ("top_10",)
    with pytest.raises(InputError, match="no options"):
        plain.plot_options()


def test_several_interventions_are_each_what_they_are_alone(wide, some, cut, compared):
    both = compare(
        wide,
        some,
        under={"a cut": cut, "noiseless": scale("mlp_out", 4, 0.5)},
        partners=7,
        top=(5,),
        temperature=0.5,
    )
    assert list(both) == ["a cut", "noiseless"]
    np.testing.assert_allclose(both["a cut"].accumulated, compared.accumulated, atol=1e-12)
    np.testing.assert_allclose(both["a cut"].local, compared.local, atol=1e-12)
    assert set(both.to_pandas()["under"]) == {"a cut", "noiseless"}
    with pytest.raises(InputError, match="did you mean 'a cut'"):
        both["the cut"]


def test_what_is_in_the_store_is_not_run_again(wide, some, cut, compared, tmp_path, monkeypatch):
    def ask_again():
        return compare(wide, some, under=cut, partners=7, top=(5,), temperature=0.5, store=tmp_path)

    first = ask_again()
    np.testing.assert_allclose(first.accumulated, compared.accumulated, atol=1e-12)
    assert (
        len(ResultStore(tmp_path)) == 1 + 2 + 2
    )  # the dense run; throughout and final; two layers by themselves
    monkeypatch.setattr(type(wide), "run_block", None)
    monkeypatch.setattr(Reference, "deviations", None)
    again = ask_again()
    for name in ("accumulated", "local", "final", "between"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_an_observer_can_be_sent_to_a_worker(wide, some, cut):
    settings = SpaceSettings(tuple(range(8)), some.option_ids)
    reference = Reference(settings, np.zeros((6, 8, 32)), np.zeros((6, 8, len(settings.columns))), None)
    look = SpaceObserver(reference, "local")
    assert pickle.loads(pickle.dumps(look)).key == look.key
    other = Reference(settings, np.ones((6, 8, 32)), reference.between, None)
    keys = {SpaceObserver(r, name).key for r in (reference, other) for name in ("layers", "final", "local")}
    assert len(keys) == 6


def test_what_follows_a_layer_has_no_part_in_its_local_run(cut):
    assert local_to(cut, 2, 6) == skip(2, 3, 4, 5)
    assert local_to(cut, 4, 6) == skip(4, part="mlp") + skip(5)
    assert local_to(cut + skip(5), 5, 6) == skip(5)


@pytest.mark.filterwarnings("error")
class TestNoEffect:
    def test_an_intervention_that_does_nothing_is_named(self, wide, some):
        name = next(n for n in wide.parameters(3) if "down_proj" in n)
        same = weights(3, {name: wide.parameters(3)[name].detach().numpy()})
        with pytest.warns(NoEffectWarning, match=r"weights block of layer 3 .* changes nothing on facts"):
            compare(wide, some, under=same)
        with pytest.warns(NoEffectWarning, match="a switch without a wire changes nothing"):
            compare(wide, some, under={"a switch without a wire": scale("attn_out", 2, 1.0)}, local=False)

    def test_so_is_the_part_of_one_that_does_nothing(self, wide, some):
        ones = {n: np.ones(tuple(p.shape), dtype=bool) for n, p in wide.parameters(4).items() if "down" in n}
        with pytest.warns(NoEffectWarning, match="this changes nothing on facts: weights block of layer 4"):
            compare(wide, some, under=skip(2) + weights(4, ones))

    def test_rounding_is_no_effect_and_a_small_effect_is_one(self, tiny):
        some = questions("facts", limit=4)
        with pytest.warns(NoEffectWarning):  # computed with hooks, the dense model without: other roundings
            compare(tiny, some, under=scale("attn_out", 2, 1.0))
        found = compare(tiny, some, under=scale("attn_out", 2, 1.001))
        assert 0 < found.deviation("h", "orthogonal", kind="final").estimate[0] < 1e-2


def test_logits_without_the_final_norm_are_those_of_the_published_code(some, wide, cut):
    found = compare(wide, some, under=cut, norm="none", local=False)
    a, b = (states(wide, some, under)[5] @ wide.tl.W_U.detach().numpy() for under in (None, cut))
    np.testing.assert_allclose(found.values("z")[5], turned(a, b), atol=1e-12)
    kl = probability_distances(torch.from_numpy(a), torch.from_numpy(b))["kl_pruned_from_dense"]
    np.testing.assert_allclose(found.values("p", "kl_pruned_from_dense")[5], kl, atol=1e-12)
    # An RMS norm with equal weights only changes lengths, so the direction of h says nothing of it.
    with_norm = compare(wide, some, under=cut, local=False)
    assert not np.allclose(with_norm.values("p")[5], found.values("p")[5])


@pytest.mark.parametrize("family", ["gemma2", "rwkv"])
def test_other_families(family, model_of):
    model = model_of(family)
    some = questions("facts", limit=4)
    direct = model.capabilities.direct
    if not direct:
        with pytest.raises(InputError, match="local=False"):
            compare(model, some, under=skip(2))
    found = compare(model, some, under=skip(2), local=direct)
    assert np.isfinite(found.final).all()
    assert (found.deviation("p", kind="final").estimate > 0).all()


def test_results_print_and_draw(compared):
    text = str(compared)
    assert "skip {2} + skip mlp {4}" in text
    assert "8 questions of facts" in text
    assert "T = 0.5" in text
    assert "<table" in compared._repr_html_()
    table = compared.to_pandas()
    assert set(table["kind"]) == {"accumulated", "local", "final"}
    assert sorted(table[table["kind"] == "accumulated"]["layer"].unique()) == [0, 1, 3, 4, 5]
    assert sorted(table[table["kind"] == "local"]["layer"].unique()) == [2, 4]
    one = table.query("kind == 'final' and tokens == 'all' and space == 'p' and measure == 'theorem_3'").iloc[
        0
    ]
    assert one["value"] == pytest.approx(compared.values("p", "theorem_3", kind="final").mean())
    unit = compared.between[-1, :, compared.column("p", "kl_dense_from_pruned")].mean()
    assert one["relative"] == pytest.approx(one["value"] / unit)
    for figure in (compared.plot(), compared.plot(kind="local"), compared.plot_options()):
        assert len(figure.axes) == 3


QUESTIONS = QuestionSet("q", (Question(("A", "B"), 0, prompt="Is it?"),), "first_token", "a test")
WRONG = {
    "temperature": ({"temperature": 0.0}, "temperature=0.0"),
    "norm": ({"norm": "finl"}, "did you mean 'final'"),
    "top": ({"top": (1,)}, "top="),
    "sets": ({"random_sets": 0}, "at least 1 of each"),
    "both": ({"texts": TEXTS}, "both questions and texts"),
    "neither": ({"questions": None}, "neither questions nor texts"),
    "empty text": ({"questions": None, "texts": [""]}, "empty"),
    "long window": ({"questions": None, "texts": TEXTS, "window": 1000}, "takes 512"),
    "scoring of texts": (
        {"questions": None, "texts": TEXTS, "scoring": "letter"},
        "set for questions only",
    ),
    "option": ({"options": [" A", " notaword"]}, "' notaword' is not in the vocabulary"),
    "option of two tokens": ({"options": [" A", " A B"]}, "' A B' is 2 tokens"),
    "one option twice": ({"options": [" A", " A"]}, "same token"),
    "one option": ({"options": [" A"]}, "at least two"),
    "position": ({"positions": [99]}, "position 99 is not in question #0"),
    "position name": ({"positions": "first"}, "'first' is not known"),
    "no position": ({"positions": []}, "no position"),
    "confidence": ({"confidence": 1.0}, "confidence=1.0"),
    "no intervention": ({"under": []}, "at least one"),
    "one name for two": ({"under": [skip(2), skip(2)]}, "each with its own name"),
    "layer": ({"under": skip(9)}, "layer 9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_before_anything_runs(case, tiny, monkeypatch):
    monkeypatch.setattr("decision_phases.hierarchy.compare.evaluate", None)
    changed, message = WRONG[case]
    given = {"questions": QUESTIONS, "under": skip(2), **changed}
    with pytest.raises(InputError, match=message):
        compare(tiny, **given)


def test_a_prompt_beyond_the_context_is_refused(tiny):
    long = QuestionSet(
        "q", (Question(("A", "B"), 0, prompt="water" + " water" * 600),), "first_token", "a test"
    )
    with pytest.raises(InputError, match="takes 512"):
        compare(tiny, long, under=skip(2))


def test_names_that_are_not_there_are_refused(compared):
    for given in (("q",), ("p", "cosin"), ("p", "cosine", "option")):
        with pytest.raises(InputError, match="Known"):
            compared.values(*given)
    with pytest.raises(InputError, match="unknown kind"):
        compared.values("p", kind="locale")
    with pytest.raises(InputError, match="unknown kind"):
        compared.plot(kind="final")


def test_logits_that_are_not_finite_are_named(wide, some):
    with pytest.raises(InputError, match="not finite at layer 3"):
        compare(wide, some, under=insert(3, np.eye(32) * 1e200) + scale("resid_post", 3, 1e200))
