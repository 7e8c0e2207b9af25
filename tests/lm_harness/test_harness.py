"""lm-evaluation-harness says of our model what it says of a plain transformers model, and what our own scores say."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import processors

from decision_phases.errors import InputError, MissingPackageError
from decision_phases.exports.shorten import shortened
from decision_phases.interventions import Intervention, noise, scale, skip, zero
from decision_phases.lm_harness import adapter, harness
from decision_phases.lm_harness.writing import Writing
from decision_phases.models import load
from decision_phases.models.tiny import tiny_hf, tiny_tokenizer
from decision_phases.readout import perplexity, read
from decision_phases.tasks import Question, QuestionSet, questions

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # what lm-eval and datasets emit
    pytest.mark.usefixtures("loaded_once"),
]

CUT = skip(2, 3)
PAIRS = [
    ("Question: Which animal barks?\nAnswer:", " dog"),
    ("Question: Which animal barks?\nAnswer:", " cat and dog"),
    ("Question: Which animal barks?\nAnswer:", " cat and dog"),
    ("Question: Is water wet? ", "Yes, it is."),  # the space goes to the continuation
    ("", "Is fire cold? No."),
    ("Answer", ": dog"),
]
TEXTS = ["Is water wet? Yes, it is. Is fire cold? No, it is hot, and ice is not.", "Which animal"]


@pytest.fixture(scope="module")
def lm_eval():
    return pytest.importorskip("lm_eval", reason="lm-eval is not installed (the extra lm-eval)")


@pytest.fixture(scope="module")
def with_bos():
    """The tiny tokenizer with a BOS rule."""
    tokenizer = type(tiny_tokenizer())(
        tokenizer_object=type(tiny_tokenizer().backend_tokenizer).from_str(
            tiny_tokenizer().backend_tokenizer.to_str()
        ),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<s>",
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return tokenizer


def theirs(lm_eval, hf, tokenizer, **settings):
    """The model of lm-evaluation-harness itself."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=hf, tokenizer=tokenizer, batch_size=2, **settings)


def asked(rows):
    return [SimpleNamespace(args=row) for row in rows]


def cut_hf(family, cut):
    hf = tiny_hf(family)
    return shortened(hf, cut.removed_blocks, {}) if cut else hf


@pytest.mark.parametrize("under", [Intervention(), CUT], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_log_likelihoods_are_those_of_a_plain_model(family, under, lm_eval):
    ours = harness(f"tiny-{family}", under=under)
    plain = theirs(lm_eval, cut_hf(family, under), tiny_tokenizer())
    mine, other = ours.loglikelihood(asked(PAIRS)), plain.loglikelihood(asked(PAIRS))
    np.testing.assert_allclose([a for a, _ in mine], [a for a, _ in other], atol=1e-4)
    assert [b for _, b in mine] == [b for _, b in other]
    rolled = [lm.loglikelihood_rolling(asked([(text,) for text in TEXTS])) for lm in (ours, plain)]
    np.testing.assert_allclose(*rolled, atol=1e-4)


def test_what_the_model_would_write_itself_is_said_to_be_so(lm_eval):
    ours = harness("tiny-llama")
    context = "Question: Which animal barks?\nAnswer:"
    (text,) = ours.generate_until(asked([(context, {"max_gen_toks": 3})]))
    (_, greedy), (_, other) = ours.loglikelihood(asked([(context, text), (context, " dog" + text)]))
    assert greedy
    assert not other


def test_texts_longer_than_the_context_go_by_windows_and_long_contexts_lose_their_beginning(lm_eval):
    ours = harness("tiny-llama", max_length=8)
    plain = theirs(lm_eval, tiny_hf("llama"), tiny_tokenizer(), max_length=8)
    rolled = [lm.loglikelihood_rolling(asked([(text,) for text in TEXTS])) for lm in (ours, plain)]
    np.testing.assert_allclose(*rolled, atol=1e-4)
    with pytest.warns(UserWarning, match="4 of 6 requests are longer than 8 tokens"):
        mine = ours.loglikelihood(asked(PAIRS))
    np.testing.assert_allclose(
        [a for a, _ in mine], [a for a, _ in plain.loglikelihood(asked(PAIRS))], atol=1e-4
    )


def test_the_bos_rule_is_the_tokenizers_own(lm_eval, with_bos):
    ours = harness(load(tiny_hf("llama"), tokenizer=with_bos, quiet=True))
    plain = theirs(lm_eval, tiny_hf("llama"), with_bos)
    assert ours.tok_encode("Is water")[0] == 0
    assert ours.tok_encode("<s>Is water") == ours.tok_encode("Is water")
    assert 0 not in ours.tok_encode("Is water", add_special_tokens=False)
    for lm_call in ("loglikelihood", "loglikelihood_rolling"):
        rows = PAIRS if lm_call == "loglikelihood" else [(text,) for text in TEXTS]
        mine, other = (getattr(lm, lm_call)(asked(rows)) for lm in (ours, plain))
        np.testing.assert_allclose(
            np.array(mine, dtype=float), np.array(other, dtype=float), atol=1e-4, err_msg=lm_call
        )


@pytest.mark.parametrize("under", [Intervention(), CUT], ids=str)
def test_what_is_written_is_what_a_plain_model_writes(under, lm_eval):
    ours = harness("tiny-llama", under=under)
    plain = theirs(lm_eval, cut_hf("llama", under), tiny_tokenizer())
    first = ours.generate_until(asked([("Is water wet?", {"max_gen_toks": 6})]))[0]
    words = first.split()
    assert len(words) > 1
    for until in (["never there"], [words[1]], [words[-1], words[1]]):
        settings = {"until": until, "max_gen_toks": 6, "do_sample": False, "temperature": 0.0}
        rows = [(context, settings) for context in ("Is water wet?", "Which animal barks?", "Is fire")]
        mine, other = ours.generate_until(asked(rows)), []
        for row in rows:  # one by one, so that nothing is padded
            other += plain.generate_until(asked([row]))
        assert mine == other
    assert mine[0] != first


def test_writing_ends_with_the_text_and_not_before(monkeypatch):
    pytest.importorskip("lm_eval")
    ours = harness("tiny-llama")
    steps = []
    step = type(ours.access).step
    monkeypatch.setattr(type(ours.access), "step", lambda *given: steps.append(0) or step(*given))
    (whole,) = ours.generate_until(asked([("Is water wet?", {"max_gen_toks": 8})]))
    assert len(steps) == 8
    steps.clear()
    word = whole.split()[1]
    (short,) = ours.generate_until(asked([("Is water wet?", {"max_gen_toks": 8, "until": word})]))
    assert short == whole.split(word)[0]
    assert len(steps) < 8
    # Several at once: each text ends by itself.
    rows = [("Is water wet?", {"max_gen_toks": 8, "until": word}), ("Is fire cold?", {"max_gen_toks": 8})]
    assert ours.generate_until(asked(rows))[0] == short


def test_a_context_that_leaves_no_room_for_what_is_written_loses_its_beginning(lm_eval, tiny):
    long, settings = "Is fire cold? Is water wet? Which animal", {"max_gen_toks": 4}
    ours = harness(tiny, max_length=7)
    with pytest.warns(UserWarning, match="1 of 2 requests are longer than 3 tokens and lost their beginning"):
        written = ours.generate_until(asked([(long, settings), ("Is", settings)]))
    last = tiny.tokenizer.decode(ours.tok_encode(long)[-3:])
    assert ours.tok_encode(last) == ours.tok_encode(long)[-3:]
    assert written == harness(tiny).generate_until(asked([(last, settings), ("Is", settings)]))


def test_sampling_depends_on_the_seed_alone(lm_eval):
    rows = asked([("Is water wet?", {"max_gen_toks": 6, "do_sample": True, "temperature": 1.0})])
    first = harness("tiny-llama", seed=1).generate_until(rows)
    assert harness("tiny-llama", seed=1).generate_until(rows) == first
    assert harness("tiny-llama", seed=2).generate_until(rows) != first


def write_task(folder, name, rows, choices, metrics):
    """A task of lm-evaluation-harness on a local file."""
    (folder / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / f"{name}.yaml").write_text(
        f"""
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder / "rows.json"}}}, cache_dir: {folder / "cache"}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{{choices}}}}}"
doc_to_target: gold
metric_list: [{", ".join(f"{{metric: {metric}}}" for metric in metrics)}]
"""
    )


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Twelve bundled questions as a task of lm-evaluation-harness on a local file, and as questions of our own."""
    folder = tmp_path_factory.mktemp("task")
    items = questions("facts", limit=12)
    rows = [
        {"text": f"Question: {item.question}\nAnswer:", "options": [f"{o} and {o}" if i % 2 else o for i, o in
         enumerate(item.options)], "gold": item.answer}
        for item in items
    ]  # fmt: skip
    write_task(folder, "local_facts", rows, "options", ["acc", "acc_norm"])
    own = QuestionSet(
        "facts", tuple(Question(tuple(r["options"]), r["gold"], prompt=r["text"]) for r in rows)
    )
    return folder, own


@pytest.mark.parametrize("under", [Intervention(), CUT], ids=str)
def test_a_task_gives_the_scores_of_a_plain_model_and_our_own(under, lm_eval, task, tiny):
    from lm_eval.tasks import TaskManager

    folder, own = task
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = []
    for lm in (
        harness(tiny, under=under),
        theirs(lm_eval, cut_hf("llama", under), tiny_tokenizer()),
    ):
        out = lm_eval.simple_evaluate(
            model=lm, tasks=["local_facts"], task_manager=manager, bootstrap_iters=0, log_samples=True
        )
        found.append((out["results"]["local_facts"], out["samples"]["local_facts"]))
    (scores, samples), (plain, plain_samples) = found
    for sample, other in zip(samples, plain_samples, strict=True):
        np.testing.assert_allclose(
            [a for a, _ in sample["filtered_resps"]], [a for a, _ in other["filtered_resps"]], atol=1e-4
        )
    for metric, scoring in (("acc", "cloze"), ("acc_norm", "cloze_char")):
        decisions = read(tiny, own, under=under, scoring=scoring)
        assert scores[f"{metric},none"] == plain[f"{metric},none"] == decisions.final.accuracy
    cloze = read(tiny, own, under=under, scoring="cloze").final.scores
    for sample, mine in zip(samples, cloze, strict=True):
        np.testing.assert_allclose(
            [a for a, _ in sample["filtered_resps"]], mine[: len(sample["filtered_resps"])], atol=1e-4
        )


@pytest.mark.parametrize("under", [Intervention(), CUT], ids=str)
def test_a_task_of_letters_gives_our_letter_scores(under, lm_eval, tmp_path, tiny):
    from lm_eval.tasks import TaskManager

    items = questions("facts", limit=12)
    rows = [
        {"text": f"Question: {item.question}\n" + "".join(
            f"{letter}. {option}\n" for letter, option in zip("ABCD", item.options, strict=False)) + "Answer:",
         "letters": list("ABCD")[: len(item.options)], "gold": item.answer}
        for item in items
    ]  # fmt: skip
    write_task(tmp_path, "local_letters", rows, "letters", ["acc"])
    out = lm_eval.simple_evaluate(
        model=harness(tiny, under=under), tasks=["local_letters"], bootstrap_iters=0, log_samples=True,
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
    )  # fmt: skip
    texts = [row["text"] for row in rows]
    asked_ours = tuple(
        Question(item.options, item.answer, prompt=text) for item, text in zip(items, texts, strict=True)
    )
    own = QuestionSet("facts", asked_ours)
    found = read(tiny, own, under=under, scoring="letter")
    assert out["results"]["local_letters"]["acc,none"] == found.final.accuracy
    for sample, scores in zip(out["samples"]["local_letters"], found.final.scores, strict=True):
        theirs = np.array([a for a, _ in sample["filtered_resps"]])
        own_scores = scores[: len(theirs)]  # logits: log-probabilities up to one number a question
        np.testing.assert_allclose(theirs - theirs[0], own_scores - own_scores[0], atol=1e-4)


@pytest.mark.parametrize("under", [Intervention(), CUT], ids=str)
def test_a_text_rolled_through_is_our_perplexity_of_it(under, lm_eval, tiny):
    ours = harness(tiny, under=under)
    assert ours.prefix_token_id == tiny.tokenizer.bos_token_id
    rolled = ours.loglikelihood_rolling(asked([(text,) for text in TEXTS]))
    own = perplexity(tiny, TEXTS, window=64, bos=True, under=under)
    np.testing.assert_allclose(rolled, -own.nll, atol=1e-4)


def test_known_results_are_not_computed_again(lm_eval, tmp_path, tiny, monkeypatch):
    rows = asked([("Question: Which animal barks?\nAnswer:", f" {word}") for word in ("dog", "cat", "ice")])
    first = harness(tiny, store=tmp_path).loglikelihood(rows)
    engine = sys.modules["decision_phases.engine.evaluate"]
    monkeypatch.setattr(engine, "walk_all", lambda *_, **__: pytest.fail("ran"))
    assert harness(tiny, store=tmp_path).loglikelihood(rows) == first
    with pytest.raises(pytest.fail.Exception, match="ran"):
        harness(tiny, store=tmp_path, under=CUT).loglikelihood(rows)


def test_a_conversation_becomes_text_by_the_tokenizers_template(lm_eval, with_bos):
    with_bos.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}" \
        "{% if add_generation_prompt %}Answer:{% endif %}"  # fmt: skip
    ours = harness(load(tiny_hf("llama"), tokenizer=with_bos, quiet=True))
    plain = theirs(lm_eval, tiny_hf("llama"), with_bos)
    said = [{"role": "Question", "content": "Is water wet?"}]
    text = ours.apply_chat_template(said)
    assert text == plain.apply_chat_template(said) == "<s>Question: Is water wet?\nAnswer:"
    assert ours.tok_encode(text).count(0) == 1
    assert ours.chat_template(True) == with_bos.chat_template
    assert ours.tokenizer_name


# -- what cannot be done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("under", [noise(2, 0.1), zero("mlp_out", 2, positions="answer")], ids=str)
def test_interventions_that_depend_on_the_question_are_refused(under, lm_eval, tiny):
    with pytest.raises(InputError, match=r"gives texts without either.*treats all positions alike"):
        harness(tiny, under=under)


def test_models_and_lengths_that_cannot_be(lm_eval, tiny):
    with pytest.raises(InputError, match="out of range"):
        harness(tiny, under=scale("mlp_out", 7, 0.5))
    for length in (1, 513):
        with pytest.raises(InputError, match=f"max_length={length}: it must be at least 2 and at most 512"):
            harness(tiny, max_length=length)
    nameless = load(tiny_hf("llama"), quiet=True)
    with pytest.raises(InputError, match="has no tokenizer"):
        harness(nameless)
    with pytest.raises(InputError, match=r"the continuation of .* has no tokens"):
        harness(tiny).loglikelihood(asked([("Is water", "")]))
    with pytest.raises(InputError, match=r"has 5 tokens, but tiny-llama is given at most 4"):
        harness(tiny, max_length=4).loglikelihood(asked([("Is", " dog cat dog cat dog")]))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Writing((), 256, None)),
        ({"until": "\n", "max_new_tokens": 5}, Writing(("\n",), 5, None)),
        ({"until": ["", "Q:"], "do_sample": False, "temperature": 0.7, "top_p": 0.9}, Writing(("Q:",), 256, None)),
        ({"temperature": 0.5}, Writing((), 256, 0.5)),
        ({"do_sample": True}, Writing((), 256, 1.0)),
    ],
)  # fmt: skip
def test_how_tasks_say_what_is_to_be_written(given, expected):
    assert Writing.of(given, 512) == expected


def test_ways_of_writing_that_there_are_not():
    with pytest.raises(InputError, match=r"asks for num_beams=4, top_p=0.9, which is not known here"):
        Writing.of({"do_sample": True, "temperature": 1.0, "top_p": 0.9, "num_beams": 4}, 512)
    with pytest.raises(InputError, match=r"write 512 tokens; that must be above 0 and below max_length, 512"):
        Writing.of({"max_gen_toks": 512}, 512)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, tiny):
    adapter._template_class.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'decision-phases\[lm-eval\]'"):
        harness(tiny)
    adapter._template_class.cache_clear()
