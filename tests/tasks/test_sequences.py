import pytest

from decision_phases.errors import InputError
from decision_phases.tasks import Question, QuestionSet, encode_questions

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


def test_identity_is_the_symbol_in_letter_scoring(bpe):
    encoded = encode_questions(CAPITALS, bpe, scoring="letter")
    assert encoded.identities == (("A", "B", "C"), ("A", "B"))
    assert encoded.shared_identities() == ("A", "B", "C")
    assert encoded.frequency_undefined_reason() is None
    assert encoded.identity_columns().tolist() == [[0, 1, 2], [0, 1, -1]]


def test_identity_is_the_text_where_one_closed_set_is_shared(bpe):
    encoded = encode_questions(ANIMALS, bpe, scoring="first_token")
    assert encoded.shared_identities() == ("cat", "dog")
    assert encoded.identity_columns().tolist() == [[1, 0], [0, 1], [1, 0]]


def test_identity_is_undefined_where_options_are_arbitrary_and_says_so(bpe):
    mixed = ANIMALS + QuestionSet("", (Question(("Paris", "Rome"), 0, "Capital?", category="capital"),))
    encoded = encode_questions(mixed, bpe, scoring="cloze")
    assert encoded.shared_identities() is None
    assert (
        "do not share one closed set of options, so under cloze scoring"
        in encoded.frequency_undefined_reason()
    )
    with pytest.raises(InputError, match="Option Frequency is undefined"):
        encoded.identity_columns()
    assert encoded.shared_identities("capital") == ("Paris", "Rome")
    assert encoded.identity_columns("capital").tolist() == [[-1, -1]] * 3 + [[0, 1]]


def test_the_key_is_of_all_that_matters(bpe, bpe_bos):
    def key(questions=CAPITALS, tokenizer=bpe, **options):
        return encode_questions(questions, tokenizer, **{"scoring": "letter", **options}).key

    different = [
        key(),
        key(tokenizer=bpe_bos),
        key(scoring="cloze"),
        key(scoring="cloze_mean"),
        key(show_options=False),
        key(shots=1),
        key(symbols="BCA"),
        key(template="q_a"),
        key(CAPITALS.rotated(1)),
    ]
    assert len(set(different)) == len(different)
    assert key() == key(QuestionSet("renamed", CAPITALS.items))
