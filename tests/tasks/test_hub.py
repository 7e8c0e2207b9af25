import sys
from types import SimpleNamespace

import pytest

from decision_phases.errors import InputError, MissingPackageError
from decision_phases.tasks import HUB_QUESTIONS, questions


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the package datasets that records what is asked for."""
    asked = []
    rows = []

    def load_dataset(path, name=None, *, split):
        asked.append((path, name, split))
        if rows and isinstance(rows[0], Exception):
            raise rows[0]
        return rows

    config = SimpleNamespace(HF_DATASETS_CACHE="/cache")
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, config=config))
    return SimpleNamespace(asked=asked, rows=rows)


CHOICES = {"text": ["ice", "air"], "label": ["A", "B"]}
ARC = {"id": "a", "question": "What melts?", "choices": CHOICES, "answerKey": "B"}
MMLU = {"question": "2 + 2?", "subject": "algebra", "choices": ["4", "2", "1", "0"], "answer": 1}
ROWS = {
    "arc_easy": ARC,
    "arc_challenge": ARC,
    "mmlu": MMLU,
    "hellaswag": {"ctx": "He", "activity_label": "Rest", "endings": ["runs", "sits"], "label": "1"},
    "openbookqa": {"question_stem": "It melts:", "choices": CHOICES, "answerKey": "B"},
    "commonsense_qa": ARC | {"question_concept": "ice"},
    "boolq": {"question": "is ice cold", "passage": "Ice.", "answer": True},
    "piqa": {"goal": "Cool it", "sol1": "fire", "sol2": "ice", "label": 1},
    "winogrande": {"sentence": "_ melts", "option1": "air", "option2": "ice", "answer": "2"},
    "anli": {"premise": "Ice.", "hypothesis": "Cold.", "label": 1, "uid": "u"},
}


@pytest.mark.parametrize("name", HUB_QUESTIONS)
def test_a_hub_name_loads_its_split_and_has_a_scoring(hub, name):
    hub.rows.append(ROWS[name])
    found = questions(name)
    source = HUB_QUESTIONS[name].source
    assert hub.asked == [(source.path, source.config, source.split)]
    assert (found.name, [item.answer for item in found]) == (name, [1])
    assert found.scoring == HUB_QUESTIONS[name].scoring
    assert found.source == str(source)
    questions(name, hub_split="train")
    assert hub.asked[1] == (source.path, source.config, "train")


def test_any_hub_data_set_in_a_known_layout_loads(hub):
    hub.rows.append(ARC)
    found = questions("some/arc:hard", hub_split="dev")
    assert hub.asked == [("some/arc", "hard", "dev")]
    assert (found.name, found.scoring, found.source) == ("some/arc:hard", None, "some/arc:hard [dev]")


def test_unusable_rows_of_a_hub_data_set_are_left_out_aloud(hub):
    hub.rows.extend([MMLU, MMLU | {"choices": ["4", "4", "1", "0"]}])
    with pytest.warns(UserWarning, match=r"1 of 2 rows left out; the first: .*row 2: .*occur twice: \['4'\]"):
        found = questions("mmlu")
    assert (len(found), found.source) == (1, "cais/mmlu:all [test], 1 of 2 rows left out")
    hub.rows.pop(0)
    with pytest.raises(InputError, match=r"no row of cais/mmlu:all .* is usable; the first"):
        questions("mmlu")
    hub.rows.clear()
    with pytest.raises(InputError, match="has no rows"):
        questions("mmlu")


def test_no_network_and_an_uncached_name_says_both(hub):
    hub.rows.append(ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub"))
    message = r"^allenai/ai2_arc:ARC-Easy \[test\] is not in the cache of datasets \(/cache\) and cannot be"
    with pytest.raises(InputError, match=message):
        questions("arc_easy")
    hub.rows[0] = ValueError("BuilderConfig 'ARC-Easy' not found")
    with pytest.raises(InputError, match="cannot be loaded: BuilderConfig"):
        questions("arc_easy")


def test_without_the_package_the_command_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'decision-phases\[datasets\]'"):
        questions("arc_easy")
