"""The tuned lens: exact where blocks are linear, closer than the logit lens elsewhere, of one model only."""

import numpy as np
import pytest
import torch

from decision_phases.engine import capture
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, skip
from decision_phases.lenses import TunedLens, training, tuned_lens
from decision_phases.lenses.fitting import least_squares
from decision_phases.lenses.training import Maps, Settings, Start
from decision_phases.models import load, tiny_hf, tiny_tokenizer
from decision_phases.readout import ask, read
from decision_phases.readout.divergence import divergences
from decision_phases.repairs.repair import source_of
from decision_phases.store import ResultStore
from decision_phases.tasks import TextSet, questions
from decision_phases.tasks import texts as read_texts

TEXTS = TextSet("some", tuple(text for text in read_texts("pydoc").documents if len(text) < 1500)[:24])
SMALL = {"texts": TEXTS, "window": 32, "limit": 24}
TRAINED = {**SMALL, "steps": 30, "batch": 64, "top": 8, "sampled": 128, "rate": 3e-3}


@pytest.fixture(scope="module")
def few():
    return questions("facts").limit(8, seed=1)


@pytest.fixture(scope="module")
def ridge(tiny):
    return tuned_lens(tiny, **SMALL, steps=0)


# -- what it reads --------------------------------------------------------------------------------------------------


def test_least_squares_recover_the_end_where_every_block_is_linear(linear, few):
    lens = tuned_lens(linear, **SMALL, ridge=0.0, steps=0)
    through, plain = read(linear, few, lens=lens), read(linear, few)
    end = plain.final.scores
    for layer in range(linear.n_layers):
        np.testing.assert_allclose(through.scores[:, layer], end, atol=2e-3)
    np.testing.assert_allclose(through.embed, end, atol=2e-3)
    assert np.abs(plain.scores[:, 0] - end).max() > 1
    assert lens.divergence(linear, TEXTS, window=32, limit=4).tuned.max() < 1e-4


def test_the_last_layer_and_the_end_of_a_cut_are_read_as_they_are(tiny, few, ridge):
    through, plain = read(tiny, few, lens=ridge), read(tiny, few)
    np.testing.assert_array_equal(through.scores[:, -1], plain.scores[:, -1])
    assert np.abs(through.scores[:, 2] - plain.scores[:, 2]).max() > 0.1
    resid = torch.randn(3, 32)
    assert ridge.translated(5, resid) is resid
    cut = skip(4, 5)
    np.testing.assert_array_equal(
        read(tiny, few, under=cut, lens=ridge).final.scores, read(tiny, few, under=cut).final.scores
    )


def test_a_pruned_model_is_read_through_the_lens_of_the_intact_one(tiny, few, ridge):
    cut = skip(1)
    encoded = ask(tiny, few)
    found = read(tiny, encoded, under=cut, lens=ridge)
    assert found.survivors == (0, 2, 3, 4, 5)
    for layer in (0, 3):
        states = capture(tiny, encoded, layers=[layer], under=cut).at("resid_post", layer)
        own = ridge.maps[layer + 1]
        moved = torch.from_numpy(states @ own.weight.data + own.bias.data)
        for row, ids in enumerate(encoded.option_ids):
            expected = tiny.readout(moved[row : row + 1], torch.tensor(ids)).numpy()[0]
            np.testing.assert_allclose(found.scores[row, layer], expected, atol=1e-4)
    assert np.isnan(found.scores[:, 1]).all()


def test_every_scoring_and_space_goes_through_it(tiny, few, ridge):
    whole = read(tiny, few, lens=ridge, space="vocabulary")
    np.testing.assert_array_equal(np.sign(whole.margin), np.sign(read(tiny, few, lens=ridge).margin))
    cloze = read(tiny, few.limit(2), lens=ridge, scoring="cloze")
    assert cloze.lens == ridge.name
    assert np.abs(cloze.scores[:, 0] - read(tiny, few.limit(2), scoring="cloze").scores[:, 0]).max() > 0.01


# -- how it is fitted -----------------------------------------------------------------------------------------------


def test_it_is_closer_than_the_logit_lens_on_texts_it_has_not_seen(tiny, ridge):
    found = ridge.divergence(tiny, TEXTS, window=32, limit=12)
    assert (found.tuned[:, :-1].mean(axis=0) < found.logit[:, :-1].mean(axis=0)).all()
    assert found.tuned[:, -1].max() < 1e-6
    assert found.to_pandas()["gain_low"].iloc[0] > 0
    assert ridge.key in str(found)
    found.plot()


def test_training_comes_closer_on_texts_it_has_not_seen(tiny):
    """From a poor start: a random model is so nearly linear that least squares leave nothing to be learnt."""
    begun = tuned_lens(tiny, **{**TRAINED, "steps": 0}, ridge=30.0)
    trained = tuned_lens(tiny, **TRAINED, ridge=30.0)
    before, after = (lens.divergence(tiny, TEXTS, window=32, limit=12) for lens in (begun, trained))
    np.testing.assert_array_equal(before.logit, after.logit)
    assert (after.tuned[:, :-1].mean(axis=0) < before.tuned[:, :-1].mean(axis=0)).all()
    assert after.tuned.mean() < 0.8 * before.tuned.mean()


def test_least_squares_weigh_every_token_by_its_length(tiny):
    """Against the normal equations of the weighted problem, solved directly."""
    source = source_of(tiny, TEXTS, window=32, limit=6, seed=0)
    found = least_squares(tiny, source, 0.0, progress=False)
    kept = capture(tiny, source.data.sequences, layers=[2, 5], positions="all")
    x, y = (np.concatenate(kept.at("resid_post", k)).astype(np.float64) for k in (2, 5))
    root = 1 / np.linalg.norm(y, axis=1, keepdims=True)
    rows = np.column_stack([x, np.ones(len(x))])
    solved = np.linalg.lstsq(root * rows, root * y, rcond=None)[0]
    weight, bias = found.maps()
    np.testing.assert_allclose(weight[3], solved[:-1], atol=1e-5)
    np.testing.assert_allclose(bias[3], solved[-1], atol=1e-5)


def loss_of(model, settings, seed=0):
    rng = np.random.default_rng(4)
    rows = torch.from_numpy(rng.normal(size=(model.n_layers + 1, 12, model.d_model)).astype(np.float32))
    d, n = model.d_model, model.n_layers
    start = Start(0.1 * rng.normal(size=(n, d, d)), rng.normal(size=(n, d)), np.full((n, d), 0.7), 1.3)
    made = Maps(model, (), settings, start)
    weight, bias = start.maps()
    through = torch.einsum("rtd,rde->rte", rows[:-1], torch.from_numpy(weight).float())
    through = through + torch.from_numpy(bias).float()[:, None]
    with torch.no_grad():
        exact = np.mean([float(divergences(model, rows[-1], one).mean()) for one in through])
        return float(made.loss(rows[:-1], rows[-1], np.random.default_rng(seed))), exact


def test_the_loss_is_the_divergence_where_all_tokens_are_summed(tiny):
    found, exact = loss_of(tiny, Settings(12, 4, tiny.d_vocab, 0))
    assert found == pytest.approx(exact, rel=1e-4)


def test_the_loss_over_sampled_tokens_is_right_on_average(tiny):
    """Unbiased but for the logarithm of the normaliser, which many samples make small."""
    settings = Settings(12, 4, 200, 0)
    drawn = np.array([loss_of(tiny, settings, seed)[0] for seed in range(60)])
    exact = loss_of(tiny, settings)[1]
    assert drawn.std() > 1e-3
    assert drawn.mean() == pytest.approx(exact, abs=4 * drawn.std() / np.sqrt(60) + 0.02 * exact)


def test_a_stopped_training_goes_on_bit_for_bit(tiny, tmp_path, monkeypatch):
    whole = tuned_lens(tiny, **TRAINED)
    made, seen = Maps.loss_of, []

    def stopped(self, step):
        if step == 17:
            raise KeyboardInterrupt
        return made(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Maps, "loss_of", stopped)
        with pytest.raises(
            KeyboardInterrupt, match="the lens was stopped after 17 of 30 steps, which are kept"
        ):
            tuned_lens(tiny, **TRAINED, checkpoint=tmp_path)
    monkeypatch.setattr(Maps, "loss_of", lambda self, step: (seen.append(step), made(self, step))[1])
    monkeypatch.setattr(
        "decision_phases.lenses.fitting.least_squares", lambda *_, **__: pytest.fail("began anew")
    )
    again = tuned_lens(tiny, **TRAINED, checkpoint=tmp_path)
    assert seen[0] == 17
    assert again.key == whole.key
    with pytest.raises(InputError, match="checkpoint of another training than the lens"):
        tuned_lens(tiny, **{**TRAINED, "seed": 1}, checkpoint=tmp_path)


def test_nothing_of_the_model_is_changed(tiny):
    before = tiny.fingerprint
    tuned_lens(tiny, **{**TRAINED, "steps": 2})
    assert all(p.grad is None and not p.requires_grad for p in tiny.root.parameters())
    assert load(tiny.tl, tokenizer=tiny.tokenizer, quiet=True).fingerprint == before


# -- files, stores and refusals -------------------------------------------------------------------------------------


def test_it_is_saved_and_loaded_and_changes_are_noticed(tiny, ridge, tmp_path):
    path = tmp_path / "lens.safetensors"
    ridge.save(path)
    again = TunedLens.load(path)
    assert again.key == ridge.key
    assert again.fit == ridge.fit
    with pytest.raises(InputError, match="exists already"):
        ridge.save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="was changed"):
        TunedLens.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged or malformed"):
        TunedLens.load(path)


def test_a_store_tells_lenses_apart(tiny, few, ridge, tmp_path):
    store = ResultStore(tmp_path)
    first = read(tiny, few, lens=ridge, store=store)
    plain = read(tiny, few, store=store)
    assert len(store) == 2
    again = read(tiny, few, lens=ridge, store=store)
    assert len(store) == 2
    assert (first.lens, again.lens, plain.lens) == (ridge.name, ridge.name, "logit")
    np.testing.assert_array_equal(first.scores, again.scores)
    other = tuned_lens(tiny, **SMALL, steps=0, ridge=1.0)
    assert other.name != ridge.name
    read(tiny, few, lens=other, store=store)
    assert len(store) == 3


def test_another_model_is_refused(tiny, linear, few, ridge):
    with pytest.raises(InputError, match=r"6 layers of width 32; .* has 4 layers"):
        read(linear, few, lens=ridge)
    other = load(tiny_hf("llama", seed=1), tokenizer=tiny_tokenizer(), quiet=True)
    with pytest.raises(InputError, match="fitted on other weights"):
        read(other, few, lens=ridge)
    with pytest.raises(InputError, match="fitted on other weights"):
        ridge.divergence(other, TEXTS)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"steps": -1}, "steps=-1, which must be 0 or above"),
        ({"top": 0}, "top=0, which must be above 0"),
        ({"rate": float("nan")}, "rate=nan, which must be above 0"),
        ({"ridge": -1.0}, "ridge=-1.0, which must be 0 or above"),
        ({"seed": -1}, "seed=-1, which must be 0 or above"),
        ({"limit": 1, "window": 8}, "needs more than 32 tokens"),
        ({"texts": TEXTS.evaluation}, "the half that measures"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(settings, text, tiny, monkeypatch):
    monkeypatch.setattr(training, "evaluate", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=text):
        tuned_lens(tiny, **{**SMALL, **settings})


def test_the_name_alone_says_what_to_do(tiny, few):
    with pytest.raises(InputError, match=r"lens=dp.tuned_lens\(model, texts=...\)"):
        read(tiny, few, lens="tuned")


def test_texts_that_fitted_it_do_not_measure_it(tiny, ridge):
    with pytest.raises(InputError, match="was fitted to these texts"):
        ridge.divergence(tiny, TEXTS.fit)


def test_it_stays_what_it_is_under_an_intervention_that_does_nothing(tiny, few, ridge):
    np.testing.assert_array_equal(
        read(tiny, few, lens=ridge, under=Intervention()).scores, read(tiny, few, lens=ridge).scores
    )
