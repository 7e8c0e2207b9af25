"""What is on disk is either the old file or the new one, and a run is never mixed with another."""

import json
import os
from dataclasses import replace

import pandas as pd
import pytest
from safetensors import SafetensorError

from decision_phases.errors import InputError, StorageError
from decision_phases.store import (
    Manifest,
    new_folder,
    read_json,
    resume_folder,
    versions,
    write_json,
    write_table,
)
from decision_phases.writing import replacing

NAN = float("nan")


def test_json_comes_back_as_it_went(tmp_path):
    content = {"a": [1, 0.1 + 0.2, None, "ü − ×"], "b": {"c": True}}
    path = write_json(tmp_path / "deep" / "er" / "x.json", content)
    assert read_json(path) == content
    assert path.read_text(encoding="utf-8").endswith("\n")
    assert "ü − ×" in path.read_text(encoding="utf-8")


def write_and_raise(path, error):
    with replacing(path) as work:
        work.write_text("half")
        raise error


def test_an_exception_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(RuntimeError, match="half"):
        write_and_raise(path, RuntimeError("half"))
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_and_leaves_the_old_file(error, tmp_path):
    path = write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(StorageError, match=r"x\.json cannot be written: .*No space left on device"):
        write_and_raise(path, error)
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"x\.json cannot be written: (Not a directory|File exists)"):
        write_json(tmp_path / "file" / "x.json", {})


def test_an_interrupt_while_writing_leaves_no_new_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(tmp_path / "new.parquet", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_the_name_appears_only_when_the_file_is_complete(tmp_path):
    path = tmp_path / "x.json"
    with replacing(path) as work:
        work.write_text("{}")
        assert not path.exists()
        assert work.parent == path.parent  # the same file system, so that moving is atomic
    assert path.exists()
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_what_json_does_not_know_is_refused_and_nothing_is_written(tmp_path, value):
    path = write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"margin": [value]})
    assert read_json(path) == {"old": 1}


def test_missing_and_damaged_json_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"bad\.json is damaged"):
        read_json(tmp_path / "bad.json")


def test_tables_come_back_as_they_went(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": [[0.1, None], [1.0]], "c": ["x", None]})
    path = write_table(tmp_path / "t.parquet", table)
    back = pd.read_parquet(path)
    assert back["a"].tolist() == [1, 2]
    assert len(back["b"][1]) == 1
    assert list(back) == ["a", "b", "c"]


def test_a_new_folder_is_empty_and_made_with_its_parents(tmp_path):
    given = tmp_path / "a" / "b"
    assert new_folder(given, "x") == given
    assert given.is_dir()
    assert new_folder(given, "x") == given  # still empty


def test_a_folder_with_anything_in_it_is_refused(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(InputError, match=r"exists and is not empty.*--resume"):
        new_folder(tmp_path, "x")
    with pytest.raises(InputError, match="is a file"):
        new_folder(tmp_path / "precious", "x")
    with pytest.raises(InputError, match="cannot be made"):
        new_folder(tmp_path / "precious" / "below", "x")
    assert (tmp_path / "precious").read_text() == "mine"


def test_the_default_folder_is_named_by_time_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = new_folder(None, "org/some model:1")
    assert made.parent.name == "runs"
    assert made.name.endswith("-org-some-model-1")
    assert made.name[:8].isdigit()


def test_the_newest_run_is_resumed_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no run to resume under runs/"):
        resume_folder(None)
    for name, age in (("20250101-a", 50), ("20240101-b", 10)):
        path = tmp_path / "runs" / name / "manifest.json"
        write_json(path, {})
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    assert resume_folder(None).name == "20240101-b"


def test_a_folder_without_a_run_is_not_resumed(tmp_path):
    with pytest.raises(InputError, match=r"no run to resume in .*manifest\.json"):
        resume_folder(tmp_path)
    write_json(tmp_path / "manifest.json", {})
    assert resume_folder(tmp_path) == tmp_path


@pytest.fixture
def manifest():
    return Manifest.begin({"up_to": 6, "split": 0.4}, "weights", "questions", seed=3, threads=1)


def test_a_manifest_says_who_ran_what(tmp_path, manifest):
    manifest.after(1.26, complete=True).write(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["arguments"] == {"up_to": 6, "split": 0.4}
    assert (content["seed"], content["threads"], content["seconds"]) == (3, 1, 1.3)
    assert content["complete"] is True
    assert content["started"].endswith("+00:00")
    assert content["versions"] == versions()
    assert {"python", "torch", "transformer-lens"} <= set(content["versions"])


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("decision_phases.store.manifest._PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"


def test_the_same_run_resumes_with_its_start_and_time(tmp_path, manifest):
    replace(manifest, started="2025-01-01T00:00:00+00:00", seconds=41.5).write(tmp_path)
    again = manifest.check_resumes(tmp_path)
    assert (again.started, again.seconds) == ("2025-01-01T00:00:00+00:00", 41.5)
    assert again.arguments == manifest.arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_fingerprint": "other"}, "another model fingerprint"),
        ({"question_hash": "other"}, "another question hash"),
        ({"arguments": {"up_to": 5, "split": 0.4}}, r"other arguments: up_to \(6 then, 5 now\);"),
        ({"arguments": {"split": None}}, r"split \(0\.4 then, None now\), up_to \(6 then, None now\)"),
        ({"arguments": {"up_to": 6, "split": 0.4, "new": 1}}, r"new \(None then, 1 now\)"),
        ({"versions": {**versions(), "torch": "0.1"}}, r"other versions: torch \(.* then, 0\.1 now\)"),
    ],
)
def test_another_run_is_not_resumed_and_what_differs_is_named(tmp_path, manifest, changes, message):
    manifest.write(tmp_path)
    with pytest.raises(InputError, match=message):
        replace(manifest, **changes).check_resumes(tmp_path)
