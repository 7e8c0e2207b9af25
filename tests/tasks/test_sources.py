import csv
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_phases.errors import InputError
from decision_phases.tasks import Question, QuestionSet, questions, read_questions

GOOD = {"question": "Capital of France?", "options": ["Paris", "Rome"], "answer": 0}


def write(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize("answer", [1, "Rome", "B", " Rome "])
def test_an_answer_is_an_index_a_text_or_a_letter(tmp_path, answer):
    path = write(tmp_path / "few.jsonl", [GOOD | {"answer": answer, "category": "geo", "id": "x1"}])
    expected = Question(("Paris", "Rome"), 1, "Capital of France?", category="geo", id="x1")
    assert read_questions(path) == QuestionSet("few", (expected,), None, str(path))


def test_prompts_and_questions_can_be_mixed_and_rows_number_themselves(tmp_path):
    path = write(
        tmp_path / "few.jsonl", [GOOD, "", {"prompt": "2 + 2 =", "options": ["4", "5"], "answer": "4"}]
    )
    one, two = read_questions(path)
    assert (one.id, one.question, one.prompt) == ("row 1", "Capital of France?", None)
    assert (two.id, two.question, two.prompt, two.gold) == ("row 3", None, "2 + 2 =", "4")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"question": ', "line 2: not JSON (Expecting value at column 14)"),
        ("[1, 2]", "line 2: a list; expected a JSON object"),
        ({"question": "?", "answer": 0}, "line 2: options missing"),
        ({"options": ["a", "b"], "answer": 0}, "line 2: has neither question nor prompt"),
        (GOOD | {"prompt": "Paris is"}, "line 2: has question and prompt; expected exactly one"),
        (GOOD | {"question": 5}, "line 2: column 'question' holds 5; expected a text"),
        (GOOD | {"options": "ab"}, "line 2: column 'options' holds 'ab'; expected a list of texts"),
        (GOOD | {"options": [1, 2]}, "line 2: column 'options' holds [1, 2]; expected a list of texts"),
        (GOOD | {"options": ["a"]}, "line 2: question 'row 2' has 1 option(s); at least two"),
        (GOOD | {"options": ["a", "a"]}, "line 2: question 'row 2' has options that occur twice: ['a']"),
        (GOOD | {"answer": 2}, "line 2: answer 2 is out of range; expected an index from 0 to 1"),
        (GOOD | {"answer": -1}, "line 2: answer -1 is out of range"),
        (
            GOOD | {"answer": "C"},
            "line 2: answer 'C' is none of the options ['Paris', 'Rome'], no label (A, B)",
        ),
        (GOOD | {"answer": "1"}, "line 2: answer '1' is none of the options"),
        (GOOD | {"answer": None}, "line 2: answer None is none of the options"),
        (GOOD | {"answer": True}, "line 2: answer True is none of the options"),
        (GOOD | {"options": ["B", "A"], "answer": "A"}, "line 2: answer 'A' can mean options [0, 1]"),
        (GOOD | {"id": "first"}, "line 2: id 'first' occurs a second time"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(tmp_path, row, message):
    path = write(tmp_path / "bad.jsonl", [GOOD | {"id": "first"}, row])
    with pytest.raises(InputError) as caught:
        read_questions(path)
    assert str(caught.value).startswith(f"{path}, {message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n \n", "the file is empty"),
        ("head.csv", b"question,options,answer\n", "the file is empty"),
        ("latin.jsonl", b'{"question": "caf\xe9"}', "not UTF-8 text at byte 17"),
        ("no.parquet", b"not parquet", "not a Parquet file"),
        ("few.json", b"[]", "the name ends in '.json'; expected one of .jsonl, .csv, .parquet"),
        (
            "cells.csv",
            b"question,options,answer\nq,a,0,extra\n",
            "line 2: not as many cells as the 3 columns",
        ),
        ("short.csv", b"question,options,answer\nq\n", "line 2: not as many cells as the 3 columns"),
        ("quote.csv", b'question,options,answer\n"q"x,"[]",0\n', "line 2: not CSV"),
        ("list.csv", b"question,options,answer\nq,[a; b],0\n", "line 2: column 'options' is not a JSON list"),
        (
            "odd.jsonl",
            b'{"q": "?", "a": 1}\n',
            "line 1: columns q, a fit no known layout. Known: a question file",
        ),
    ],
)
def test_a_malformed_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_questions(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        questions(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"^none\.csv: no such file"):
        questions("none.csv")


def test_the_three_kinds_of_file_hold_the_same(tmp_path):
    rows = [
        {
            "id": "1",
            "category": "geo",
            "question": 'Says "hi",\ntwo lines?',
            "options": ["a", "b, c"],
            "answer": 1,
        },
        {"id": "2", "category": "", "question": "Two?", "options": ["2", "3", "5"], "answer": 2},
    ]
    write(tmp_path / "same.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "same.parquet")
    with (tmp_path / "same.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"options": json.dumps(row["options"])} for row in rows[:1])
        writer.writerow(rows[1] | {"options": json.dumps(rows[1]["options"]), "answer": "C"})
    found = [read_questions(tmp_path / f"same.{ending}") for ending in ("jsonl", "parquet", "csv")]
    assert found[0].items == found[1].items == found[2].items
    assert [item.gold for item in found[0]] == ["b, c", "5"]


def test_a_number_in_a_csv_file_that_can_be_text_and_index_is_refused(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text('question,options,answer\nTwo?,"[""2"", ""3"", ""5""]",2\n')
    with pytest.raises(InputError, match=r"line 2: answer '2' can mean options \[0, 2\]"):
        read_questions(path)


def test_one_door_for_everything(tmp_path):
    items = [Question(("a", "b"), i % 2, f"{i}?", category="xy"[i % 2]) for i in range(6)]
    made = questions(items)
    assert made == QuestionSet("questions", tuple(items), source="given")
    assert questions(made) is made
    assert questions([GOOD]).items == (Question(("Paris", "Rome"), 0, "Capital of France?", id="row 1"),)
    path = write(tmp_path / "few.jsonl", [GOOD])
    assert questions(str(path)) == questions(path) == read_questions(path)
    changed = questions(made, name="mine", scoring="cloze", category="x", limit=2, seed=4)
    assert (changed.name, changed.scoring, changed.categories, len(changed)) == ("mine", "cloze", ("x",), 2)
    assert questions(made, category=["x", "y"]) == made


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("fact", {}, "unknown question set 'fact'; did you mean 'facts'"),
        ("arc_esy", {}, "did you mean 'arc_easy'"),
        ([GOOD], {"scoring": "clozes"}, "unknown scoring 'clozes'; did you mean 'cloze'"),
        ([Question(("a", "b"), 0, "?"), GOOD], {}, "neither Question objects nor rows"),
        ([], {}, "'questions' is empty"),
    ],
)
def test_what_is_no_source_is_refused(source, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        questions(source, **options)
