"""What the figures draw is what they were given."""

import matplotlib as mpl
import matplotlib.colors
import numpy as np
import pytest

from decision_phases.errors import InputError
from decision_phases.plots import (
    Curve,
    margin_by_layer,
    option_frequency,
    pruning_curves,
    save_figure,
    transition_path,
)
from decision_phases.plots.style import LIGHT

N_LAYERS = 8
MARGIN = np.array([-0.4, -0.5, -0.4, -0.3, -0.3, 0.2, 0.6, 0.7])
ACCURACY = np.linspace(0.2, 0.9, N_LAYERS)


def band(values, width=0.1):
    return np.stack([values - width, values + width], axis=1)


def margin_figure(**changes):
    return margin_by_layer(MARGIN, band(MARGIN), ACCURACY, band(ACCURACY), **{"chance": 0.25, **changes})


def curve(name, values, **changes):
    values = np.asarray(values, dtype=float)
    return Curve(name, np.arange(values.size), values, values - 0.1, values + 0.1, **changes)


def lines(axes):
    return [line.get_ydata() for line in axes.lines if len(line.get_xdata()) > 2]


def words(figure):
    """Every text of a figure that is neither empty nor hidden."""
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]


def test_margin_and_accuracy_are_drawn_in_their_own_panels():
    above, below = margin_figure(transition=5, transition_ci=(4.0, 6.0)).axes
    np.testing.assert_array_equal(lines(above)[0], MARGIN)
    np.testing.assert_array_equal(lines(below)[0], ACCURACY)
    assert above.get_xlim() == below.get_xlim() == (-0.5, N_LAYERS - 0.5)


def test_boundary_lies_between_the_phases_and_they_are_named():
    figure = margin_figure(transition=5, transition_ci=(4.0, 6.0))
    above = figure.axes[0]
    boundary = [line.get_xdata()[0] for line in above.lines if np.ptp(line.get_xdata()) == 0]
    assert boundary == [4.5]
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in above.patches]
    assert spans == [(-0.5, 4.5), (4.5, 7.5), (3.5, 5.5)]
    assert {"Silent Phase, layers 0–4", "Decisive Phase, 5–7"} <= set(words(figure))


def test_without_a_transition_nothing_is_shaded():
    figure = margin_figure()
    assert not figure.axes[0].patches
    assert "no transition found" in words(figure)


def test_transition_at_the_first_layer_leaves_no_silent_phase():
    assert not [word for word in words(margin_figure(transition=0)) if "Silent" in word]


def test_removed_layers_leave_a_gap():
    holed = MARGIN.copy()
    holed[3] = np.nan
    figure = margin_by_layer(holed, band(holed), ACCURACY, band(ACCURACY), chance=0.25)
    assert np.isnan(lines(figure.axes[0])[0][3])


def test_frequency_cells_hold_the_shares_and_gold_stands_beside():
    shares = np.array([[1.0, 0.0], [0.25, 0.75], [np.nan, np.nan]])
    figure = option_frequency(shares, np.array([0.4, 0.6]), ["red", "blue"], transition=1)
    cells = figure.axes[0].collections[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(cells, np.nan), shares.T)
    np.testing.assert_array_equal(figure.axes[1].collections[0].get_array()[:, 0], [0.4, 0.6])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["red", "blue"]


def test_names_are_never_read_as_formulas(tmp_path):
    figure = option_frequency(np.full((3, 2), 0.5), np.full(2, 0.5), [r"$\nonsense{$", "$5 or $6"])
    assert save_figure(figure, tmp_path / "figure.png").is_file()


def test_frequency_needs_a_name_for_each_option():
    with pytest.raises(InputError, match="1 option names for 2 options"):
        option_frequency(np.ones((3, 2)), np.ones(2), ["red"])


def test_pruning_draws_lines_for_orders_and_a_band_for_draws():
    figure = pruning_curves(
        [curve("margin", [0.9, 0.8, 0.7]), curve("random", [0.9, 0.5, 0.2], draws=20)], chance=0.25
    )
    axes = figure.axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(drawn["margin"].get_ydata(), [0.9, 0.8, 0.7])
    np.testing.assert_array_equal(drawn["random: mean and\nrange of 20 draws"].get_ydata(), [0.9, 0.5, 0.2])
    assert drawn["chance"].get_ydata()[0] == 0.25
    assert len(axes.findobj(mpl.collections.FillBetweenPolyCollection)) == 1


def test_pruning_without_curves_is_refused():
    with pytest.raises(InputError, match="at least one strategy"):
        pruning_curves([], chance=0.25)


def test_path_is_symmetric_about_zero_and_crosses_out_what_is_removed():
    margins = np.array([[-0.4, -0.2, 0.5], [-0.4, np.nan, 0.1], [np.nan, np.nan, -0.1]])
    axes = transition_path(margins, [2, 2, None], [None, 1, 0]).axes[0]
    mesh, crosses, *marks = axes.collections
    assert mesh.get_clim() == (-0.5, 0.5)
    assert {tuple(point) for point in crosses.get_offsets().tolist()} == {(1.0, 1.0), (0.0, 2.0), (1.0, 2.0)}
    assert [mark.get_segments()[0][:, 0].tolist() for mark in marks] == [[1.5, 1.5], [1.5, 1.5]]
    zero = matplotlib.colors.to_hex(mesh.cmap(mesh.norm(0.0)))
    assert zero == LIGHT.paper


def test_path_refuses_lengths_that_differ():
    with pytest.raises(InputError, match="2 steps of margins, 1 transitions"):
        transition_path(np.zeros((2, 3)), [1], [None, 1])


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes(tmp_path, ending):
    first, second = (
        save_figure(margin_figure(transition=5), tmp_path / str(number) / f"figure.{ending}")
        for number in range(2)
    )
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 1000


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"figure\.bmp"):
        save_figure(margin_figure(), tmp_path / "figure.bmp")


def test_figures_leave_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    margin_figure(transition=5)
    assert dict(mpl.rcParams) == before
