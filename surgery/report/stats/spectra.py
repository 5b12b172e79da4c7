"""The figure of singular values: updates in early, mid and late layers, and random updates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.ticker import NullLocator

from surgery.arch.site import Component
from surgery.report.stats.axes import NAMES
from surgery.report.stats.tables import STACKS, cuts_of, pairs_of, present
from surgery.report.style import GREY, grid, legend, new_figure, styles
from surgery.text import layer_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from surgery.report.style import SeriesStyle
    from surgery.runs import RunTables

    Values = NDArray[np.float64]

_POINTS = 160
# Below it nothing is read off, and the smallest of a square matrix would stretch the axis.
_FLOOR = 1e-3


class Spectrum(NamedTuple):
    """The singular values of one matrix's delta.

    Attributes:
        component: Where it is.
        layer: In which layer.
        pair: Of which pair.
        sides: The smaller side and the larger.
        relative: `Float[ndarray, "k"]`: over the largest one that a random delta of the same norm
            and shape would have; 0 where they cannot be distinguished from rounding.
    """

    component: Component
    layer: int
    pair: str
    sides: tuple[int, int]
    relative: Values


def spectra(tables: RunTables) -> Figure | None:
    """Singular values by region: a row per stack, a column per region, a line per pair."""
    if not tables.spectra or not present(tables.tensors, "random_spectral_norm"):
        return None
    all_spectra = list(_spectra_of(tables))
    rows = [
        c for c in STACKS if c in cuts_of(tables) and any(s.component is c for s in all_spectra)
    ]
    if not rows:
        return None
    whole = all(len(s.relative) == s.sides[0] for s in all_spectra)
    names = list(dict.fromkeys(name for c in rows for name in cuts_of(tables)[c]))
    figure = new_figure(1.75 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), len(names), squeeze=False, sharex=True, sharey=True)
    series = styles(pairs_of(tables))
    for i, component in enumerate(rows):
        for j, name in enumerate(names):
            layers = range(*cuts_of(tables)[component].get(name, (0, 0)))
            selected = [s for s in all_spectra if s.component is component and s.layer in layers]
            _panel(panels[i][j], selected, series, whole=whole)
            numbers = layer_numbers(layers) if layers else "no layers"
            panels[i][j].set_title(f"{NAMES[component]}, {name} ({numbers})")
    low, high = panels[0][0].get_ylim()
    panels[0][0].set_ylim(max(low, _FLOOR), high)
    if not whole:
        ticks = [2**i for i in range(17) if 2**i <= max(len(s.relative) for s in all_spectra)]
        panels[0][0].set_xticks(ticks, [str(tick) for tick in ticks])
        panels[0][0].xaxis.set_minor_locator(NullLocator())
    figure.supxlabel("index / smaller side of the matrix" if whole else "index", fontsize=8)
    figure.supylabel("singular value of the change /\nlargest of a random change", fontsize=8)
    legend(figure, series, "random change of the same norm")
    return figure


def _spectra_of(tables: RunTables) -> Iterator[Spectrum]:
    """Every delta of a layer's matrix with a spectrum that is not zero."""
    frame = tables.tensors[tables.tensors["layer"].notna()]
    numbers = ("random_spectral_norm", "resolved")
    frame = frame.assign(**{name: frame[name].astype(float) for name in numbers})
    for row in frame.to_dict("records"):
        values = tables.spectra.get(f"{row['tensor']}/{row['pair']}/delta")
        sides = sorted(int(n) for n in re.findall(r"\d+", str(row["shape"])))
        scale = row["random_spectral_norm"]
        if values is None or len(sides) != 2 or not scale > 0:
            continue
        # A missing value is NaN, of which no index is at or beyond.
        beyond = np.arange(len(values)) >= row["resolved"]
        relative = np.where(beyond, 0.0, values) / scale
        yield Spectrum(
            Component(row["component"]),
            int(row["layer"]),
            row["pair"],
            (sides[0], sides[1]),
            relative,
        )


def _panel(axes: Axes, selected: list[Spectrum], series: list[SeriesStyle], *, whole: bool) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    grid(axes)
    for style in series:
        of_pair = [s for s in selected if s.pair == style.label]
        if not of_pair:
            continue
        x = _abscissa(of_pair, whole=whole)
        sampled = np.array([_sampled(s, x, whole=whole) for s in of_pair])
        low, middle, high = np.percentile(sampled, [25, 50, 75], axis=0)
        _draw(axes, x, (low, middle, high), style)
    if selected:
        x = _abscissa(selected, whole=whole)
        chance = [random_values(s.sides, x if whole else x / s.sides[0]) for s in selected]
        axes.plot(x, np.median(chance, axis=0), color=GREY, ls=":", lw=1.0, label="_null")


def _draw(
    axes: Axes, x: Values, quartiles: tuple[Values, Values, Values], style: SeriesStyle
) -> None:
    """Median and the band between the quartiles; zeros have no place on a log axis."""
    low, middle, high = (np.where(q > 0, q, np.nan) for q in quartiles)
    axes.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
    # Marks at even distances on the log axis, not one on each of a thousand points.
    marks = np.unique(np.searchsorted(x, np.geomspace(x[0], x[-1], 6)).clip(0, len(x) - 1))
    axes.plot(x, middle, markevery=marks.tolist(), **style.line())  # type: ignore[arg-type]


def _abscissa(selected: list[Spectrum], *, whole: bool) -> Values:
    """Return indices that every matrix has, or their shares of the smaller side."""
    sides = {s.sides[0] for s in selected}
    if not whole:
        return np.arange(1.0, min(len(s.relative) for s in selected) + 1)
    if len(sides) == 1:
        return np.arange(1.0, min(sides) + 1) / min(sides)
    # A smaller matrix stands at its largest value left of its first index.
    return np.geomspace(1 / max(sides), 1.0, _POINTS)


def _sampled(spectrum: Spectrum, x: Values, *, whole: bool) -> Values:
    if not whole:
        return spectrum.relative[: len(x)]
    m = spectrum.sides[0]
    return np.interp(x, np.arange(1, m + 1) / m, spectrum.relative)


def random_values(sides: tuple[int, int], share: Values) -> Values:
    """Singular values of a large Gaussian matrix over the largest.

    The squares follow the law of Marchenko and Pastur (Math. USSR Sbornik 1, 1967, equation 1.10):
    with c = m/n, density proportional to sqrt((b - x)(x - a)) / x between a, b = (1 -+ sqrt c)^2.

    Args:
        sides: m and n, m <= n.
        share: `Float[ndarray, "k"]`: index / m, from 0 (the largest) to 1.

    Returns:
        `Float[ndarray, "k"]`.
    """
    ratio = sides[0] / sides[1]
    # x = 1 + c + 2 sqrt(c) cos(t) takes the roots at both ends out of the integrand.
    t = np.linspace(0, np.pi, 4001)[1:-1]
    x = 1 + ratio + 2 * np.sqrt(ratio) * np.cos(t)
    above = np.cumsum(np.sin(t) ** 2 / x)
    values = np.sqrt(np.interp(share - 0.5 / sides[0], above / above[-1], x))
    return np.asarray(values / (1 + np.sqrt(ratio)))
