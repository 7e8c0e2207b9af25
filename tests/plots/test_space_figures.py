"""Panels of lines by layer: what is drawn is what was given."""

import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.plots import SpaceCurve, SpacePanel, space_panels

VALUE = np.array([0.0, 0.1, np.nan, 0.3, 0.2])


def curve(name="h", value=VALUE):
    return SpaceCurve(name, value, value * 0.9, value * 1.1)


def test_lines_bands_and_edits_are_where_they_belong():
    figure = space_panels(
        [SpacePanel("one", (curve(), curve("p", 2 * VALUE))), SpacePanel("two", (curve(),), level=1.0)],
        n_layers=5,
        edited=(2, 3),
        title="a cut",
    )
    above, below = figure.axes
    drawn = [line.get_ydata() for line in above.lines if len(line.get_xdata()) == 5]
    shown = np.where(VALUE > 0, VALUE, np.nan)  # what is zero has no place on a logarithmic scale
    np.testing.assert_array_equal(drawn, [shown, 2 * shown])
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["h", "p"]
    assert [(p.get_x(), p.get_width()) for p in above.patches] == [(1.5, 1.0), (2.5, 1.0)]
    assert [line.get_ydata()[0] for line in below.lines if len(line.get_xdata()) == 2] == [1.0]
    assert (above.get_yscale(), above.get_ylabel(), below.get_ylabel()) == ("log", "one", "two")
    assert figure.get_suptitle() == "a cut"
    alone = above.collections[1].get_segments()  # layer 1 has no neighbour, so its interval is a line
    np.testing.assert_allclose(alone, [[[1, 0.09], [1, 0.11]]])


def test_labels_of_the_scale_are_numbers():
    figure = space_panels([SpacePanel("one", (curve(),))], n_layers=5)
    figure.draw_without_rendering()
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels
    assert all(float(label) > 0 for label in labels if label)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(InputError, match="at least one panel"):
        space_panels([], n_layers=5)
