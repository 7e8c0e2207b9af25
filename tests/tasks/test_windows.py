import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_phases.errors import InputError
from decision_phases.tasks import TextSet, encode_texts


def usual_recipe(ids, window, stride):
    """(context, target) of every predicted token, by the labels of the transformers documentation."""
    predicted, previous_end = [], 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        labels = [None] * (end - begin - (end - previous_end)) + list(ids[previous_end:end])
        predicted += [
            (tuple(ids[begin : begin + i]), labels[i]) for i in range(1, end - begin) if labels[i] is not None
        ]
        previous_end = end
        if end == len(ids):
            break
    return predicted


def predictions(sequences):
    return [
        (sequence.tokens[: position + 1], target)
        for sequence in sequences
        for position, target in zip(sequence.read, sequence.targets, strict=True)
    ]


@settings(deadline=None)
@given(st.text("abcdefgh ", min_size=2, max_size=60).filter(lambda t: len(t.split()) > 1), st.data())
def test_windows_predict_what_the_usual_recipe_predicts(bpe, text, data):
    window = data.draw(st.integers(2, 12))
    stride = data.draw(st.integers(1, window))
    ids = bpe.encode(text)
    sequences = encode_texts(TextSet("t", (text,)), bpe, window=window, stride=stride)
    assert predictions(sequences) == usual_recipe(ids, window, stride)
    assert all(s.tokens[p + 1] == t for s in sequences for p, t in zip(s.read, s.targets, strict=True))
    if stride < window:
        assert [target for _, target in predictions(sequences)] == ids[1:]


@settings(deadline=None)
@given(st.text("abcdefgh ", min_size=1, max_size=60).filter(str.strip), st.data())
def test_with_bos_every_token_is_predicted_once(bpe_bos, text, data):
    window = data.draw(st.integers(2, 12))
    stride = data.draw(st.integers(1, window - 1))
    sequences = encode_texts(TextSet("t", (text,)), bpe_bos, window=window, stride=stride)
    assert [target for _, target in predictions(sequences)] == bpe_bos.encode(text)[1:]
    assert all(s.tokens[0] == bpe_bos.bos_token_id and len(s) <= window for s in sequences)


def test_the_bos_rule_can_be_overruled(bpe, bpe_bos, words):
    one = TextSet("t", ("dog cat dog",))
    assert encode_texts(one, bpe_bos, bos=False) == encode_texts(one, bpe)
    assert encode_texts(one, bpe, bos=True) == encode_texts(one, bpe_bos)
    with pytest.raises(InputError, match="bos=True, but the tokenizer has no BOS token"):
        encode_texts(one, words, bos=True)


def test_documents_are_apart_and_a_running_text_is_one(words):
    documents = ("hot cold wet", "fire", "yes no")
    apart = encode_texts(TextSet("t", documents), words, window=8)
    assert [(s.owner, words.decode(s.tokens)) for s in apart] == [(0, "hot cold wet"), (2, "yes no")]
    (one,) = encode_texts(TextSet("t", documents, running=True), words, window=8)
    assert (one.owner, words.decode(one.tokens)) == (0, "hot cold wet fire yes no")


def test_a_limit_draws_windows_in_order(words):
    whole = TextSet("t", (" ".join(["hot", "cold", "wet", "yes", "no"] * 20),))
    every = encode_texts(whole, words, window=5)
    some = encode_texts(whole, words, window=5, limit=6, seed=1)
    assert len(some) == 6
    assert some == encode_texts(whole, words, window=5, limit=6, seed=1)
    assert encode_texts(whole, words, window=5, limit=100) == every
    numbered = TextSet("t", tuple(f"hot {'cold ' * i}" for i in range(1, 20)))
    owners = [s.owner for s in encode_texts(numbered, words, window=32, limit=6, seed=1)]
    assert owners == sorted(set(owners))
    assert len(owners) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 65, "context_length": 64}, "window is 65 tokens, the model takes 64"),
        ({"window": 1}, "window is 1 tokens; at least 2"),
        ({"window": 8, "stride": 9}, "stride is 9; expected 1 to 8"),
        ({"stride": 0}, "stride is 0; expected 1 to 512"),
        ({"limit": 0}, "limit is 0; at least one window"),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(words, options, message):
    with pytest.raises(InputError, match=message):
        encode_texts(TextSet("t", ("hot cold",)), words, **options)


def test_nothing_to_predict_is_refused(words):
    with pytest.raises(InputError, match="'t' has no token to predict"):
        encode_texts(TextSet("t", ("hot", "cold")), words)
    with pytest.raises(InputError, match="the model has no tokenizer"):
        encode_texts(TextSet("t", ("hot cold",)), None)
