"""Random cuts of each phase: drawn as promised, measured once each, compared in pairs."""

import numpy as np
import pytest

from decision_phases.interventions import skip
from decision_phases.models import load
from decision_phases.readout import ask, read
from decision_phases.readout.phases import locate
from decision_phases.stats import paired_difference
from decision_phases.studies.targeted import Cell, plan_cells, run_targeted
from decision_phases.tasks import questions


@pytest.fixture(scope="module")
def phases():
    """Twenty layers, of which the last five know the answer."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 20, 4)) * 0.1
    gold = rng.integers(4, size=60)
    scores[np.arange(60), 15:, gold] += 3.0
    found = locate(scores, gold, seed=0)
    assert found.found
    assert found.transition == 15
    return found


def test_cuts_are_distinct_of_one_size_inside_their_region_and_without_what_is_excluded(phases):
    cells, reasons = plan_cells(
        phases, exclusions={"none": (), "edges": (0, 1, 2, 15)}, sizes=(1, 3, 5), draws=6
    )
    regions = {"silent": range(15), "decisive": range(15, 20), "anywhere": range(20)}
    for cell in cells:
        assert len(set(cell.cuts)) == len(cell.cuts) <= 10
        for cut in cell.cuts:
            assert len(cut) == cell.size == len(set(cut))
            assert set(cut) <= set(regions[cell.region])
            assert list(cut) == sorted(cut)
            if cell.shape == "contiguous":
                assert cut[-1] - cut[0] == cell.size - 1
            if cell.exclude == "edges":
                assert not set(cut) & {0, 1, 2, 15}
    names = {cell.name: cell for cell in cells}
    assert names["none-decisive-contiguous-3"].cuts == ((15, 16, 17), (16, 17, 18), (17, 18, 19))
    assert names["none-decisive-contiguous-3"].exhaustive
    assert not names["none-silent-scattered-3"].exhaustive
    assert reasons == {"edges, 5 blocks": "not testable: the smaller phase has 4 blocks"}


def test_too_small_a_phase_is_not_testable(phases):
    cells, reasons = plan_cells(phases, exclusions={"edges": (15, 16, 17)})
    assert cells == ()
    assert "the smaller phase has 2 blocks left, 3 are needed" in reasons["edges"]


def test_numbers_are_those_of_reading_each_cut(phases, tmp_path):
    model = load("tiny-llama", quiet=True)
    encoded = ask(model, questions("facts", limit=40))
    cells = [
        Cell(region, "scattered", 1, "none", cuts, exhaustive=True)
        for region, cuts in {"silent": ((1,), (2,)), "decisive": ((4,),), "anywhere": ((1,), (4,))}.items()
    ]
    found = run_targeted(model, encoded, phases, cells, not_testable={}, store=tmp_path, progress=False)
    right = {layer: read(model, encoded, under=skip(layer)).final.correct for layer in (1, 2, 4)}
    np.testing.assert_array_equal(found.correct["none-silent-scattered-1"], [right[1], right[2]])
    np.testing.assert_array_equal(found.intact, read(model, encoded).final.correct)
    table = found.to_pandas().set_index("region")
    assert table.loc["silent", "accuracy"] == pytest.approx((right[1].mean() + right[2].mean()) / 2)
    row = found.compare().set_index("comparison").loc["decisive - silent"]
    known = paired_difference(right[4].astype(float), (right[1] + right[2].astype(float)) / 2, seed=0)
    assert row["difference"] == pytest.approx(known.difference)
    assert row["p_holm"] >= row["p_value"]
