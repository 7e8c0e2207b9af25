import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_phases.errors import InputError
from decision_phases.tasks import SCORINGS, PromptTemplate, Question, QuestionSet, encode_questions
from decision_phases.tasks.tokenise import tokenise

CAPITALS = QuestionSet(
    "capitals",
    (
        Question(("Paris", "Rome", "Berlin"), 0, "What is the capital of France?", category="c", id="france"),
        Question(("Paris", "Rome"), 1, "What is the capital of Italy?", category="c", id="italy"),
    ),
)
ANIMALS = QuestionSet(
    "animals",
    (
        Question(("dog", "cat"), 0, "Which animal barks?", id="bark"),
        Question(("cat", "dog"), 1, "Which animal barks at night?", id="night"),
        Question(("dog", "cat"), 1, "Which animal is the cat?", id="cat"),
    ),
)
LETTERED = [
    "Question: What is the capital of France?\nA. Paris\nB. Rome\nC. Berlin\nAnswer:",
    "Question: What is the capital of Italy?\nA. Paris\nB. Rome\nAnswer:",
]


class Slow:
    """A tokenizer without character offsets, as the slow ones of transformers are."""

    is_fast = False

    def __init__(self, fast):
        self.fast = fast
        self.bos_token_id = fast.bos_token_id
        self.eos_token_id = fast.eos_token_id
        self.convert_ids_to_tokens = fast.convert_ids_to_tokens

    def __call__(self, text, **options):
        assert not options["return_offsets_mapping"]
        return self.fast(text, **options)


def test_letters_are_read_at_the_end_of_the_prompt(bpe):
    encoded = encode_questions(CAPITALS, bpe, scoring="letter")
    assert [list(s.tokens) for s in encoded.sequences] == [bpe.encode(text) for text in LETTERED]
    assert [s.read for s in encoded.sequences] == [(len(bpe.encode(text)) - 1,) for text in LETTERED]
    assert all(s.targets == () and s.option == -1 for s in encoded.sequences)
    assert [s.owner for s in encoded.sequences] == [0, 1]
    letters = [bpe.convert_tokens_to_ids("Ġ" + letter) for letter in "ABC"]
    assert encoded.option_ids == (tuple(letters), tuple(letters[:2]))
    assert encoded.gold.tolist() == [0, 1]
    assert encoded.n_options.tolist() == [3, 2]
    assert encoded.option_chars == ((5, 4, 6), (5, 4))
    assert (encoded.show_options, encoded.symbols, encoded.shots) == (True, ("A", "B", "C"), 0)


@pytest.mark.parametrize(("name", "bos"), [("bpe", False), ("bpe_bos", True), ("words", False)])
def test_the_tokenizers_own_bos_rule_holds_and_is_recorded(name, bos, request):
    tokenizer = request.getfixturevalue(name)
    questions = QuestionSet("q", (Question(("hot", "cold"), 0, "Is fire hot?"),))
    for scoring in ("first_token", "cloze_pmi"):
        encoded = encode_questions(questions, tokenizer, scoring=scoring)
        assert encoded.bos is bos
        assert {s.tokens[0] == tokenizer.bos_token_id for s in encoded.sequences} == {bos}
        assert {s.tokens.count(tokenizer.bos_token_id) for s in encoded.sequences} == {int(bos)}


def test_spans_cover_the_question_the_options_and_the_answer_position(bpe_bos):
    encoded = encode_questions(CAPITALS, bpe_bos, scoring="letter", shots=1)
    for item, sequence in zip(CAPITALS, encoded.sequences, strict=True):
        said = {
            name: bpe_bos.decode(sequence.tokens[a:b]).removeprefix(" ")
            for name, (a, b) in sequence.spans.items()
        }
        options = {f"option:{i}": option for i, option in enumerate(item.options)}
        assert said == {"question": item.question, "answer": ":", **options}
        assert sequence.span("answer") == (len(sequence) - 1, len(sequence))


def test_a_tokenizer_without_offsets_lacks_spans_and_says_so_only_when_asked(bpe):
    encoded = encode_questions(CAPITALS, Slow(bpe), scoring="letter")
    fast = encode_questions(CAPITALS, bpe, scoring="letter")
    assert [s.tokens for s in encoded.sequences] == [s.tokens for s in fast.sequences]
    assert encoded.option_ids == fast.option_ids
    assert set(encoded.sequences[0].spans) == {"answer"}
    with pytest.raises(InputError, match=r"'question' is not known .* known: answer\. .* character offsets"):
        encoded.sequences[0].span("question")


def test_a_letter_of_two_tokens_is_refused(bpe):
    four = QuestionSet("four", (Question(("a", "b", "c", "d"), 0, "Which?", id="q4"),))
    with pytest.raises(InputError) as caught:
        encode_questions(four, bpe, scoring="letter")
    assert str(caught.value) == (
        "question 'q4': option \" D\" is 2 tokens for this tokenizer; letter scoring needs one. "
        'Use scoring="cloze", or other labels.'
    )


def test_letters_that_are_one_unknown_token_are_refused(words):
    two = QuestionSet("two", (Question(("hot", "cold"), 0, "Is fire hot?"),))
    with pytest.raises(
        InputError, match=r"question number 0: options \" X\" and \" Y\" share .*'\[unk\]' \(id 0\)"
    ):
        encode_questions(two, words, scoring="letter", symbols="XY")


def test_first_tokens_stand_for_options(bpe):
    encoded = encode_questions(ANIMALS, bpe, scoring="first_token")
    dog, cat = (bpe.convert_tokens_to_ids("Ġ" + name) for name in ("dog", "cat"))
    assert encoded.option_ids == ((dog, cat), (cat, dog), (dog, cat))
    assert bpe.decode(encoded.sequences[0].tokens) == "Question: Which animal barks?\nAnswer:"
    assert (encoded.show_options, encoded.symbols) == (False, ())


def test_options_that_share_a_first_token_are_refused(bpe):
    two = QuestionSet("two", (Question(("dog one", "cat", "dog two"), 0, "Which?", id="dogs"),))
    with pytest.raises(
        InputError, match=r"'dogs': options \" dog one\" and \" dog two\" share the first token 'Ġdog'"
    ):
        encode_questions(two, bpe, scoring="first_token")


def test_cloze_predicts_each_options_tokens_after_the_prompt(bpe_bos):
    encoded = encode_questions(CAPITALS, bpe_bos, scoring="cloze")
    assert [(s.owner, s.option) for s in encoded.sequences] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert encoded.option_ids == ()
    for s in encoded.sequences:
        item = CAPITALS[s.owner]
        prompt = f"Question: {item.question}\nAnswer:"
        assert list(s.tokens) == bpe_bos.encode(f"{prompt} {item.options[s.option]}")
        size = len(bpe_bos.encode(prompt))
        assert s.read == tuple(range(size - 1, len(s) - 1))
        assert s.targets == s.tokens[size:]
        assert bpe_bos.decode(s.targets) == f" {item.options[s.option]}"
        assert s.span("answer") == (size - 1, size)
        assert not s.unconditional


def test_pmi_adds_the_options_after_the_cue_alone(bpe_bos):
    encoded = encode_questions(
        CAPITALS, bpe_bos, scoring="cloze_pmi", template=PromptTemplate("t", cue="So:")
    )
    plain = encode_questions(CAPITALS, bpe_bos, scoring="cloze", template=PromptTemplate("t", cue="So:"))
    assert [s for s in encoded.sequences if not s.unconditional] == list(plain.sequences)
    alone = [s for s in encoded.sequences if s.unconditional]
    assert [(s.owner, s.option) for s in alone] == [(s.owner, s.option) for s in plain.sequences]
    for s in alone:
        assert bpe_bos.decode(s.tokens) == f"<s>So: {CAPITALS[s.owner].options[s.option]}"
        assert bpe_bos.decode(s.targets) == f" {CAPITALS[s.owner].options[s.option]}"
        assert set(s.spans) == {"answer"}


def test_pmi_without_a_cue_needs_bos(bpe, bpe_bos):
    with pytest.raises(InputError, match="template 'continuation' has no cue and the tokenizer no BOS token"):
        encode_questions(ANIMALS, bpe, scoring="cloze_pmi", template="continuation")
    encoded = encode_questions(ANIMALS, bpe_bos, scoring="cloze_pmi", template="continuation")
    assert bpe_bos.decode(encoded.sequences[2].tokens) == "<s> dog"
    assert encoded.sequences[2].read == (0,)


def test_options_that_are_the_same_tokens_are_refused(words):
    two = QuestionSet("two", (Question(("hot", "warm", "tepid"), 0, "Is fire hot?", id="warmth"),))
    with pytest.raises(
        InputError, match=r"'warmth': options \" warm\" and \" tepid\" are the same tokens \(0,\)"
    ):
        encode_questions(two, words, scoring="cloze")


@pytest.mark.parametrize("scoring", SCORINGS)
def test_a_sequence_longer_than_the_context_is_refused(bpe, scoring):
    lengths = [len(s) for s in encode_questions(CAPITALS, bpe, scoring=scoring).sequences]
    assert encode_questions(CAPITALS, bpe, scoring=scoring, context_length=max(lengths)).scoring == scoring
    with pytest.raises(InputError) as caught:
        encode_questions(CAPITALS, bpe, scoring=scoring, context_length=max(lengths) - 1)
    assert f"is {max(lengths)} tokens long, the model takes {max(lengths) - 1}" in str(caught.value)
    assert str(caught.value).startswith("question 'france': the prompt")


@pytest.mark.parametrize("scoring", ["first_token", "cloze"])
def test_a_prompt_that_ends_in_a_space_is_refused(bpe, scoring):
    item = Question(("dog", "cat"), 0, prompt="The animal that barks is a ", id="space")
    with pytest.raises(InputError, match="'space': the prompt ends in a space, and ' dog' brings its own"):
        encode_questions(QuestionSet("q", (item,)), bpe, scoring=scoring)


def test_a_prompt_that_ends_within_a_token_is_refused():
    class Joined(Slow):
        """Takes the last letter and the space together."""

        def __call__(self, text, **options):
            return {"input_ids": [[ord(c) for c in t.replace("! ", "¡")] for t in text]}

    tokenizer = Joined.__new__(Joined)
    tokenizer.bos_token_id = tokenizer.eos_token_id = None
    tokenizer.convert_ids_to_tokens = chr
    item = Question(("dog", "cat"), 0, prompt="The animal!", id="within")
    with pytest.raises(
        InputError, match=r"'within': .*; end the prompt at a place where this tokenizer splits"
    ):
        encode_questions(QuestionSet("q", (item,)), tokenizer, scoring="cloze")


def test_a_tokenizer_that_ends_texts_is_refused(bpe_eos):
    with pytest.raises(
        InputError, match="ends every text with its end token; load it with add_eos_token=False"
    ):
        encode_questions(ANIMALS, bpe_eos, scoring="cloze")


def test_a_missing_tokenizer_or_scoring_is_refused(bpe):
    with pytest.raises(InputError, match="the model has no tokenizer"):
        encode_questions(ANIMALS, None, scoring="cloze")
    with pytest.raises(
        InputError, match="'animals' has no scoring of its own; give scoring= one of letter, first"
    ):
        encode_questions(ANIMALS, bpe)
    with pytest.raises(InputError, match="unknown scoring 'leter'; did you mean 'letter'"):
        encode_questions(ANIMALS, bpe, scoring="leter")
    own = QuestionSet("own", ANIMALS.items, scoring="cloze_mean")
    assert encode_questions(own, bpe).scoring == "cloze_mean"


def test_options_are_shown_where_asked(bpe):
    shown = encode_questions(ANIMALS, bpe, scoring="first_token", show_options=True)
    assert bpe.decode(shown.sequences[0].tokens) == "Question: Which animal barks?\n- dog\n- cat\nAnswer:"
    hidden = encode_questions(ANIMALS, bpe, scoring="letter", show_options=False)
    assert bpe.decode(hidden.sequences[0].tokens) == "Question: Which animal barks?\nAnswer:"
    verbatim = QuestionSet("q", (Question(("dog", "cat"), 0, prompt="Is it a dog or a cat? It is a"),))
    with pytest.raises(InputError, match="verbatim prompts, to which nothing is added"):
        encode_questions(verbatim, bpe, scoring="cloze", show_options=True)
    assert (
        bpe.decode(encode_questions(verbatim, bpe, scoring="letter").sequences[0].tokens)
        == verbatim[0].prompt
    )


def test_the_sets_own_template_holds_unless_options_need_a_cue(bpe):
    bare = QuestionSet("bare", ANIMALS.items, template="continuation")
    cloze = encode_questions(bare, bpe, scoring="cloze")
    assert cloze.template == "continuation"
    assert bpe.decode(cloze.sequences[0].tokens) == "Which animal barks? dog"
    assert encode_questions(bare, bpe, scoring="letter").template == "question_answer"
    assert encode_questions(bare, bpe, scoring="letter", template="continuation").template == "continuation"


def test_solved_examples_are_a_common_prefix(bpe_bos):
    questions = QuestionSet(
        "q", tuple(Question(("dog", "cat"), i % 2, f"Which animal is {i}?") for i in range(9))
    )
    encoded = encode_questions(questions, bpe_bos, scoring="first_token", shots=2, seed=3)
    texts = [bpe_bos.decode(s.tokens, skip_special_tokens=True) for s in encoded.sequences]
    prefaces = [
        text.removesuffix(f"Question: {q.question}\nAnswer:")
        for q, text in zip(questions, texts, strict=True)
    ]
    common = max(set(prefaces), key=prefaces.count)
    assert prefaces.count(common) >= 7
    for item, preface in zip(questions, prefaces, strict=True):
        blocks = preface.removesuffix("\n\n").split("\n\n")
        assert len(blocks) == 2
        assert item.question not in preface
        for block in blocks:
            (example,) = [q for q in questions if q.question in block]
            assert block == f"Question: {example.question}\nAnswer: {example.gold}"


def test_solved_examples_reply_with_the_letter(bpe):
    encoded = encode_questions(CAPITALS, bpe, scoring="letter", shots=1)
    texts = [bpe.decode(s.tokens) for s in encoded.sequences]
    assert texts == [f"{LETTERED[1]} B\n\n{LETTERED[0]}", f"{LETTERED[0]} A\n\n{LETTERED[1]}"]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_tokens_decode_to_prompt_and_option(bpe_bos, data):
    text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1).filter(
        str.strip
    )
    options = data.draw(st.lists(text.map(str.strip), min_size=2, max_size=4, unique=True))
    item = Question(tuple(options), 0, data.draw(text))
    encoded = encode_questions(QuestionSet("q", (item,)), bpe_bos, scoring="cloze")
    for s in encoded.sequences:
        decoded = bpe_bos.decode(s.tokens[1:], clean_up_tokenization_spaces=False)
        assert decoded == f"Question: {item.question}\nAnswer: {item.options[s.option]}"
        assert bpe_bos.decode(s.targets, clean_up_tokenization_spaces=False) == f" {item.options[s.option]}"


def test_each_different_text_is_tokenised_once(bpe):
    seen = []

    class Counting(Slow):
        def __call__(self, text, **options):
            seen.extend(text)
            return super().__call__(text, **options)

    table = tokenise(["a b", "c", "a b"], Counting(bpe))
    assert seen == ["a b", "c"]
    assert set(table) == {"a b", "c"}


def test_arrays_have_one_entry_per_question(bpe):
    encoded = encode_questions(ANIMALS, bpe, scoring="cloze_char")
    np.testing.assert_array_equal(encoded.gold, [0, 1, 1])
    assert len(encoded) == 3
    assert repr(encoded).startswith(
        "EncodedQuestions('animals', 3 questions, cloze_char, 6 sequences, at most "
    )
