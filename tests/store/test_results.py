"""A store gives back what it was given, whoever is killed, writes at once, or damages a file."""

import multiprocessing
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from decision_phases.errors import InputError, StorageError
from decision_phases.store import DamagedResultWarning, Packed, ResultStore
from decision_phases.store.arrays import pack_arrays, read_told, unpack_arrays


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.sampled_from([np.float64, np.float32, np.bool_]).flatmap(
            lambda kind: nps.arrays(kind, nps.array_shapes(min_dims=0, min_side=0, max_dims=3))
        ),
        max_size=3,
    )
)
def test_arrays_come_back_bit_by_bit(arrays):
    found = unpack_arrays(pack_arrays(arrays, {}))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array, equal_nan=array.dtype != bool)


def test_what_would_not_come_back_is_refused():
    with pytest.raises(InputError, match="'a' is float16; a store keeps bool, int64"):
        pack_arrays({"a": np.zeros(2, np.float16)}, {})
    with pytest.raises(InputError, match=r"beyond 2\*\*53"):
        pack_arrays({"a": np.array([2**53 + 1])}, {})
    with pytest.raises(InputError, match="no Parquet file"):
        read_told(b"PAR1 nothing")


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "store")


SCORES = Packed({"accuracy": 0.5}, {"scores": np.arange(6.0).reshape(2, 3)})


def put(store, variant="cut", packed=SCORES, study="one"):
    key = store.study({"model": study, "note": "for people"})
    store.put(key, variant, packed, what="skip 3", threads=1)
    return key


def test_results_are_found_by_another_process(store):
    key = put(store)
    again = ResultStore(store.folder)
    found = again.get(key, "cut")
    assert found is not None
    assert found.scalars == {"accuracy": 0.5}
    np.testing.assert_array_equal(found.arrays["scores"], SCORES.arrays["scores"])
    assert again.get(key, "other") is None
    row = again.to_pandas().iloc[0]
    assert (row["what"], row["threads"], row["accuracy"]) == ("skip 3", 1, 0.5)


def test_notes_do_not_tell_studies_apart_and_everything_else_does(store):
    assert store.study({"a": 1, "note": "x"}) == store.study({"note": {"y": 2}, "a": 1})
    assert store.study({"a": 1}) != store.study({"a": 2})


def test_the_first_of_two_results_stays_and_no_file_is_left_over(store):
    key = put(store)
    put(store, packed=Packed({"accuracy": 0.9}, {"scores": np.zeros(2)}))
    assert len(store) == 1
    assert store.get(key, "cut").scalars == {"accuracy": 0.5}
    assert len(list(store.folder.glob("arrays/*/*.parquet"))) == 1


@pytest.mark.parametrize("harm", ["change", "cut short", "remove"])
def test_a_damaged_file_is_put_aside_noted_and_warned_of(store, harm):
    key = put(store)
    (path,) = store.folder.glob("arrays/*/*.parquet")
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if harm == "cut short" else content[:40] + b"!" + content[41:])
    with pytest.warns(DamagedResultWarning, match="computed anew"):
        assert store.get(key, "cut") is None
    assert store.get(key, "cut") is None
    assert store.damaged()["variant"].tolist() == ["cut"]
    assert len(list(store.folder.glob("quarantine/*"))) == (harm != "remove")
    put(store)
    assert store.get(key, "cut") is not None


def test_a_damaged_index_is_refused_and_made_again_from_the_files(store):
    key = put(store)
    put(store, "another")
    store.close()
    path = store.folder / "index.sqlite"
    path.write_bytes(b"this is no database" * 300)
    with pytest.raises(InputError, match=r"is damaged .*Move it away"):
        ResultStore(store.folder)
    path.unlink()
    (bad,) = store.folder.glob("arrays/*/another*.parquet")
    bad.write_bytes(b"nothing")
    with pytest.warns(DamagedResultWarning, match="cannot be read"):
        again = ResultStore(store.folder)
    assert len(again) == 1
    assert again.get(key, "cut").scalars == {"accuracy": 0.5}
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT COUNT(*) FROM study").fetchone() == (1,)


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot hold results"):
        ResultStore(tmp_path / "file")


def _write(folder, first):
    store = ResultStore(folder)
    for i in range(first, first + 30):
        put(store, f"cut {i}", Packed({"i": i}, {"scores": np.full(3, float(i))}))


def test_a_full_disk_is_said_and_what_was_written_is_found(store):
    key = put(store)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")

    def fill():
        for number in range(200):
            store.put(key, str(number), SCORES, what="and so on " * 100, threads=1)

    with pytest.raises(StorageError, match=r"index\.sqlite cannot be written: .*full"):
        fill()
    assert store.get(key, "cut") is not None


def test_two_processes_write_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_write, args=(tmp_path / "store", first)) for first in (0, 15)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = ResultStore(tmp_path / "store")
    key = store.study({"model": "one"})
    assert len(store) == 45
    assert [store.get(key, f"cut {i}").scalars["i"] for i in range(45)] == list(range(45))
    assert len(list(store.folder.glob("arrays/*/*.parquet"))) == 45


def test_a_process_inherits_no_connection(store):
    key = put(store)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: put(store, "from the child"))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert store.get(key, "from the child") is not None
