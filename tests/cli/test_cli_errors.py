"""What cannot be used is refused in one clear message, before a model is loaded wherever that can be."""

import json
from pathlib import Path

import pytest

import decision_phases.models

ROW = {"question": "Which animal says moo?", "options": ["cow", "cat"], "answer": 0}


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model is a failure."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(decision_phases.models, "load", refuse)


BEFORE_LOADING = {
    "run --scoring leter": "did you mean 'letter'",
    "run --template q_b": "did you mean 'q_a'",
    "run --questions fact": "did you mean 'facts'",
    "run --questions gone.jsonl": "no such file",
    "run --questions empty.jsonl": "empty",
    "run --questions broken.jsonl": "line 2",
    "run --questions one.jsonl": "at least two",
    "run --questions mine.jsonl": "give --scoring, one of letter, first_token",
    "run --questions mine.jsonl --scoring cloze": "leaves an empty part",
    "run --limit 2 --shots 3": "shots",
    "run --limit none": "it can also be 'all'",
    "run --limit 0": "--limit",
    "run --split 0": "--split",
    "run --split 1": "it can also be 'none'",
    "run --split half": "--split",
    "run --limit 3 --split 0.1": "leaves an empty part",
    "run --up-to 0": "--up-to",
    "run --up-to 0%": "--up-to",
    "run --up-to some": "--up-to",
    "run --draws 0": "--draws",
    "run --shots -1": "--shots",
    "run --seed -1": "--seed",
    "run --threads 0": "--threads",
    "run --protect x": "--protect: 'x' is not a layer",
    "run --screen bfloat8": "did you mean 'bfloat16'",
    "run --skip 5": "pruning starts from the intact model",
    "run --skip 5,5": "5",
    "read --skip 8-5": "--skip: the range 8-5 runs backwards",
    "read --skip 3 --skip-mlp 3": "3",
    "read --sparsify wanda:0.5": "give texts='pydoc', say, or use magnitude",
    "read --sparsify wandda:0.5 --texts pydoc": "did you mean 'wanda'",
    "read --sparsify wanda --texts pydoc": "write METHOD:AMOUNT, such as wanda:0.5",
    "read --sparsify magnitude:1.5": "a sparsity of 1.5 is no share",
    "read --resume": "--resume needs --out",
    "run --resume": "there is no run to resume",
    "run --resume --out nowhere": "there is no run to resume in nowhere",
    "run --out full": "full exists and is not empty",
    "read --out full": "full exists and is not empty",
    "prune --out mine.jsonl": "mine.jsonl is a file",
    "prune --by margins": "did you mean 'margin'",
    "prune --by ,": "names no strategy",
    "prune --by kl --search iterativ": "did you mean 'iterative'",
    "compare --by sleb:swaps --search beam": "would change nothing",
    "prune --objective marging": "did you mean 'margin'",
    "prune --by perplexity:beam": "needs texts",
    "compare --by block_influence:beam": "ranks single units",
    "compare --splits 2 --split none": "splits=2 with split=None",
    "compare --timing 128": "is no shape",
    "compare --evaluate perplexity": "needs texts",
    "compare --width 0": "--width",
    "run --modle x": "--model",
    "runn": "run",
    "questions fact": "did you mean 'facts'",
    "questions mine.jsonl --scoring leter --check": "did you mean 'letter'",
    "questions --check": "--check needs",
}


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Files that are in order and files that are not."""
    (tmp_path / "mine.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text(json.dumps(ROW) + "\n{")
    (tmp_path / "one.jsonl").write_text(json.dumps({**ROW, "options": ["cow"]}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()


@pytest.mark.usefixtures("no_model", "files")
@pytest.mark.parametrize("command", BEFORE_LOADING)
def test_refused_before_a_model_is_loaded(command, type_in, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = type_in(*command.split())
    assert result.exit_code == 2, result.output
    assert BEFORE_LOADING[command] in result.stderr
    assert "Traceback" not in result.stderr
    assert "rror: " in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


WITH_THE_MODEL = {
    "read --skip 6": "layers 0..5",
    "read --skip 0-5": "removes every one of the 6 layers",
    "read --skip-mlp 9": "layers 0..5",
    "read --sparsify magnitude:3:5": "which 5 does not divide",
    "read --sparsify wanda:0.5 --texts pydog": "did you mean 'pydoc'",
    "run --up-to 5": "up_to can be 1..4",
    "run --up-to 90%": "90% of the parameters cannot be removed",
    "compare --by cosine_mlp --up-to 5": "5 MLPs cannot be removed",
    "compare --timing 1x9999": "cannot be timed",
    "run --protect 9": "layers 0..5",
    "run --device gpu": "gpu",
    "run --dtype float": "float",
    "run --backend bridges": "did you mean 'bridge'",
    "run --cluster auto": "without --workers",
    "read --questions long.jsonl --scoring cloze": "tokens long",
    "read --questions same.jsonl --scoring first_token": "share the first token",
}


@pytest.mark.parametrize("command", WITH_THE_MODEL)
def test_refused_with_the_model_and_no_folder_left(command, type_in):
    Path("long.jsonl").write_text(json.dumps({**ROW, "question": "cow " * 600}))
    Path("same.jsonl").write_text(json.dumps({**ROW, "options": ["cow milk", "cow grass"]}))
    result = type_in(*command.split(), "--model", "tiny-llama", "--out", "made")
    assert result.exit_code == 2, result.output
    assert WITH_THE_MODEL[command] in result.stderr
    assert "error: " in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("made").exists()


@pytest.mark.parametrize("name", ["tiny-lama", "tiny", "./nowhere"])
def test_a_model_that_is_not_there(name, type_in):
    result = type_in("models", name)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("no_model")
def test_debug_shows_the_traceback(type_in):
    result = type_in("run", "--scoring", "leter", "--debug")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "error: unknown scoring" in result.stderr


@pytest.mark.usefixtures("no_model")
def test_what_is_not_expected_keeps_its_traceback(type_in):
    result = type_in("run", "--out", "made")
    assert result.exit_code == 1
    assert isinstance(result.exception, AssertionError)
    assert not Path("made").exists()


def test_an_empty_folder_is_used_and_kept(type_in):
    Path("mine").mkdir()
    refused = type_in("read", "--model", "tiny-llama", "--skip", 9, "--out", "mine")
    assert refused.exit_code == 2
    assert Path("mine").is_dir()
    done = type_in("read", "--model", "tiny-llama", "--limit", 20, "--out", "mine")
    assert done.exit_code == 0, done.output
