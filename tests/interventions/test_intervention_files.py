"""Interventions as JSON and as files."""

import json
import re

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from decision_phases.errors import InputError, StorageError
from decision_phases.interventions import (
    Array,
    Bottleneck,
    Edit,
    Intervention,
    LowRank,
    insert,
    mean,
    noise,
    patch,
    resample,
    scale,
    skip,
    steer,
    weights,
    zero,
)

RNG = np.random.default_rng(0)
PARTS = tuple(Array.of(RNG.normal(size=shape), "part") for shape in ((4, 2), (2,), (2, 4), (4,)))
EVERYTHING = (
    skip(5, 8)
    + skip(20, part="mlp")
    + insert(5, RNG.normal(size=(4, 4)))
    + insert(6, RNG.normal(size=(4, 4)).astype(np.float32), RNG.normal(size=4))
    + zero("head_out", 1, head=3, positions="option:2")
    + mean("mlp_out", 2, RNG.normal(size=4).astype(np.float16))
    + patch("resid_post", 12, RNG.normal(size=(2, 4)))
    + patch("resid_pre", 13, [RNG.normal(size=(3, 4)), RNG.normal(size=(5, 4))], positions="all")
    + resample("attn_out", 14, RNG.normal(size=(9, 4)), seed=2**63)
    + steer("resid_mid", 15, RNG.normal(size=4), 0.1)
    + scale("mlp_out", 16, 0.1 + 0.2)
    + noise(17, 0.02, seed=7)
    + Intervention((Edit("map", "resid_post", 19, value=Bottleneck(*PARTS)),))
    + weights(
        18,
        {
            "mlp.w": RNG.normal(size=(2, 3, 4)),
            "mlp.b": np.array([True, False]),
            "mlp.c": LowRank(*PARTS[::2]),
        },
    )
)


def edited(**changes):
    """The JSON of a cut with one thing changed in its first edit."""
    document = json.loads(skip(5).to_json())
    document["edits"][0] |= changes
    return json.dumps(document)


def one_by_one():
    return [Intervention((edit,)) for edit in EVERYTHING]


def test_everything_survives_json():
    text = EVERYTHING.to_json()
    again = Intervention.from_json(text, EVERYTHING.arrays())
    assert again == EVERYTHING
    assert (again.key, again.to_json()) == (EVERYTHING.key, text)
    assert [edit.label for edit in again] == [edit.label for edit in EVERYTHING]


def test_everything_survives_files(tmp_path):
    EVERYTHING.save(tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "arrays.safetensors",
        "intervention.json",
    ]
    again = Intervention.load(tmp_path / "new" / "folder")
    assert again == EVERYTHING
    for name, array in EVERYTHING.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
        assert again.arrays()[name].dtype == array.dtype


@pytest.mark.parametrize("one", one_by_one(), ids=str)
def test_every_kind_of_edit_survives_json(one):
    assert Intervention.from_json(one.to_json(), one.arrays()) == one


def test_a_cut_is_plain_json_without_a_sidecar(tmp_path):
    skip(5).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["intervention.json"]
    assert json.loads((tmp_path / "intervention.json").read_text()) == {
        "format": "decision_phases.intervention",
        "version": 1,
        "edits": [
            {
                "op": "skip",
                "site": "block",
                "layer": 5,
                "head": None,
                "positions": "all",
                "value": None,
                "seed": None,
                "label": "",
            }
        ],
    }


def test_equal_arrays_are_kept_once():
    vector = np.ones(4)
    assert len((mean("mlp_out", 1, vector) + mean("mlp_out", 2, vector)).arrays()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the intervention is not JSON: "),
        ("[]", "the intervention must be a JSON object, but it is a list."),
        (
            '{"format": "x", "version": 1}',
            "the intervention has no keys ['edits']; it must have exactly: format",
        ),
        (
            '{"format": "x", "version": 1, "edits": []}',
            "the intervention has the format 'x', version 1; this release reads 'decision_phases.",
        ),
        (
            '{"format": "decision_phases.intervention", "version": 2, "edits": []}',
            "the intervention has the format 'decision_phases.intervention', version 2; this release reads",
        ),
        (
            '{"format": "decision_phases.intervention", "version": 1, "edits": {}}',
            "the edits must be a list, but they are {}.",
        ),
        (edited(colour="red"), "edit 0 has unknown keys ['colour']; it must have exactly: op, site, layer,"),
        (edited(layer=-1), "layer -1 is negative"),
        (edited(layer="5"), "layer '5' is not an integer"),
        (
            edited(value="x"),
            "the value of edit 0 is 'x'; it must be null, a number, or of a kind: array, per_question",
        ),
        (edited(value=True), "the value of edit 0 is True; it must be null, a number, or of a kind: array"),
        (edited(value={"kind": "pickle"}), "it must be null, a number, or of a kind: array, per_question"),
        (
            edited(value={"kind": "noise", "variance": 1.0, "relative_to": "absolute", "extra": 1}),
            "the value of edit 0 has unknown keys ['extra']; it must have exactly: kind, variance, relat",
        ),
        (
            edited(value={"kind": "array", "hash": "0"}),
            "the value of edit 0 refers to the array '0', which is not in arrays.safetensors.",
        ),
        (edited(value={"kind": "per_question", "rows": [], "lengths": None}), "edit 0 is malformed: "),
    ],
)
def test_malformed_json_is_refused(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Intervention.from_json(text)


def test_two_conflicting_edits_in_a_file_are_refused():
    document = json.loads(skip(5).to_json())
    document["edits"] *= 2
    with pytest.raises(InputError, match="layer 5 is removed twice"):
        Intervention.from_json(json.dumps(document))


def test_a_changed_array_is_refused(tmp_path):
    steer("resid_post", 3, np.ones(4)).save(tmp_path)
    ((name, array),) = load_file(tmp_path / "arrays.safetensors").items()
    save_file({name: array * 2}, tmp_path / "arrays.safetensors")
    message = (
        f"the array {name!r} in arrays.safetensors has another content than its name says; it was changed."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        Intervention.load(tmp_path)


def test_a_missing_or_broken_sidecar_is_refused(tmp_path):
    steer("resid_post", 3, np.ones(4)).save(tmp_path)
    (tmp_path / "arrays.safetensors").write_bytes(b"no such thing")
    with pytest.raises(InputError, match=r"arrays\.safetensors is not a safetensors file"):
        Intervention.load(tmp_path)
    (tmp_path / "arrays.safetensors").unlink()
    with pytest.raises(InputError, match=r"which is not in arrays\.safetensors"):
        Intervention.load(tmp_path)


def test_nothing_is_overwritten(tmp_path):
    skip(5).save(tmp_path)
    with pytest.raises(InputError, match=r"there is an intervention in .* already; choose another folder"):
        skip(6).save(tmp_path)
    assert Intervention.load(tmp_path) == skip(5)


def test_an_empty_folder_is_no_intervention(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*intervention\.json; give the folder"):
        Intervention.load(tmp_path)


def test_a_full_disk_leaves_no_half_of_an_intervention(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("decision_phases.interventions.serialise.save_file", full)
    with pytest.raises(StorageError, match=r"arrays\.safetensors cannot be written: .*No space left"):
        insert(2, np.eye(4)).save(tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []
