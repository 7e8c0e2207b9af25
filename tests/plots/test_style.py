"""The palette can be read by everyone: contrast, and distance under simulated colour blindness."""

from itertools import combinations

import numpy as np
import pytest

from decision_phases.plots.style import DARK, LIGHT, STROKES, stroke

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SIMULATIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(colour):
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    ratio = TO_XYZ @ rgb / WHITE
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    low, high = sorted(TO_XYZ[1] @ linear(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "surface", "silent", "decisive"])
def test_text_has_contrast(palette, ground):
    for text in ("ink", "muted"):
        assert contrast(getattr(palette, text), getattr(palette, ground)) >= 4.5
    for tag in ("positive", "negative"):
        assert contrast(getattr(palette, tag), palette.paper) >= 4.5


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
@pytest.mark.parametrize("sight", SIMULATIONS)
def test_strategies_can_be_told_apart(scheme, palette, sight):
    colours = {name: getattr(style, scheme) for name, style in STROKES.items()}
    assert min(contrast(colour, palette.paper) for colour in colours.values()) >= 3.0
    seen = {name: lab(np.clip(SIMULATIONS[sight] @ linear(c), 0, 1)) for name, c in colours.items()}
    nearest = min((np.linalg.norm(seen[a] - seen[b]), a, b) for a, b in combinations(seen, 2))
    assert nearest[0] > 10, nearest


def test_no_two_strategies_share_dash_and_marker():
    assert len({(style.dash, style.marker) for style in STROKES.values()}) == len(STROKES)


def test_unknown_strategies_have_a_stroke_too():
    assert stroke("sleb", 0) != stroke("sleb", 1)
