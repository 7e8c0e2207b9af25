"""Ctrl-C leaves a usable folder, from which the same numbers come as from a run that was left alone."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import decision_phases.studies.run as study
from decision_phases.cli.job import illustrate
from decision_phases.report.folder import read_run
from decision_phases.report.payload import page_data

SMALL = ("--model", "tiny-llama", "--limit", "40", "--up-to", "2", "--draws", "2", "--threads", "1")


def summary_of(folder: Path) -> dict:
    return {**json.loads((folder / "summary.json").read_text()), "command": ""}


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, when: int = 0) -> None:
    """Ctrl-C, as if it were pressed at a call of a function of the job."""
    real, calls = getattr(study, name), []

    def stop(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) > when:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(study, name, stop)


def test_interrupted_while_pruning(type_in, small_run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, "prune_one", when=1)
        result = type_in("run", *SMALL, "--out", "cut off")
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr
    assert list(summary_of(Path("cut off"))["pruning"]) == ["margin"]
    assert json.loads(Path("cut off/manifest.json").read_text())["complete"] is False
    assert Path("cut off/report.html").is_file()
    assert str(Path("cut off/report.html")) in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("continue with: ")]
    words = shlex.split(line.removeprefix("continue with: "))
    assert words == ["decision-phases", "run", *SMALL, "--out", "cut off", "--resume"]
    again = type_in(*words[1:])
    assert again.exit_code == 0, again.output
    assert summary_of(Path("cut off")) == summary_of(small_run[0])


def test_a_folder_that_was_not_named_is_named(type_in, monkeypatch):
    interrupt(monkeypatch, "prune_one")
    result = type_in("run", *SMALL)
    (folder,) = Path("runs").iterdir()
    assert result.stderr.rstrip().endswith(f"--resume --out {folder}")


def test_interrupted_before_there_are_results(type_in, monkeypatch):
    interrupt(monkeypatch, "summarise")
    result = type_in("run", *SMALL, "--out", "early")
    assert result.exit_code == 130
    assert "there are no results yet" in result.stderr
    assert not Path("early/report.html").exists()


@pytest.mark.parametrize("command", ["run", "read"])
def test_interrupted_before_anything_is_written(command, type_in, monkeypatch):
    interrupt(monkeypatch, "choose_questions")
    result = type_in(command, "--model", "tiny-llama", "--out", "never")
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted")
    assert not Path("never").exists()


def test_reading_without_a_folder_says_that_nothing_is_kept(type_in, monkeypatch):
    interrupt(monkeypatch, "summarise")
    result = type_in("read", "--model", "tiny-llama", "--limit", 20)
    assert result.exit_code == 130
    assert "nothing was kept" in result.stderr
    assert list(Path().iterdir()) == []


PROGRAM = """
import time
import decision_phases.studies.run as study
from decision_phases.cli import main

prune_one = study.prune_one
study.prune_one = lambda setting, name, **how: time.sleep(600) if name == "random" else prune_one(setting, name, **how)
main(prog_name="decision-phases")
"""


def test_a_signal_while_the_program_runs(type_in, small_run, tmp_path):
    """Random cuts take for ever, so that it is still pruning when the signal comes."""
    out = tmp_path / "stopped"
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", *SMALL, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
        # Tests that a script runs in the background have been told to ignore it, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    ends = time.monotonic() + 240
    while not (out / "pruning" / "margin.json").exists():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=240)
    assert program.returncode == 130, said
    assert "Traceback" not in said
    assert "continue with: " in said
    assert (out / "report.html").is_file()
    assert "random" not in summary_of(out)["pruning"]
    assert type_in("run", *SMALL, "--out", out, "--resume").exit_code == 0
    assert summary_of(out) == summary_of(small_run[0])
    assert (out / "pruning.parquet").read_bytes() == (small_run[0] / "pruning.parquet").read_bytes()


def test_illustrating_is_possible_at_any_time(small_run):
    (small_run[0] / "report.html").unlink()
    illustrate(small_run[0])
    assert (small_run[0] / "report.html").is_file()


def test_the_table_tells_what_a_summary_written_before_it_does_not(small_run, tmp_path):
    """A signal may come after `pruning.parquet` is written and before `summary.json` is."""
    folder = tmp_path / "late"
    shutil.copytree(small_run[0], folder)
    told = page_data(read_run(folder))
    (folder / "summary.json").write_text(json.dumps({**summary_of(folder), "pruning": {}}))
    again = page_data(read_run(folder))
    assert told["curves"] == again["curves"] != []
    for path, other in zip(told["paths"], again["paths"], strict=True):
        for step, same in zip(path["steps"], other["steps"], strict=True):
            assert {**step, "cka_null": None} == {**same, "cka_null": None}
