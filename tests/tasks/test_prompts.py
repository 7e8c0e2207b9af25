import pytest

from decision_phases.errors import InputError
from decision_phases.tasks import (
    TEMPLATES,
    PromptTemplate,
    Question,
    QuestionSet,
    draw_examples,
    find_symbols,
    find_template,
)

CAPITAL = Question(("Paris", "Rome {option}"), 0, "Capital of {question}?")


def test_the_letter_form_and_where_its_parts_stand():
    prompt = TEMPLATES["question_answer"].render(CAPITAL, symbols=("A", "B"), show_options=True)
    assert prompt.text == "Question: Capital of {question}?\nA. Paris\nB. Rome {option}\nAnswer:"
    parts = {name: prompt.text[start:stop] for name, (start, stop) in prompt.spans.items()}
    assert parts == {"question": CAPITAL.question, "option:0": "Paris", "option:1": "Rome {option}"}
    moved = prompt.after("before ")
    assert {name: moved.text[start:stop] for name, (start, stop) in moved.spans.items()} == parts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("question_answer", "Question: Capital of {question}?\nAnswer:"),
        ("q_a", "Q: Capital of {question}?\nA:"),
        ("answer", "Capital of {question}?\nAnswer:"),
        ("continuation", "Capital of {question}?"),
        ("exam", "Capital of {question}?\nAnswer:"),
    ],
)
def test_the_named_templates(name, text):
    assert find_template(name).render(CAPITAL).text == text


def test_all_named_templates_are_tested_above_and_know_their_name():
    assert set(TEMPLATES) == {"question_answer", "q_a", "answer", "continuation", "exam"}
    assert all(template.name == name for name, template in TEMPLATES.items())


def test_options_without_symbols_are_written_plainly():
    text = TEMPLATES["question_answer"].render(CAPITAL, show_options=True).text
    assert text == "Question: Capital of {question}?\n- Paris\n- Rome {option}\nAnswer:"


def test_a_verbatim_prompt_is_left_alone():
    item = Question(("a", "b"), 0, prompt="2 + 2 =")
    prompt = TEMPLATES["question_answer"].render(item, symbols=("A", "B"), show_options=True)
    assert (prompt.text, dict(prompt.spans)) == ("2 + 2 =", {"question": (0, 7)})


def test_instruction_and_solved_examples_stand_in_front():
    template = PromptTemplate("t", instruction="Answer well.", cue="So:")
    solved = template.solved(CAPITAL, reply="A", symbols=("A", "B"), show_options=True)
    expected = "Question: Capital of {question}?\nA. Paris\nB. Rome {option}\nSo: A"
    assert solved == expected
    assert template.preface([solved, "x"]) == f"Answer well.\n\n{expected}\n\nx\n\n"
    assert TEMPLATES["q_a"].preface([]) == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question_format": "Question:"}, "expected {question} in it exactly once"),
        ({"option_line": "{option}"}, "expected {symbol} in it exactly once"),
        ({"plain_option_line": "{option} {option}"}, "expected {option} in it exactly once"),
        ({"cue": "Answer: "}, "which ends in white space; leave it out"),
    ],
)
def test_a_template_that_cannot_work_is_refused(fields, message):
    with pytest.raises(InputError) as caught:
        PromptTemplate("bad", **fields)
    assert message in str(caught.value)


def test_an_unknown_template_names_the_near_one():
    with pytest.raises(InputError, match="unknown template 'questionanswer'; did you mean 'question_answer'"):
        find_template("questionanswer")


def test_symbols():
    assert find_symbols("letters", 5) == ("A", "B", "C", "D", "E")
    assert find_symbols("digits", 2) == ("1", "2")
    assert find_symbols("lower", 2) == ("a", "b")
    assert find_symbols("QZ", 2) == ("Q", "Z")
    assert find_symbols(["one", "two", "three"], 2) == ("one", "two")


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ("QZ", "2 symbols (QZ) for 3 options"),
        ("QZQ", "not all different"),
        (["A", "", "C"], "empty one or white"),
    ],
)
def test_symbols_that_cannot_work_are_refused(symbols, message):
    with pytest.raises(InputError) as caught:
        find_symbols(symbols, 3)
    assert message in str(caught.value)


def test_examples_are_shared_by_all_who_are_not_among_them():
    questions = QuestionSet("q", tuple(Question(("a", "b"), 0, f"{i}?") for i in range(20)))
    examples = draw_examples(questions, 3, seed=5)
    drawn = {item for given in examples for item in given}
    assert len(drawn) == 4
    common = {given for item, given in zip(questions, examples, strict=True) if item not in drawn}
    assert len(common) == 1
    for item, given in zip(questions, examples, strict=True):
        assert len(set(given)) == 3
        assert item not in given
        assert set(given) <= drawn
    assert examples == draw_examples(questions, 3, seed=5)
    assert examples != draw_examples(questions, 3, seed=6)


def test_a_rotated_copy_never_gives_the_answer_away():
    base = QuestionSet("q", tuple(Question(("a", "b"), 0, f"{i}?") for i in range(4)))
    both = base + base.rotated(1)
    for item, given in zip(both, draw_examples(both, 3, seed=1), strict=True):
        assert item.text not in {example.text for example in given}
        assert len({example.text for example in given}) == 3


def test_examples_can_come_from_elsewhere():
    questions = QuestionSet("q", (Question(("a", "b"), 0, "0?"),))
    pool = QuestionSet("pool", tuple(Question(("a", "b"), 0, f"{i}?") for i in range(3)))
    for seed in range(5):
        (given,) = draw_examples(questions, 2, seed=seed, pool=pool)
        assert {item.text for item in given} == {"1?", "2?"} or "0?" not in {item.text for item in given}


@pytest.mark.parametrize(
    ("shots", "message"), [(-1, "shots is -1"), (3, "3 shots need at least 4 different")]
)
def test_a_number_of_shots_that_cannot_be_drawn_is_refused(shots, message):
    questions = QuestionSet("q", tuple(Question(("a", "b"), 0, f"{i}?") for i in range(3)))
    with pytest.raises(InputError, match=message):
        draw_examples(questions, shots)
