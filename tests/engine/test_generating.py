"""Generation under interventions: cached equals uncached, draws do not depend on the batch, and what is refused."""

import numpy as np
import pytest
import torch

from decision_phases.engine import applied, generate
from decision_phases.engine.generating import chosen, uniform_draws
from decision_phases.errors import InputError
from decision_phases.interventions import noise, scale, skip, zero
from decision_phases.models import FAMILIES, load, tiny_hf, tiny_tokenizer
from decision_phases.tasks import OpenPrompts, TextSet, questions

LENGTHS = (10, 4, 10)  # 10 is longer than the sliding windows of 8
STEPS = 4
CUTS = {
    "several blocks": skip(0, 1, 4) + scale("resid_post", 3, 0.5),
    "first attention": skip(0, part="attention") + skip(3, part="mlp"),
}
PROMPTS = [
    "Which animal says moo",
    "Is water wet? Is",
    "Which animal quacks",
    "What is the capital of France",
]


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(5)
    rows = tuple(tuple(torch.randint(3, 800, (n,), generator=generator).tolist()) for n in LENGTHS)
    return OpenPrompts("random", rows, tuple("abc"))


@pytest.fixture
def seen(monkeypatch):
    """The logits that tokens were chosen by, batch by batch and step by step."""
    kept = []

    def choose(logits, temperature, uniform):
        kept.append(logits)
        return chosen(logits, temperature, uniform)

    monkeypatch.setattr("decision_phases.engine.generating.chosen", choose)
    return kept


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", CUTS)
def test_every_step_sees_what_the_whole_model_says_after_the_text_so_far(
    family, cut, prompts, model_of, seen, close
):
    """Sampled, because a random model of tied embeddings repeats its last token otherwise, cached rightly or not."""
    model, under = model_of(family), CUTS[cut]
    if cut == "first attention" and "attn_out" not in model.sites:
        pytest.skip(f"{family} has no attention to remove")
    check_steps(model, under, prompts, seen, close)


def test_a_model_without_blocks_writes_too(tiny, prompts, seen, close):
    check_steps(tiny, skip(*range(6)), prompts, seen, close)


def check_steps(model, under, prompts, seen, close):
    found = generate(model, prompts, steps=STEPS, under=under, temperature=1.0)
    assert found.cached == model.capabilities.cached_generation
    for length in sorted(set(LENGTHS)):
        places = [i for i, n in enumerate(LENGTHS) if n == length]
        tokens = torch.tensor([[*prompts.tokens[i], *found.tokens[i].tolist()] for i in places])
        with torch.no_grad():
            intact = model.logits(tokens)
            with applied(model, under):
                expected = model.logits(tokens)
        assert not torch.allclose(intact, expected, atol=1e-2), "the intervention did nothing to begin with"
        for step in range(STEPS):
            close(seen.pop(0), expected[:, length - 1 + step])
    assert not seen


def test_greedy_is_the_likeliest_token_each_time(tiny, prompts):
    found = generate(tiny, prompts, steps=STEPS, under=skip(0))
    for prompt, row in zip(prompts.tokens, found.tokens.tolist(), strict=True):
        with torch.no_grad(), applied(tiny, skip(0)):
            logits = tiny.logits(torch.tensor([[*prompt, *row]]))[0]
        assert row == logits[len(prompt) - 1 : -1].argmax(-1).tolist()


def test_families_without_a_cache_are_few_and_say_so(model_of, prompts):
    without = {family for family in FAMILIES if not model_of(family).capabilities.cached_generation}
    assert without == {"mamba", "rwkv"}
    assert "without a key-value cache" in str(generate(model_of("mamba"), prompts, steps=1))
    assert "without" not in str(generate(model_of("llama"), prompts, steps=1))


def test_a_sampled_text_is_the_same_whatever_is_written_beside_it(tiny):
    settings = {"steps": 6, "temperature": 1.0, "seed": 3}
    together = generate(tiny, PROMPTS, **settings)
    for place, prompt in enumerate(PROMPTS):
        np.testing.assert_array_equal(generate(tiny, [prompt], **settings).tokens[0], together.tokens[place])
    turned = generate(tiny, PROMPTS[::-1], max_tokens=20, **settings)
    np.testing.assert_array_equal(turned.tokens[::-1], together.tokens)
    longer = generate(tiny, PROMPTS, **{**settings, "steps": 8})
    np.testing.assert_array_equal(longer.tokens[:, :6], together.tokens)
    assert (generate(tiny, PROMPTS, **{**settings, "seed": 4}).tokens != together.tokens).any()


def test_a_prompt_given_twice_gets_two_texts(tiny):
    found = generate(tiny, PROMPTS[:1] * 3, steps=12, temperature=1.0).tokens
    assert len({tuple(row) for row in found.tolist()}) == 3
    greedy = generate(tiny, PROMPTS[:1] * 3, steps=12).tokens
    assert len({tuple(row) for row in greedy.tolist()}) == 1


def test_draws_follow_the_distribution_and_its_temperature():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.3, 0.2]]))
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81, 0.999999])
    rows = chosen(logits.expand(6, -1), 1.0, uniform)
    assert rows.tolist() == [0, 0, 2, 2, 3, 3]  # the token of probability 0 never
    cold = chosen(logits.expand(6, -1), 1e-3, uniform)
    assert cold.tolist() == [0] * 6
    drawn = uniform_draws([(7, i) for i in range(4000)], 1, 0)[:, 0]
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert np.var(drawn) == pytest.approx(1 / 12, abs=0.01)


def test_texts_end_where_the_model_ends_them(tiny, monkeypatch):
    rows = np.array([[9, 0, 8, 0], [9, 9, 9, 9]])
    monkeypatch.setattr("decision_phases.engine.generating.continued", lambda *_, **__: rows)
    found = generate(tiny, PROMPTS[:2], steps=4)
    assert found.lengths.tolist() == [2, 4]
    assert found.written(0) == (9, 0)
    assert found.texts == (tiny.tokenizer.decode([9]), tiny.tokenizer.decode([9] * 4))
    assert found.to_pandas()["ended"].tolist() == [True, False]
    first = found.sequences()[0]
    size = len(found.prompts.tokens[0])
    assert first.tokens[size:] == (9, 0, 8)
    assert (first.read, first.targets) == (tuple(range(size - 1, size + 3)), (9, 0, 8, 0))


def test_questions_are_asked_without_their_options_and_texts_give_their_beginnings(tiny):
    some = questions("facts", limit=6)
    asked = generate(tiny, some, steps=2)
    assert asked.prompts.labels == tuple(item.id for item in some)
    told = tiny.tokenizer.decode(asked.prompts.tokens[0])
    assert told == f"Question: {some[0].text}\nAnswer:"
    shown = generate(tiny, some, steps=1, shots=1)
    assert tiny.tokenizer.decode(shown.prompts.tokens[0]).count("Answer:") == 2
    texts = TextSet("t", ("Which animal quacks and swims?", "Which"))
    cut = generate(tiny, texts, steps=1, prompt_tokens=3)
    assert [tiny.tokenizer.decode(row) for row in cut.prompts.tokens] == ["Which animal quacks", "Which"]
    assert len(generate(tiny, PROMPTS, steps=1, limit=2).prompts) == 2


@pytest.mark.parametrize(
    ("prompts", "settings", "text"),
    [
        (["Is water", "  "], {}, "prompt #1 of 'prompts' is empty"),
        ([], {}, "prompts are strings, texts or questions; got list"),
        ([3], {}, "prompts are strings, texts or questions; got list"),
        ("factz", {}, r"unknown prompts 'factz'; did you mean 'facts'.*Give strings as a list"),
        (["Is water"], {"steps": 0}, "steps=0: at least one token"),
        (["Is water"], {"steps": 511}, r"prompt #0 has 2 tokens, and 511 are to follow, but tiny-llama takes 512"),
        (["Is water"], {"temperature": 0.0}, "temperature=0.0: it must be above 0; for the likeliest token"),
        (["Is water"], {"temperature": -1.0}, "temperature=-1.0"),
        (["Is water"], {"temperature": float("nan")}, "temperature=nan"),
        (["Is water"], {"limit": 0}, "limit=0"),
        (["Is water"], {"shots": 2}, "shots can be set for questions only"),
        (["Is water"], {"under": skip(9)}, "out of range"),
        (["Is water"], {"under": noise(1, variance=0.1)}, "depends on the question or on positions in it"),
        (["Is water"], {"under": zero("mlp_out", 1, positions="answer")}, "treats all positions alike"),
        (OpenPrompts("own", ((5, 9999),), ("x",)), {}, r"prompt x has tokens 5\.\.9999"),
        (questions("facts", limit=4), {"show_options": True}, "have their options in the prompt"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_anything_runs(prompts, settings, text, tiny, monkeypatch):
    monkeypatch.setattr(type(tiny), "step", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=text):
        generate(tiny, prompts, **settings)


def test_prompts_need_a_tokenizer_and_rows_tokens():
    with pytest.raises(InputError, match="no tokenizer"):
        generate(load(tiny_hf("llama"), quiet=True), PROMPTS)
    with pytest.raises(InputError, match="prompt b of 'p' is empty"):
        OpenPrompts("p", ((1,), ()), ("a", "b"))
    with pytest.raises(InputError, match="0 prompts"):
        OpenPrompts("p", (), ())


def test_logits_that_are_not_finite_are_named(tiny):
    huge = scale("resid_post", 1, 1e30) + scale("resid_post", 2, 1e30)
    with pytest.raises(InputError, match="logits are not finite at step 0 of prompt 0"):
        generate(tiny, PROMPTS[:1], steps=2, under=huge)


def test_nothing_is_left_on_the_model(tiny):
    before = generate(tiny, PROMPTS, steps=4).tokens
    generate(tiny, PROMPTS, steps=4, under=skip(0, 3) + scale("mlp_out", 1, 3.0))
    np.testing.assert_array_equal(generate(tiny, PROMPTS, steps=4).tokens, before)
    assert not tiny.has_own_hooks


def test_special_tokens_do_not_show(tiny):
    assert tiny_tokenizer().eos_token_id == generate(tiny, PROMPTS[:1], steps=1).end
