from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pytest
from PIL import Image

from surgery.report.figures import write_figures
from surgery.report.probes.profile import agreement, curves, drawn_columns
from tests.report.probes.made_tables import lined
from tests.support.tables import but

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("update in..rl", "ablation layer: read", "ablation layer: all", "swap from: all")
DIFFERENCE = "attention to image, OpenMMReasoner-RL - OpenMMReasoner-ColdStart"


def test_a_panel_per_column_with_its_numbers_and_its_name() -> None:
    tables = lined(NAMES)
    figure = curves(tables)
    assert len(figure.axes) == len(NAMES)
    for axes, name in zip(figure.axes, NAMES, strict=True):
        line = axes.get_lines()[0]
        assert np.asarray(line.get_xdata()).tolist() == list(range(9))
        assert np.asarray(line.get_ydata()).tolist() == tables.layers[name].tolist()
        messages = [" ".join(text.get_text().split()) for text in axes.texts]
        assert name in messages
        assert len(axes.patches) == 2  # early and late are shaded
    assert {"early", "mid", "late"} < {text.get_text() for text in figure.axes[0].texts}
    assert "early" not in {text.get_text() for text in figure.axes[1].texts}


def test_a_layer_without_a_number_is_a_gap() -> None:
    tables = lined(NAMES)
    table = tables.layers.copy()
    table.loc[[0, 5], "swap from: all"] = np.nan
    figure = curves(but(tables, layers=table))
    sampled = np.asarray(figure.axes[3].get_lines()[0].get_ydata(), float)
    assert np.flatnonzero(np.isnan(sampled)).tolist() == [0, 5]


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_what_is_zero_everywhere_is_flat_and_not_magnified(zero: float) -> None:
    names = [f"ablation layer: {n}" for n in range(14)]
    tables = lined(names)
    figure = curves(but(tables, layers=tables.layers.assign(**dict.fromkeys(names, zero))))
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low == -high
        assert high > 0.01


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_every_panel_has_room_for_its_own_numbers(scale: float) -> None:
    tables = lined(NAMES)
    table = tables.layers.assign(**{NAMES[0]: tables.layers[NAMES[0]] * scale})
    low, high = curves(but(tables, layers=table)).axes[0].get_ylim()
    values = table[NAMES[0]]
    assert low < min(0, values.min())
    assert max(0, values.max()) < high
    assert high - low < 2 * (values.max() - values.min())


def test_agreement_is_the_table_below_the_diagonal_and_bold_where_it_is_certain() -> None:
    tables = lined(NAMES)
    figure = agreement(tables)
    assert figure is not None
    axes = figure.axes[0]
    below = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    across = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    assert (below, across) == (list(NAMES[1:]), list(NAMES[:-1]))
    image = np.ma.filled(np.ma.asarray(axes.images[0].get_array(), float), np.nan)
    messages = {text.get_position(): text for text in axes.texts}
    assert len(messages) == len(tables.correlations) == np.isfinite(image).sum()
    bold = 0
    for row in tables.correlations.itertuples():
        place = across.index(row.a), below.index(row.b)
        assert image[place[1], place[0]] == row.rho
        assert messages[place].get_text() == f"{row.rho:.2f}"
        certain = row.low > 0 or row.high < 0
        assert messages[place].get_fontweight() == ("bold" if certain else "normal")
        bold += certain
    assert 0 < bold < len(messages)
    assert axes.images[0].get_clim() == (-1, 1)


def test_a_constant_column_agrees_with_nothing() -> None:
    tables = lined(NAMES)
    table = tables.correlations
    constant = (table["a"] == NAMES[1]) | (table["b"] == NAMES[1])
    rho = table.assign(rho=table["rho"].mask(constant), low=table["low"].mask(constant, -1),
                       high=table["high"].mask(constant, 1))  # fmt: skip
    figure = agreement(but(tables, correlations=rho))
    assert figure is not None
    assert len(figure.axes[0].texts) == 3


def test_too_many_columns_leave_those_about_all_tasks() -> None:
    tasks = [f"t{n}" for n in range(12)]
    names = [
        "update in..rl", *(f"ablation layer: {task}" for task in [*tasks, "all"]),
        "swap from: ocr", "swap from: all", "attention to image, in",
    ]  # fmt: skip
    sampled = drawn_columns(lined(names))
    assert len(sampled) == 14
    assert {"update in..rl", "ablation layer: all", "swap from: all"} < set(sampled)
    assert sampled == [name for name in names if name in sampled]
    assert drawn_columns(lined(names[:14])) == names[:14]


@pytest.mark.parametrize(
    "names", [NAMES[:2], NAMES, (DIFFERENCE, "ablation logprob attention: arithmetic", *NAMES)]
)
def test_files_are_as_wide_as_a_page_and_nothing_is_cut_off(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    files = write_figures(lined(names, 28), tmp_path)
    assert [path.name for path in files] == ["profile.png", "correlations.png"]
    for path in files:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
            assert image.size[0] == 1400
            assert image.info.keys() <= {"dpi"}
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edge > 250).all()


def test_long_names_leave_the_panels_most_of_the_page() -> None:
    figure = curves(lined((DIFFERENCE, *NAMES), 28))
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    assert figure.axes[0].get_position().width > 0.6


def test_same_tables_same_bytes_whatever_the_users_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for name, font in (("one", 10.0), ("two", 30.0)):
        (tmp_path / name).mkdir()
        monkeypatch.setitem(matplotlib.rcParams, "font.size", font)
        written.append([path.read_bytes() for path in write_figures(lined(NAMES), tmp_path / name)])
    assert written[0] == written[1]


def test_one_column_has_nothing_to_agree_with(tmp_path: Path) -> None:
    tables = lined(NAMES[:1])
    (tmp_path / "correlations.png").write_bytes(b"of an earlier run")
    assert [path.name for path in write_figures(tables, tmp_path)] == ["profile.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["profile.png"]
