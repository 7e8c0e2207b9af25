"""The specification curve: what every single analysis gives, from one run, and an honest account of them all."""

from dataclasses import replace

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, insert, skip
from decision_phases.lenses import SpecificationCurve, specification, specification_curve, tuned_lens
from decision_phases.lenses.specification import specifications_of
from decision_phases.lenses.specifications import Specification
from decision_phases.readout import find_phases, read
from decision_phases.readout.phases import Detection
from decision_phases.store import ResultStore
from decision_phases.tasks import questions

FEW = {"n_boot": 100, "n_perm": 100}


def test_a_planted_transition_is_where_every_lens_must_see_it(reader, reading):
    curve = specification_curve(reader, reading, last=2, **FEW)
    table = curve.to_pandas()
    assert len(table) == 32
    assert curve.share_found == 1.0
    # The letter is spoken by block 4; the last two blocks speak what is bound at layer 3.
    assert set(table.loc[table["lens"] == "logit", "layer"]) == {4}
    assert set(table.loc[table["lens"] == "last_blocks:2", "layer"]) == {3}
    assert curve.range == (3, 4)
    assert curve.median == 3
    assert curve.middle_half == (3, 4)
    assert "100% find one, between layers 3 and 4 of 6" in str(curve)


def test_every_row_is_what_the_analysis_by_itself_finds(reader, reading):
    curve = specification_curve(reader, reading, **FEW)
    rows = {(s.lens, s.detector, s.normalisation): s for s in curve}
    for lens in ("logit", "last_blocks"):
        decisions = read(reader, reading, lens=lens)
        phases = find_phases(decisions, **FEW)
        for name, detector, normalisation in (
            ("zero_crossing", "zero_crossing", "margin"),
            ("change_point", "change_point", "excess_margin"),
            ("change_point_margin", "change_point", "margin"),
            ("max_jump", "max_jump", "margin"),
            ("commitment", "commitment", "choice"),
        ):
            (own,) = [d for d in phases.detections if d.name == name]
            found = rows[decisions.lens, detector, normalisation]
            assert replace(found.detection, name=name, curve=own.curve) == own
            assert found.found == phases.found
    assert [vars(s) for s in specifications_of(read(reader, reading), **FEW)] == [
        vars(s) for s in curve if s.lens == "logit"
    ]


def test_one_run_serves_all_lenses_and_is_kept(tiny, tmp_path, monkeypatch):
    few = questions("facts").limit(12)
    lens = tuned_lens(tiny, limit=8, steps=0)
    calls = []
    made = specification.evaluate
    monkeypatch.setattr(
        specification, "evaluate", lambda *given, **named: (calls.append(given), made(*given, **named))[1]
    )
    store = ResultStore(tmp_path)
    curve = specification_curve(tiny, few, tuned=lens, store=store, **FEW)
    assert len(calls) == 1
    assert set(curve.to_pandas()["lens"]) == {"logit", "last_blocks:2", lens.name}
    size = len(store)
    again = specification_curve(tiny, few, tuned=lens, store=store, **FEW)
    assert len(store) == size
    assert again.to_pandas().equals(curve.to_pandas())
    for decisions in (read(tiny, few), read(tiny, few, lens=lens), read(tiny, few, lens="last_blocks")):
        own = [vars(s) for s in curve if s.lens == decisions.lens]
        assert [vars(s) for s in specifications_of(decisions, **FEW)] == own


def test_pruned_models_with_a_map_at_the_end(tiny):
    few = questions("facts").limit(8)
    under = skip(2, 5) + insert(5, -np.eye(32))
    curve = specification_curve(tiny, few, under=under, **FEW)
    own = read(tiny, few, under=under, lens="last_blocks")
    assert [vars(s) for s in curve if s.lens == own.lens] == [vars(s) for s in specifications_of(own, **FEW)]
    assert f"under {under}" in str(curve)


def planted(layers):
    found = [
        Specification(
            f"lens {i % 2}", "zero_crossing", "margin",
            Detection("zero_crossing", "margin", layer, None if layer is None else (layer - 1, layer + 1), 0.9),
            informed=i != 3, risen=True,
        )
        for i, layer in enumerate(layers)
    ]  # fmt: skip
    return SpecificationCurve(tuple(found), "m", "q", 10, "letter", Intervention(), 12, 0.95, 0)


def test_disagreement_is_told_as_it_is():
    curve = planted([3, 9, None, 5, 4])
    assert [s.outcome for s in curve] == [
        "transition", "transition", "not located", "no transition", "transition",
    ]  # fmt: skip
    assert curve.share_found == 0.6
    assert curve.range == (3, 9)
    assert curve.median == 4
    table = curve.to_pandas()
    assert table["layer"].isna().tolist() == [False, False, True, True, False]
    assert table["located"].tolist()[3] == 5
    by = curve.by_choice().set_index("value")
    assert by.loc["lens 0", "found"] == pytest.approx(2 / 3)
    assert by.loc["lens 0", ["earliest", "latest"]].tolist() == [3, 4]
    none = planted([None, None])
    assert (none.share_found, none.range, none.median, none.middle_half) == (0.0, None, None, None)
    assert str(none).endswith("0% find one.")
    none.plot()


def test_the_figure_shows_estimates_in_order_and_all_choices():
    above, below = planted([9, 3, None, 5, 4]).plot().axes
    (dots,) = [line for line in above.lines if line.get_marker() == "o"]
    assert dots.get_ydata().tolist() == [3, 4, 9]
    names = [label.get_text() for label in below.get_yticklabels()]
    assert names == ["lens 1", "lens 0", "zero_crossing", "margin"]
    assert [text.get_text() for text in above.texts] == ["none found"]


def test_no_transition_without_evidence(tiny):
    curve = specification_curve(tiny, questions("facts").limit(40), **FEW)
    assert curve.share_found == 0.0
    assert curve.to_pandas()["located"].notna().any()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"under": skip(*range(6))}, "every layer is removed"),
        ({"last": 6}, "last=6 is out of range"),
        ({"under": skip(7)}, "out of range"),
    ],
)
def test_bad_input_is_refused(settings, text, tiny):
    with pytest.raises(InputError, match=text):
        specification_curve(tiny, questions("facts").limit(4), **settings)


def test_a_lens_of_another_model_is_refused(tiny, reader, reading):
    with pytest.raises(InputError, match="the lens was fitted on"):
        specification_curve(reader, reading, tuned=tuned_lens(tiny, limit=8, steps=0))
