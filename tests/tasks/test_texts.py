import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_phases.errors import InputError
from decision_phases.tasks import TextSet, texts

LONG = "This paragraph is long enough to be recognised as the same one wherever it occurs in a document."


def test_the_help_topics_are_whole_and_halved_without_overlap():
    from pydoc_data.topics import topics

    found = texts("pydoc")
    assert sorted(found.documents) == sorted(text.strip() for text in topics.values())
    fit, evaluation = found.fit, found.evaluation
    assert sorted(fit.documents + evaluation.documents) == sorted(found.documents)
    assert abs(fit.characters - evaluation.characters) < 0.1 * found.characters
    assert texts("pydoc").fit == fit
    assert texts("pydoc").fit.content_hash == fit.content_hash != evaluation.content_hash
    assert texts("pydoc", seed=1).fit.content_hash != fit.content_hash
    paragraphs = [
        {
            " ".join(part.split())
            for text in half
            for part in text.split("\n\n")
            if len(" ".join(part.split())) >= 80
        }
        for half in (fit, evaluation)
    ]
    assert paragraphs[0]
    assert not paragraphs[0] & paragraphs[1]


@given(st.lists(st.text("abc ", min_size=1).filter(str.strip), min_size=2, unique=True), st.integers(0, 3))
def test_halves_are_disjoint_complete_and_deterministic(documents, seed):
    whole = TextSet("t", tuple(documents), seed=seed)
    fit, evaluation = whole.fit, whole.evaluation
    assert sorted(fit.documents + evaluation.documents) == sorted(documents)
    assert TextSet("other", tuple(reversed(documents)), seed=seed).fit.documents == tuple(
        text for text in reversed(documents) if text in fit.documents
    )
    assert (fit.half, evaluation.half) == ("fit", "evaluation")


def test_documents_that_share_a_paragraph_stay_together():
    others = [f"text {i} " * 20 for i in range(6)]
    for seed in range(6):
        whole = TextSet("t", (f"First.\n\n{LONG}", *others, f"{LONG}\n\nLast.", "same", "same"), seed=seed)
        half = whole.fit if whole.documents[0] in whole.fit.documents else whole.evaluation
        assert f"{LONG}\n\nLast." in half.documents
        assert {whole.fit.documents.count("same"), whole.evaluation.documents.count("same")} == {0, 2}


def test_a_running_text_is_cut_in_the_middle(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("One one.\nstill one.\n\nTwo two.\n \n\nThree three.\n\nFour four.\n")
    found = texts(path)
    assert found.documents == ("One one.\nstill one.", "Two two.", "Three three.", "Four four.")
    assert (found.name, found.running, found.source) == ("book", True, str(path))
    assert found.fit.documents == ("One one.\nstill one.", "Two two.")
    assert found.evaluation.documents == ("Three three.", "Four four.")
    whole = texts(path, whole=True, name="mine")
    assert (whole.name, whole.running, len(whole)) == ("mine", False, 1)
    assert whole.documents[0].startswith("One one.")
    with pytest.raises(InputError, match="'mine' cannot be divided into a fit and an evaluation half"):
        _ = whole.fit
    with pytest.raises(InputError, match=r"is the fit half already; use the whole set's \.evaluation"):
        _ = found.fit.evaluation


def test_rows_with_text_are_documents(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"text": "a b", "body": "x"}, {"text": "c"})))
    assert texts(str(path)).documents == ("a b", "c")
    with pytest.raises(InputError, match=r"line 2: no text in column 'body'; there is text\. Give column="):
        texts(path, column="body")


def test_one_door_for_texts():
    made = texts(["a", "b"])
    assert (made.documents, made.name, made.source) == (("a", "b"), "texts", "given")
    assert texts(made) is made


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pydocs", "unknown texts 'pydocs'; did you mean 'pydoc'"),
        ("none.txt", "none.txt: no such file"),
        ([" ", ""], "text set 'texts' is empty"),
    ],
)
def test_what_is_no_text_is_refused(source, message):
    with pytest.raises(InputError, match=message):
        texts(source)


def test_a_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"latin\.txt: not UTF-8 text at byte 3"):
        texts(tmp_path / "latin.txt")


def test_hub_texts(monkeypatch):
    asked = []

    def load_dataset(path, name=None, *, split):
        asked.append((path, name, split))
        return [{"text": ""}, {"text": " = Title = \n"}, {"text": "Words."}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    found = texts("wikitext2")
    assert (found.documents, found.running) == ((" = Title = \n", "Words."), True)
    assert texts("some/texts", hub_split="train").running is False
    assert asked == [("Salesforce/wikitext", "wikitext-2-raw-v1", "test"), ("some/texts", None, "train")]
