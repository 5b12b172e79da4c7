from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest

from surgery.arch.site import Component
from surgery.errors import SurgeryError
from surgery.report import figures as registry
from surgery.report.figures import FIGURES, write_figures
from surgery.report.layer_axis import numbered
from surgery.report.stats.axes import Depth
from surgery.report.stats.maps import modules, pooled
from surgery.report.stats.profiles import drift, profile, sparsity, subspaces
from surgery.report.stats.spectra import random_values, spectra
from surgery.report.stats.tables import LayerSite, cuts_of
from surgery.runs import RunKind
from tests.report.paper import is_whole
from tests.report.stats.made_tables import make_tables
from tests.support.tables import but

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND = RunKind.STATISTICS
SMALL = make_tables(2, 3)


def _lines(axes: Axes, label: str) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(ln.get_ydata(), float) for ln in axes.get_lines() if ln.get_label() == label]


def _line_values(axes: Axes, label: str) -> list[float]:
    (line,) = _lines(axes, label)
    return line[np.isfinite(line)].tolist()


def _render(figure: Figure | None) -> None:
    assert figure is not None
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]


# --- files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_figures(SMALL, tmp_path_factory.mktemp("figures") / "new")


def test_every_figure_is_written_and_shows_something(files: list[Path]) -> None:
    assert [path.name for path in files] == [f"{name}.png" for name in FIGURES[KIND]]
    for path in files:
        is_whole(path)


def test_same_tables_same_bytes_whatever_the_users_settings(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "FIGURES", {KIND: {"profile": FIGURES[KIND]["profile"]}})
    first = write_figures(SMALL, tmp_path / "a", ("svg",))
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)
    second = write_figures(SMALL, tmp_path / "b", ("png", "svg"))
    assert matplotlib.rcParams["font.size"] == 30.0
    assert [path.name for path in second] == ["profile.png", "profile.svg"]
    assert files[0].read_bytes() == second[0].read_bytes()
    assert first[0].read_bytes() == second[1].read_bytes()


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match=r"'jpg'\. Expected any of png, svg"):
        write_figures(SMALL, tmp_path / "no", ("png", "jpg"))
    assert not (tmp_path / "no").exists()


def test_what_has_no_data_is_left_out_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = make_tables(0, 2, 1, spectrum="none")
    (tmp_path / "drift.png").write_bytes(b"of an earlier run")
    monkeypatch.setattr(registry, "FIGURES", {KIND: {"drift": FIGURES[KIND]["drift"]}})
    assert write_figures(bare, tmp_path) == []
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    names = [path.stem for path in write_figures(bare, tmp_path)]
    assert names == ["profile", "modules", "sparsity"]


# --- what stands in them


@pytest.mark.parametrize("pair", ["base..in", "in..rl"])
def test_profile_shows_the_table(pair: str) -> None:
    figure = profile(SMALL)
    assert figure is not None
    rows = SMALL.layers[(SMALL.layers["pair"] == pair) & (SMALL.layers["group"] == "all")]
    key = {(r["component"], r["layer"]): r for r in rows.fillna({"layer": -1}).to_dict("records")}
    order = [("vision", -1), ("vision", 0), ("vision", 1), ("projector", -1), ("embedding", -1),
             ("language", 0), ("language", 1), ("language", 2), ("norm", -1),
             ("head", -1)]  # fmt: skip
    far, turned = figure.axes
    assert _line_values(far, pair) == [key[place]["relative_delta"] for place in order]
    assert _line_values(turned, pair) == [key[place]["angle"] for place in order]
    assert _line_values(far, "_null") == pytest.approx([1.6e-3] * len(order))


def test_blocks_do_not_touch_and_a_missing_or_broken_layer_is_a_gap() -> None:
    layers = SMALL.layers
    broken = (layers["component"] == "language") & (layers["layer"] == 1)
    figure = profile(but(SMALL, layers=layers.assign(
        relative_delta=layers["relative_delta"].mask(broken))))  # fmt: skip
    assert figure is not None
    (line,) = _lines(figure.axes[0], "base..in")
    finite = "".join(".#"[int(good)] for good in np.isfinite(line))
    assert finite == "#.##.#.#.#.#.#.#"
    figure = profile(but(SMALL, layers=layers[~broken]))
    assert figure is not None
    (again,) = _lines(figure.axes[0], "base..in")
    assert np.array_equal(line, again, equal_nan=True)


def test_unchanged_layers_stand_on_the_floor() -> None:
    figure = profile(make_tables(2, 3, frozen=True))
    assert figure is not None
    far = figure.axes[0]
    assert len(_line_values(far, "base..in")) == 7
    assert [len(line) for line in _lines(far, "_zero")] == [3, 3]
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert texts == ["base..in", "in..rl", "rounding to bf16 alone", "exactly zero"]


def test_nothing_changed_at_all() -> None:
    still = make_tables(2, 3, frozen=True)
    only = but(
        still,
        layers=still.layers[still.layers["component"] == "vision"],
        tensors=still.tensors[still.tensors["component"] == "vision"],
    )
    assert sparsity(only) is not None
    for draw in (profile, modules):
        _render(draw(only))
    assert spectra(only) is None


def test_sparsity_and_drift_show_the_table() -> None:
    figure = sparsity(SMALL)
    assert figure is not None
    for axes, column in zip(figure.axes, ("changed", "changed_1e5", "changed_bf16"), strict=True):
        rows = SMALL.layers[(SMALL.layers["pair"] == "in..rl") & (SMALL.layers["group"] == "all")]
        assert sorted(_line_values(axes, "in..rl")) == sorted(rows[column])
    figure = drift(SMALL)
    assert figure is not None
    rows = SMALL.layers[(SMALL.layers["pair"] == "in..rl") & (SMALL.layers["group"] == "all")]
    both = (rows["mean_rotation_left"] + rows["mean_rotation_right"]) / 2
    assert sorted(_line_values(figure.axes[1], "in..rl")) == pytest.approx(sorted(both.dropna()))


def test_equal_weights_have_not_turned() -> None:
    still = make_tables(2, 3, frozen=True)
    angles = ["mean_rotation_left", "mean_rotation_right"]
    noise = still.layers.assign(**{name: still.layers[name] + 1e-7 for name in angles})
    figure = drift(but(still, layers=noise))
    assert figure is not None
    assert len(_line_values(figure.axes[1], "in..rl")) == 6
    assert [len(line) for line in _lines(figure.axes[1], "_zero")] == [3, 3]


def test_subspaces_of_two_updates_and_of_more() -> None:
    figure = subspaces(SMALL)
    assert figure is not None
    assert len(figure.axes) == 4
    rows = SMALL.update_layers[SMALL.update_layers["group"] == "mlp"]
    assert sorted(_line_values(figure.axes[0], "mlp")) == sorted(rows["cosine"])
    assert sorted(_line_values(figure.axes[2], "mlp")) == sorted(rows["mean_subspace_overlap_left"])
    assert figure.legends[0].get_title().get_text() == "base..in and in..rl"
    for axes in figure.axes[2:]:
        sampled = np.concatenate([_lines(axes, name)[0] for name in ("whole layer", "mlp")])
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] > np.nanmax(sampled)
    figure = subspaces(make_tables(2, 3, 3, spectrum="none"))
    assert figure is not None
    assert len(figure.axes) == 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["base..in and in..rl", "base..in and base..rl", "in..rl and base..rl"]


# --- the heat map


def test_pooling_is_the_root_of_the_sum_of_squares() -> None:
    rows = SMALL.tensors[(SMALL.tensors["pair"] == "in..rl") & (SMALL.tensors["layer"] == 1)]
    rows = rows[rows["component"] == "language"].set_index("leaf")
    cells = pooled(rows.reset_index()).set_index("part")["relative"]
    both = rows.loc[["q_proj.weight", "q_proj.bias"]]
    expected = np.linalg.norm(both["delta_norm"]) / np.linalg.norm(both["norm_before"])
    assert cells["q_proj"] == pytest.approx(expected)
    assert cells["k_proj"] == pytest.approx(rows.loc["k_proj.weight", "relative_delta"])


def test_modules_shows_every_part_and_marks_what_is_not_finite() -> None:
    tensors = SMALL.tensors
    bad = (tensors["tensor"] == "language.layers.1.attention.q_proj.bias") & (
        tensors["pair"] == "base..in"
    )
    figure = modules(but(SMALL, tensors=tensors.assign(delta_norm=tensors["delta_norm"].mask(bad))))
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.images[-1].get_array().shape for axes in panels] == [(9, 2), (9, 3)] * 2  # type: ignore[union-attr]
    displayed = np.ma.filled(np.ma.asarray(panels[1].images[-1].get_array(), float), np.nan)
    assert np.argwhere(np.isnan(displayed)).tolist() == [[0, 1]]
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names[:7] == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                         "down_proj"]  # fmt: skip
    norms = [axes.images[-1].norm for axes in panels]
    assert norms[0] is norms[1]  # one scale for a pair, another for the next
    assert norms[1] is not norms[2]


def test_experts_share_a_row() -> None:
    rows = SMALL.tensors[SMALL.tensors["leaf"].isin(["gate_proj.weight", "up_proj.weight"])]
    spelt = {"gate_proj.weight": "experts.0.up_proj.weight", "up_proj.weight": "experts.up_proj[1]"}
    cells = pooled(rows[rows["pair"] == "in..rl"].replace({"leaf": spelt}))
    assert set(cells["part"]) == {"experts.up_proj"}


# --- spectra


def test_spectra_of_equal_matrices_are_their_medians() -> None:
    wide = SMALL.tensors["leaf"].isin(["up_proj.weight", "gate_proj.weight", "down_proj.weight"])
    figure = spectra(but(SMALL, tensors=SMALL.tensors[wide]))
    assert figure is not None
    late = next(axes for axes in figure.axes if axes.get_title() == "decoder, late (layer 2)")
    rows = SMALL.tensors[wide & (SMALL.tensors["layer"] == 2) & (SMALL.tensors["pair"] == "in..rl")]
    curves = [
        SMALL.spectra[f"{row['tensor']}/in..rl/delta"] / row["random_spectral_norm"]
        for row in rows.to_dict("records")
    ]
    assert _line_values(late, "in..rl") == pytest.approx(np.median(curves, axis=0).tolist())


def test_top_spectra_go_by_index_and_end_where_they_are_not_resolved() -> None:
    top = make_tables(0, 3, spectrum="top")
    figure = spectra(but(top, tensors=top.tensors.assign(resolved=5)))
    assert figure is not None
    assert figure.get_supxlabel() == "index"
    (line,) = (ln for ln in figure.axes[0].get_lines() if ln.get_label() == "in..rl")
    assert np.asarray(line.get_xdata()).tolist() == list(range(1, 9))
    assert np.isfinite(np.asarray(line.get_ydata(), float)).tolist() == [True] * 5 + [False] * 3


@pytest.mark.parametrize("sides", [(300, 300), (200, 500)])
def test_the_null_is_what_a_random_matrix_has(sides: tuple[int, int]) -> None:
    values = np.linalg.svd(np.random.default_rng(1).normal(size=sides), compute_uv=False)
    edge = np.sqrt(sides[0]) + np.sqrt(sides[1])
    share = np.arange(1, sides[0] + 1) / sides[0]
    assert np.abs(random_values(sides, share) - values / edge).max() < 0.02


# --- depth


@pytest.mark.parametrize(
    ("vision", "language", "single"),
    [(0, 1, False), (1, 28, True), (0, 0, True)],
)
def test_every_shape_of_model_is_drawn(vision: int, language: int, single: bool) -> None:
    tables = make_tables(vision, language, 1, single=single, spectrum="top")
    _render(profile(tables))
    assert (modules(tables) is None) == (not vision and not language)


def test_a_selection_keeps_its_numbers_and_its_regions() -> None:
    places = [LayerSite(Component.LANGUAGE, n) for n in (4, 5, 6, 7)]
    (block,) = Depth.of(places, cuts_of(make_tables(0, 9))).blocks
    assert list(block.layers) == [4, 5, 6, 7]
    tables = make_tables(0, 9, 1, single=False, spectrum="none")
    figure = profile(but(tables, layers=tables.layers[tables.layers["layer"].between(4, 7)]))
    assert figure is not None
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["mid", "late"]
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert ticks == ["4", "5", "6", "7"]


@pytest.mark.parametrize("count", [1, 2, 9, 28, 36, 80])
def test_layer_numbers_do_not_collide(count: int) -> None:
    inch = 3 / count
    displayed = numbered(range(count), inch) if count > 1 else [0]
    assert (displayed[0], displayed[-1]) == (0, count - 1)
    gaps = np.diff(displayed)
    assert (gaps * inch >= 0.19).all()
