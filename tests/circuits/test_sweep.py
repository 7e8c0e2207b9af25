"""Sweeps: equal to patching one by one, to TransformerLens, and to what is known of a planted circuit."""

import numpy as np
import pandas as pd
import pytest
import torch

import decision_phases as dp
from decision_phases.circuits.answers import AnswerObserver
from decision_phases.circuits.cells import Cell, cells_of, sources_of
from decision_phases.circuits.paired import some_of
from decision_phases.circuits.recovery import recovery
from decision_phases.engine import applied, evaluate
from decision_phases.models import InDouble

ALL = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "head_out")


def table(sweep, site, position="answer"):
    return sweep.of(site, position).estimate


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_sweep_is_patching_one_by_one(double, pairs, direction):
    """Each place by itself through the whole model, unbatched, its source taken by a hook."""
    model = double("llama")
    sweep = dp.patch_sweep(
        model, pairs, sites=ALL, layers=[4], positions=("answer", "question"), direction=direction
    )
    assert len(sweep.cells) == 2 * 5 + 4
    clean, corrupted = pairs.sides
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    for i in (0, 5):
        for cell in sweep.cells[::2] + sweep.cells[5:6]:
            kept = []
            look = (cell.layer, cell.site, lambda x, kept=kept: kept.append(x.clone()))
            with torch.no_grad(), model.hooked([look]):
                model.logits(torch.tensor([source.sequences[i].tokens]))
            start, stop = base.sequences[i].spans[cell.position]
            before = []
            hooks = [(cell.layer, "resid_pre", lambda x, before=before: before.append(x.clone()))]

            def put(x, cell=cell, kept=kept, start=start, stop=stop, before=before):
                x = x.clone()
                at = (0, slice(start, stop)) if cell.head < 0 else (0, slice(start, stop), cell.head)
                # A stream that is written between attention and MLP is what attention adds to the one before it.
                x[at] = kept[0][at] - (before[0][at] if cell.site == "resid_mid" else 0)
                return x

            hooks.append((cell.layer, "attn_out" if cell.site == "resid_mid" else cell.site, put))
            with torch.no_grad(), model.hooked(hooks):
                logits = model.logits(torch.tensor([base.sequences[i].tokens]))[0, -1]
            a, b, *others = pairs.tokens[i]
            column = sweep.cells.index(cell)
            assert sweep.margin[i, column] == pytest.approx(float(logits[a] - logits[b]), abs=1e-6), cell
            assert sweep.answered[i, column] == bool(logits[a] > max(logits[[b, *others]])), cell


def test_a_sweep_is_that_of_transformer_lens(double, pairs):
    from transformer_lens import patching

    model = double("llama")
    sweep = dp.patch_sweep(model, pairs, sites=("resid_pre", "attn_out", "mlp_out", "head_out"))
    lengths = np.array([len(s) for s in pairs.clean.sequences])
    rows = np.flatnonzero(lengths == np.bincount(lengths).argmax()).tolist()
    clean, corrupted = (torch.tensor([side.sequences[i].tokens for i in rows]) for side in pairs.sides)
    ids = torch.tensor([pairs.tokens[i][:2] for i in rows])

    def margin(logits):
        picked = logits[:, -1].gather(-1, ids)
        return (picked[:, 0] - picked[:, 1]).mean()

    with torch.no_grad():
        _, cache = model.tl.run_with_cache(clean)
        last = clean.shape[1] - 1
        for site in ("resid_pre", "attn_out", "mlp_out"):
            found = patching.generic_activation_patch(
                model.tl, corrupted, cache, margin, patching.layer_pos_patch_setter, site,
                index_df=pd.DataFrame({"layer": (0, 2, 5), "pos": last}),
            )  # fmt: skip
            mine = [sweep.margin[rows, sweep.cells.index(Cell(site, k, "answer"))].mean() for k in (0, 2, 5)]
            np.testing.assert_allclose(mine, found, rtol=1e-5, atol=1e-5)
        places = [(layer, last, head) for layer in (1, 4) for head in range(4)]
        found = patching.generic_activation_patch(
            model.tl, corrupted, cache, margin, patching.layer_pos_head_vector_patch_setter, "z",
            index_df=pd.DataFrame(places, columns=["layer", "pos", "head"]),
        )  # fmt: skip
        mine = [
            sweep.margin[rows, sweep.cells.index(Cell("head_out", layer, "answer", head))].mean()
            for layer, _, head in places
        ]
        np.testing.assert_allclose(mine, found, rtol=1e-5, atol=1e-5)


def test_the_planted_circuit_is_found(planted, planted_pairs):
    """One head of layer 2 moves what the question says to the answer; nothing else does anything."""
    sweep = dp.patch_sweep(planted, planted_pairs, positions=("answer", "question"))
    nothing, everything = np.zeros(6), np.ones(6)
    before = np.arange(6) <= 2
    np.testing.assert_allclose(table(sweep, "resid_pre"), np.where(before, 0, 1), atol=1e-6)
    np.testing.assert_allclose(table(sweep, "resid_pre", "question"), np.where(before, 1, 0), atol=1e-6)
    np.testing.assert_allclose(table(sweep, "attn_out"), np.eye(6)[2], atol=1e-6)
    np.testing.assert_allclose(table(sweep, "attn_out", "question"), nothing, atol=1e-6)
    np.testing.assert_allclose(table(sweep, "mlp_out"), nothing, atol=1e-6)
    heads = np.zeros((6, 4))
    heads[2, 1] = 1
    np.testing.assert_allclose(table(sweep, "head_out"), heads, atol=1e-6)
    whole = sweep.answered.mean(axis=0)
    rows = sweep.to_pandas()
    assert list(whole) == list(rows["answered"]) == list((rows["recovery"] > 0.5).astype(float))
    noise = dp.patch_sweep(planted, planted_pairs, sites=["attn_out"], direction="noise")
    np.testing.assert_allclose(table(noise, "attn_out"), everything - np.eye(6)[2], atol=1e-6)
    np.testing.assert_allclose(noise.clean, sweep.clean, atol=1e-9)
    np.testing.assert_allclose(noise.corrupted, sweep.corrupted, atol=1e-9)
    assert (sweep.clean > 0).all()
    assert (sweep.corrupted < 0).all()


def test_gradients_find_the_planted_circuit_too(planted, planted_pairs):
    sites = ("attn_out", "mlp_out", "head_out")
    exact = dp.patch_sweep(planted, planted_pairs, sites=sites, layers=[1, 2, 3])
    foretold = dp.attribution_patching(planted, planted_pairs, sites=sites, layers=[1, 2, 3])
    assert foretold.method == "first order"
    heads = np.nan_to_num(table(foretold, "head_out"))
    assert np.unravel_index(heads.argmax(), heads.shape) == (2, 1)
    heads[2, 1] = 0
    np.testing.assert_allclose(heads, 0, atol=1e-9)
    agreement = exact.agreement(foretold).set_index("site")
    assert agreement.loc["head_out", "pearson"] > 0.999
    assert agreement.loc["all", "places"] == len(exact.cells)
    assert np.isnan(agreement.loc["mlp_out", "pearson"])  # nothing happens there, in either


@pytest.mark.parametrize("how", [dp.patch_sweep, dp.attribution_patching])
def test_noise_is_denoising_with_the_sides_exchanged(double, pairs, how):
    """The same runs are patched with the same activations; only which answer counts for is the other."""
    settings = {"sites": ("mlp_out", "head_out"), "layers": [1, 4]}
    exchanged = dp.Pairs.of(pairs.corrupted, pairs.clean)
    noise = how(double("llama"), pairs, direction="noise", **settings)
    denoise = how(double("llama"), exchanged, **settings)
    np.testing.assert_allclose(noise.margin, -denoise.margin, rtol=0, atol=1e-9)
    np.testing.assert_allclose(noise.clean, -denoise.corrupted, rtol=0, atol=1e-9)
    np.testing.assert_allclose(noise.corrupted, -denoise.clean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(noise.recovery, 1 - denoise.recovery, rtol=0, atol=1e-9)
    assert (noise.clean > 0).all()


def test_answered_is_ahead_of_all_options_not_of_one(double, pairs):
    """Some corrupted runs say neither of the two answers; a patch there that only passes the other is no answer."""
    model = double("llama")
    sweep = dp.patch_sweep(model, pairs, sites=["resid_post"], layers=[1, 3])
    kept = dp.capture(model, pairs.clean, layers=[1, 3])
    for column, layer in enumerate((1, 3)):
        patched = dp.patch("resid_post", layer, kept)
        (run,) = evaluate(model, pairs.corrupted, [patched], [AnswerObserver(pairs.tokens)])
        first = np.nanargmax(run["answers"], axis=1) == 0
        np.testing.assert_array_equal(sweep.answered[:, column], first)


@pytest.mark.parametrize("site", ALL)
def test_a_gradient_is_the_slope_of_small_patches(double, pairs, site):
    """Against differences: the activation moved a thousandth of the way, in both directions, intact and in a cut."""
    model = double("llama")
    clean, corrupted = pairs.sides
    under, step = dp.skip(4) if site in ("resid_pre", "resid_mid", "mlp_out") else dp.Intervention(), 1e-3
    with InDouble():
        foretold = dp.attribution_patching(
            model, pairs, sites=[site], layers=[3], positions=("answer", "question"), under=under
        )
        taken, known = (sources_of(model, side, under, foretold.cells) for side in (clean, corrupted))
    for column, cell in list(enumerate(foretold.cells))[::2]:
        head = None if cell.head < 0 else cell.head
        new, old = (side.at(cell).rows(cell.site, cell.layer, head) for side in (taken, known))
        ends = []
        for sign in (1, -1):
            values = [old.of(i) + sign * step * (new.of(i) - old.of(i)) for i in range(len(pairs))]
            moved = dp.patch(
                cell.site, cell.layer, values if cell.position == "question" else np.array(values),
                head=head, positions=cell.position,
            )  # fmt: skip
            with InDouble():
                (run,) = evaluate(model, corrupted, [under + moved], [AnswerObserver(pairs.tokens)])
            ends.append(run["answers"][:, 0] - run["answers"][:, 1])
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(
            foretold.margin[:, column] - foretold.corrupted, slope, rtol=1e-4, atol=1e-6, err_msg=str(cell)
        )


def test_patching_a_run_into_itself_changes_nothing(double, pairs):
    model = double("gpt2")
    encoded = dp.ask(model, pairs.clean.questions)
    none = dp.Intervention()
    cells = cells_of(model, none, ALL, [0, 3], ["answer", "question", "all"])
    own = sources_of(model, encoded, none, cells)
    tokens = tuple(encoded.option_ids)
    runs = [
        run["answers"]
        for run in evaluate(
            model, encoded, [none, *(own.patch(cell) for cell in cells)], [AnswerObserver(tokens)]
        )
    ]
    for cell, run in zip(cells, runs[1:], strict=True):
        np.testing.assert_allclose(run, runs[0], rtol=0, atol=1e-6, err_msg=str(cell))


@pytest.mark.parametrize("under", [dp.Intervention(), dp.skip(3) + dp.skip(4, part="mlp")])
def test_patching_everything_is_the_other_run(double, pairs, under):
    model = double("llama")
    with InDouble():
        sweep = dp.patch_sweep(
            model, pairs, sites=["resid_pre", "resid_post"], positions=["all"], under=under
        )
        back = dp.patch_sweep(
            model, pairs, sites=["resid_pre"], positions=["all"], under=under, direction="noise", layers=[0]
        )
    np.testing.assert_allclose(sweep.margin, sweep.clean[:, None].repeat(len(sweep.cells), 1), atol=1e-9)
    assert {cell.layer for cell in sweep.cells} == set(range(6)) - set(under.removed_blocks)
    np.testing.assert_allclose(back.margin[:, 0], back.corrupted, atol=1e-9)


def test_there_is_no_place_where_something_is_removed(double, pairs):
    model = double("llama")
    under = dp.skip(1) + dp.skip(2, part="attention") + dp.skip(3, part="mlp")
    sweep = dp.patch_sweep(model, pairs, under=under, sites=("attn_out", "mlp_out", "head_out"))
    places = {(cell.site, cell.layer) for cell in sweep.cells}
    assert {layer for site, layer in places if site == "attn_out"} == {0, 3, 4, 5}
    assert {layer for site, layer in places if site == "head_out"} == {0, 3, 4, 5}
    assert {layer for site, layer in places if site == "mlp_out"} == {0, 2, 4, 5}


def test_recovery_is_a_ratio_of_means_over_pairs(double, pairs):
    sweep = dp.patch_sweep(double("llama"), pairs, sites=["resid_post"])
    gained, lost = sweep.margin - sweep.corrupted[:, None], sweep.clean - sweep.corrupted
    np.testing.assert_allclose(sweep.recovery, gained.sum(axis=0) / lost.sum())
    assert sweep.recovery[-1] == pytest.approx(1.0)
    ends = sweep.interval
    assert ((ends.low <= ends.estimate) & (ends.estimate <= ends.high)).all()
    rng = np.random.default_rng(0)
    drawn = [gained[rows].sum(axis=0) / lost[rows].sum() for rows in rng.integers(8, size=(2000, 8))]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    width = np.maximum(high - low, 1e-6)
    assert (abs(ends.low - low) <= 0.15 * width).all()
    assert (abs(ends.high - high) <= 0.15 * width).all()
    assert sweep.plot().axes[0].get_ylabel() == "recovery"
    assert "denoise sweep" in str(sweep)


def test_a_share_of_what_may_be_nothing_has_no_interval():
    """One pair loses much, the others gain: on average something is lost, in many resamples nothing is."""
    lost = np.array([8.0, -1.0, -1.0, -1.0])
    found = recovery(np.stack([lost, 0 * lost], axis=1), lost, seed=0)
    np.testing.assert_array_equal(found.estimate, [1, 0])
    assert np.isnan([found.low, found.high]).all()
    sure = recovery(np.stack([lost + 2, 0 * lost], axis=1), lost + 2, seed=0)
    np.testing.assert_allclose([sure.low, sure.high], [[1, 0], [1, 0]])
    assert np.isnan(recovery(-lost[:, None], -lost, seed=0).estimate).all()


def test_places_are_kept_and_found_again(double, pairs, tmp_path, monkeypatch):
    model = double("llama")
    first = dp.patch_sweep(model, pairs, sites=["mlp_out"], layers=[0, 1, 2], store=tmp_path)
    more = dp.patch_sweep(model, pairs, sites=["mlp_out"], store=tmp_path)
    np.testing.assert_array_equal(more.margin[:, :3], first.margin)
    monkeypatch.setattr("decision_phases.circuits.answers._Answering.take", None)
    again = dp.patch_sweep(model, pairs, sites=["mlp_out"], store=tmp_path)
    np.testing.assert_array_equal(again.margin, more.margin)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sites": ["head"]}, "unknown site 'head'; did you mean 'head_out'"),
        ({"sites": []}, "nothing is left to patch"),
        ({"layers": [9]}, r"layer 9 is out of range: .* 0\.\.5"),
        ({"layers": [2], "under": dp.skip(2)}, "layer 2 is removed by"),
        ({"positions": ["option:0"]}, "no position 'option:0' in common"),
        ({"positions": ["end"]}, "unknown position 'end'"),
        ({"direction": "both"}, "unknown direction 'both'"),
    ],
)
@pytest.mark.parametrize("how", [dp.patch_sweep, dp.attribution_patching])
def test_what_cannot_be_swept_is_refused_before_anything_runs(
    double, pairs, how, settings, message, nothing_runs
):
    with pytest.raises(dp.InputError, match=message):
        how(double("llama"), pairs, **settings)


@pytest.mark.parametrize("how", [dp.patch_sweep, dp.attribution_patching, dp.causal_transition])
def test_one_pair_has_no_interval_and_is_refused(double, pairs, how, nothing_runs):
    one = dp.Pairs.of(*(some_of(side, [0]) for side in pairs.sides))
    with pytest.raises(dp.InputError, match="1 pair given; an interval over pairs needs at least two"):
        how(double("llama"), one)


def test_quantised_weights_have_no_gradients_and_are_refused_before(double, pairs, nothing_runs, monkeypatch):
    monkeypatch.setattr("decision_phases.circuits.first_order.quantised", lambda _: "it was loaded quantised")
    with pytest.raises(dp.InputError, match="no gradients, because it was loaded quantised; use patch_sweep"):
        dp.attribution_patching(double("llama"), pairs)


def test_a_model_without_a_site_is_refused_by_name(double, pairs):
    with pytest.raises(dp.InputError, match="has no site 'attn_out'"):
        dp.patch_sweep(double("mamba"), pairs)


def test_sweeps_of_other_pairs_are_not_compared(double, pairs, planted_pairs):
    model = double("llama")
    sweep = dp.patch_sweep(model, pairs, sites=["mlp_out"], layers=[1])
    with pytest.raises(
        dp.InputError, match="nothing was patched at mlp_out at question; there are mlp_out at answer"
    ):
        sweep.of("mlp_out", "question")
    other = dp.patch_sweep(model, pairs, sites=["attn_out"], layers=[1])
    with pytest.raises(dp.InputError, match="no place in common"):
        sweep.agreement(other)


def test_nothing_stays_on_the_model_after_gradients(double, pairs):
    model = double("llama")
    before = dp.read(model, pairs.clean).final.scores
    dp.attribution_patching(model, pairs, sites=["resid_mid", "head_out"])
    assert not model.has_own_hooks
    assert not any(p.requires_grad or p.grad is not None for p in model.unique_parameters())
    np.testing.assert_array_equal(dp.read(model, pairs.clean).final.scores, before)
    with (
        pytest.raises(RuntimeError),
        applied(model, dp.Intervention()),
        model.hooked([(1, "mlp_out", lambda _: (_ for _ in ()).throw(RuntimeError))]),
    ):
        model.logits(torch.tensor([[5, 6]]))
    assert not model.has_own_hooks
