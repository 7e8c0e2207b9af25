import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_phases.errors import InputError
from decision_phases.tasks import Question, read_questions


def write(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


LAYOUTS = {
    "ARC": (
        {
            "id": "ACT_1",
            "question": "What melts?",
            "choices": {"text": ["ice", "air", "sand"], "label": ["1", "2", "3"]},
            "answerKey": "1",
        },
        Question(("ice", "air", "sand"), 0, "What melts?", id="ACT_1"),
        "question_answer",
    ),
    "CommonsenseQA": (
        {
            "id": "c1",
            "question": "Where is a fox?",
            "question_concept": "fox",
            "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["den", "sky", "sea", "car", "cup"]},
            "answerKey": "E",
        },
        Question(("den", "sky", "sea", "car", "cup"), 4, "Where is a fox?", id="c1"),
        "question_answer",
    ),
    "OpenBookQA": (
        {
            "id": "7-980",
            "question_stem": "The sun is",
            "choices": {"text": ["hot", "cold"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        Question(("hot", "cold"), 1, "The sun is", id="7-980"),
        "question_answer",
    ),
    "MMLU": (
        {"question": "2 + 2?", "subject": "algebra", "choices": ["4", "2", "1", "0"], "answer": 2},
        Question(("4", "2", "1", "0"), 2, "2 + 2?", category="algebra", id="row 1"),
        "question_answer",
    ),
    "HellaSwag": (
        {
            "ind": 4,
            "activity_label": "Baking",
            "ctx_a": "A man.",
            "ctx_b": "he",
            "ctx": "How to bake [header] A man [title] Mix [step] Now he",
            "endings": ["bakes.", "runs [substeps] off."],
            "label": "1",
        },
        Question(
            ("bakes.", "runs off."), 1, "Baking: How to bake A man. Mix Now he", category="Baking", id="row 1"
        ),
        "continuation",
    ),
    "BoolQ": (
        {"question": "is ice cold", "answer": True, "passage": "Ice is frozen water."},
        Question(("no", "yes"), 1, "Ice is frozen water.\nQuestion: is ice cold?", id="row 1"),
        "answer",
    ),
    "PIQA": (
        {"goal": "Open a jar.", "sol1": "Twist the lid.", "sol2": "Twist the jar's base.", "label": 1},
        Question(("Twist the lid.", "Twist the jar's base."), 1, "Open a jar.", id="row 1"),
        "question_answer",
    ),
    "WinoGrande": (
        {"sentence": "Ann fed Bo because _ was hungry.", "option1": "Ann", "option2": "Bo", "answer": "2"},
        Question(
            ("Ann", "Bo"),
            1,
            "Who or what is meant by the blank? Ann fed Bo because _ was hungry.",
            id="row 1",
        ),
        "question_answer",
    ),
    "ANLI": (
        {"uid": "u9", "premise": "It rains.", "hypothesis": "It is wet.", "label": 1, "reason": ""},
        Question(
            ("True", "Neither", "False"),
            1,
            "It rains.\nQuestion: It is wet. True, False, or Neither?",
            id="u9",
        ),
        "answer",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_a_known_data_set_is_recognised_in_a_file(tmp_path, name):
    row, expected, template = LAYOUTS[name]
    found = read_questions(write(tmp_path / "rows.jsonl", [row]))
    assert found.items == (expected,)
    assert (found.template, found.scoring) == (template, None)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    assert read_questions(tmp_path / "rows.parquet").items == (expected,)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "ARC",
            {"answerKey": ""},
            "answerKey '' is none of ['1', '2', '3']; is this a split without answers?",
        ),
        ("ARC", {"choices": ["ice"]}, "column 'choices' holds ['ice']; expected the lists text and label"),
        ("ARC", {"choices": {"text": ["a", "b"], "label": ["A"]}}, "has 2 texts and 1 labels"),
        ("MMLU", {"answer": 4}, "answer 4 is out of range"),
        ("HellaSwag", {"label": ""}, "label is ''; expected a number from 0 to 1"),
        ("BoolQ", {"answer": "maybe"}, "answer is 'maybe'; expected true or false"),
        ("BoolQ", {"answer": 1}, "answer is 1; expected true or false"),
        ("PIQA", {"label": -1}, "label is -1; expected a number from 0 to 1"),
        ("WinoGrande", {"answer": "0"}, "answer is '0'; expected a number from 1 to 2"),
        ("ANLI", {"label": True}, "label is True; expected a number from 0 to 2"),
    ],
)
def test_a_row_that_leaves_its_layout_is_named(tmp_path, name, changes, message):
    path = write(tmp_path / "rows.jsonl", [LAYOUTS[name][0] | changes])
    with pytest.raises(InputError) as caught:
        read_questions(path)
    assert str(caught.value).startswith(f"{path}, line 1: ")
    assert message in str(caught.value)


def test_flat_layouts_are_read_from_csv(tmp_path):
    for name in ("PIQA", "WinoGrande", "BoolQ", "ANLI"):
        row, expected, _ = LAYOUTS[name]
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerow(row)
        (found,) = read_questions(tmp_path / f"{name}.csv")
        assert (found.options, found.answer, found.question) == (
            expected.options,
            expected.answer,
            expected.question,
        )
