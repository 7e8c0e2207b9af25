"""Queries and passages: what the bundled set promises, and what a file must hold."""

import json
import re
from collections import Counter

import pytest

from decision_phases.errors import InputError
from decision_phases.tasks import Query, RetrievalSet, read_passages

COMMON = set(
    re.findall(
        r"\w+",
        """a an the and or but of in on at to from with by for it its they them their is are was be been do does did how
        why what who where when which that this these there we us our you your he she his her as so not no into up down
        out than then more most very can could would one two each every after before all some any if get gets make makes
        happens""",
    )
)


def content(text):
    return {word for word in re.findall(r"[a-z]+", text.lower()) if word not in COMMON}


@pytest.fixture(scope="module")
def bundled():
    return read_passages("passages")


def test_the_bundled_set_is_as_its_readme_says(bundled):
    assert len(bundled) == len(bundled.passages) == 64
    assert set(Counter(row.topic for row in bundled.rows).values()) == {8}
    assert len({row.topic for row in bundled.rows}) == 8
    assert len({row.id for row in bundled.rows}) == len({row.text for row in bundled.rows}) == 64
    assert bundled.answers.tolist() == list(range(64))
    assert all(row.text.endswith("?") and row.passage.endswith(".") for row in bundled.rows)
    assert all(18 <= len(row.passage.split()) <= 42 for row in bundled.rows)


def test_counting_common_words_finds_less_than_half(bundled):
    """The queries are not answered by the passage that repeats their words."""
    hits = 0.0
    for query, answer in zip(bundled.queries, bundled.answers, strict=True):
        shared = [len(content(query.text) & content(passage)) for passage in bundled.passages]
        best = max(shared)
        hits += (shared[answer] == best) / shared.count(best)
    assert hits / len(bundled) < 0.5


def test_passages_that_queries_share_are_there_once():
    rows = [Query("a?", "one"), Query("b?", "two"), Query("c?", "one"), Query("", "three")]
    found = RetrievalSet("s", tuple(rows))
    assert (found.passages, found.answers.tolist(), len(found)) == (("one", "two", "three"), [0, 1, 0], 3)
    fewer = found.limit(2, seed=1)
    assert (len(fewer), fewer.passages) == (2, found.passages)
    assert found.limit(9) is found
    assert fewer.content_hash != found.content_hash
    with pytest.raises(InputError, match="limit is 0"):
        found.limit(0)


def test_a_file_is_read_with_its_line_numbers(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [{"query": "a?", "passage": "one"}, {"passage": "two", "topic": "t"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = read_passages(path)
    assert (found.name, [row.topic for row in found.rows], len(found)) == ("mine", ["", "t"], 1)
    assert read_passages(str(path), name="n").name == "n"
    assert read_passages(lines).content_hash == found.content_hash
    path.write_text('{"query": "a?", "passage": "one"}\n{"query": "b?", "text": "two"}')
    with pytest.raises(
        InputError, match=r"mine.jsonl, line 2: expected texts under passage.*got query, text"
    ):
        read_passages(path)
    path.write_text('{"query": "a?", "passage": " "}')
    with pytest.raises(InputError, match=r"line 1: query 'a\?' has an empty passage"):
        read_passages(path)


def test_what_is_no_retrieval_set_is_refused():
    with pytest.raises(InputError, match="unknown passages 'passage'; did you mean 'passages'"):
        read_passages("passage")
    with pytest.raises(InputError, match="1 queries and 1 different passages"):
        read_passages([{"query": "a?", "passage": "one"}])
