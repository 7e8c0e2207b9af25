"""The one look that figures and report share: a restrained palette, safe for colour-blind readers.

Blue means that the readout favours the right answer, rust that it favours a wrong one; everything else is ink
and grey. Strategies differ in colour, dash and marker, so that no chart depends on colour alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from decision_phases.errors import InputError
from decision_phases.writing import replacing


@dataclass(frozen=True)
class Palette:
    """Colours of one scheme, as ``#rrggbb``.

    Example:
        >>> LIGHT.paper
        '#ffffff'
    """

    paper: str
    surface: str
    ink: str
    muted: str
    rule: str
    silent: str
    decisive: str
    positive: str
    negative: str
    transition: str


LIGHT = Palette(
    paper="#ffffff",
    surface="#f6f7f8",
    ink="#191c20",
    muted="#586069",
    rule="#dcdfe4",
    silent="#eff1f4",
    decisive="#e6eff9",
    positive="#135aa0",
    negative="#b4500c",
    transition="#191c20",
)
DARK = Palette(
    paper="#121416",
    surface="#1b1e21",
    ink="#e8eaed",
    muted="#a2a9b2",
    rule="#353a40",
    silent="#1b1e21",
    decisive="#17263a",
    positive="#78b6f2",
    negative="#eb9a5a",
    transition="#e8eaed",
)


@dataclass(frozen=True)
class Stroke:
    """How one strategy is drawn.

    Attributes:
        light: Colour on light paper.
        dark: Colour on dark paper.
        dash: Lengths of dashes and gaps in points; empty for a solid line.
        marker: ``circle``, ``square``, ``up``, ``down``, ``diamond`` or ``cross``.

    Example:
        >>> stroke("margin").marker
        'circle'
    """

    light: str
    dark: str
    dash: tuple[int, ...]
    marker: str

    @property
    def linestyle(self) -> Any:
        """The dash, as matplotlib takes it."""
        return (0, self.dash) if self.dash else "-"


STROKES: Mapping[str, Stroke] = MappingProxyType(
    {
        "margin": Stroke("#135aa0", "#78b6f2", (), "circle"),
        "accuracy": Stroke("#3a1a55", "#a06ae0", (6, 2), "diamond"),
        "random": Stroke("#7d858f", "#8a929c", (1, 2), "cross"),
        "deepest": Stroke("#8a3f10", "#e6854a", (), "down"),
        "shallowest": Stroke("#0f4a46", "#c9efe9", (), "up"),
        "within_silent": Stroke("#a8861c", "#ead25a", (5, 2), "square"),
        "within_decisive": Stroke("#d8367f", "#d9417f", (5, 2), "diamond"),
    }
)
_SPARE = tuple(
    STROKES[name] for name in ("within_decisive", "shallowest", "accuracy", "within_silent", "deepest")
)
_AGAIN = (((7, 2, 2, 2), "up"), ((3, 3), "square"), ((2, 2), "circle"))
"""Dash and marker of spare colours that come a second, third and fourth time."""
MARKERS: Mapping[str, str] = MappingProxyType(
    {"circle": "o", "square": "s", "up": "^", "down": "v", "diamond": "D", "cross": "x"}
)
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.labelcolor": LIGHT.muted,
    "axes.edgecolor": LIGHT.rule,
    "axes.facecolor": LIGHT.paper,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": LIGHT.paper,
    "text.color": LIGHT.ink,
    "text.parse_math": False,  # a name with two dollar signs is a name, not a formula
    "xtick.color": LIGHT.rule,
    "ytick.color": LIGHT.rule,
    "xtick.labelcolor": LIGHT.muted,
    "ytick.labelcolor": LIGHT.muted,
    "legend.frameon": False,
    "path.simplify": False,
}
_METADATA: Mapping[str, Mapping[str, None]] = MappingProxyType(
    {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
)


def stroke(strategy: str, position: int = 0) -> Stroke:
    """Return how a strategy is drawn, always the same for the same name.

    Args:
        strategy: Name of the strategy, known to the palette or not.
        position: Rank among the strategies of the chart; chooses the stroke of an unknown name.

    Returns:
        Its colour in both schemes, dash and marker.

    Example:
        >>> stroke("deepest").light, stroke("my own", 5).light == stroke("another", 0).light
        ('#8a3f10', True)
        >>> stroke("my own", 5).linestyle, stroke("another", 0).linestyle  # dashed otherwise
        ((0, (7, 2, 2, 2)), (0, (5, 2)))
    """
    if strategy in STROKES:
        return STROKES[strategy]
    turn, at = divmod(position, len(_SPARE))
    if not turn:
        return _SPARE[at]
    dash, marker = _AGAIN[(turn - 1) % len(_AGAIN)]
    return replace(_SPARE[at], dash=dash, marker=marker)


def diverging(palette: Palette = LIGHT) -> LinearSegmentedColormap:
    """Return the colour map of margins: rust below zero, paper at zero, blue above.

    Args:
        palette: The scheme.

    Returns:
        A colour map whose colour for missing values is transparent.

    Example:
        >>> from matplotlib.colors import to_hex
        >>> to_hex(diverging()(0.5)), to_hex(diverging()(0.0)) == LIGHT.negative
        ('#ffffff', True)
    """
    # An odd number of entries puts the paper colour exactly at zero.
    return LinearSegmentedColormap.from_list(
        "margin", [palette.negative, palette.paper, palette.positive], N=257
    )


def sequential(palette: Palette = LIGHT) -> LinearSegmentedColormap:
    """Return the colour map of shares: paper at 0, blue at 1.

    Args:
        palette: The scheme.

    Returns:
        The colour map.

    Example:
        >>> from matplotlib.colors import to_hex
        >>> to_hex(sequential()(0.0)), to_hex(sequential()(1.0)) == LIGHT.positive
        ('#ffffff', True)
    """
    return LinearSegmentedColormap.from_list("share", [palette.paper, palette.positive], N=256)


@contextmanager
def house_style() -> Iterator[None]:
    """Set matplotlib's defaults to the house style for one ``with`` block, and restore them after it.

    Yields:
        Nothing; figures made inside have the style.

    Example:
        >>> with house_style():
        ...     new_figure(6.0, 3.0).get_facecolor()
        (1.0, 1.0, 1.0, 1.0)
    """
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with its own Agg canvas; pyplot is never involved.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure, laid out by matplotlib's constrained layout.

    Example:
        >>> new_figure(6.0, 3.0).get_size_inches().tolist()
        [6.0, 3.0]
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def layer_axis(axes: Axes, n_layers: int, *, label: bool = True) -> None:
    """Give an axes the layer scale that all figures share.

    Args:
        axes: Where layers run along x.
        n_layers: Number of layers of the intact model.
        label: Whether to name the axis.

    Example:
        >>> axes = new_figure(4.0, 2.0).add_subplot()
        >>> layer_axis(axes, 12)
        >>> [float(end) for end in axes.get_xlim()]
        [-0.5, 11.5]
    """
    step = next((s for s in (1, 2, 5, 10) if n_layers <= 16 * s), 20)
    axes.set_xlim(-0.5, n_layers - 0.5)
    axes.set_xticks(range(0, n_layers, step))
    if label:
        axes.set_xlabel("layer (0-based, in the intact model)")


def log_labels(axis: Axis) -> None:
    """Label a logarithmic axis, once everything is drawn, with plain numbers that do not crowd.

    Args:
        axis: `axes.xaxis` or `axes.yaxis`.

    Example:
        >>> axes = new_figure(4.0, 2.0).add_subplot()
        >>> axes.set(yscale="log", ylim=(1.0, 20.0)) and log_labels(axes.yaxis)
        >>> [f"{tick:g}" for tick in axes.get_yticks() if 1 <= tick <= 20]
        ['1', '2', '5', '10', '20']
    """
    low, high = axis.get_view_interval()
    if high < 4 * low:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def save_figure(figure: Figure, path: Path, dpi: int = 160) -> Path:
    """Write a figure without date or program name, so that the same figure gives the same bytes.

    Args:
        figure: What to write.
        path: Where to; the ending chooses the format (``.png``, ``.svg`` or ``.pdf``). Its folder is made.
        dpi: Dots per inch of a PNG.

    Returns:
        The path.

    Raises:
        InputError: If the ending is another one.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_figure(new_figure(1.0, 1.0), Path(folder) / "empty.png").name
        'empty.png'
    """
    ending = path.suffix.lower()
    if ending not in _METADATA:
        raise InputError(
            f"cannot write a figure to {path.name!r}: expected an ending of {', '.join(_METADATA)}."
        )
    with (
        replacing(path) as work,
        mpl.rc_context({"svg.hashsalt": "decision_phases", "svg.fonttype": "none"}),
    ):
        figure.savefig(work, dpi=dpi, metadata=dict(_METADATA[ending]))
    return path
