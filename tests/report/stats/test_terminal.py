from __future__ import annotations

import io
import re
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from surgery.report.stats.terminal import bars
from tests.report.stats.made_tables import make_tables
from tests.support.tables import but

if TYPE_CHECKING:
    from surgery.runs import RunTables


def _printed_lines(tables: RunTables, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(bars(tables))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _with(tables: RunTables, pair: str, numbers: dict[tuple[str, int | None], float]) -> RunTables:
    """The tables with other relative changes of whole layers."""
    layers = tables.layers.copy()
    for (component, layer), value in numbers.items():
        position = layers["layer"].isna() if layer is None else layers["layer"] == layer
        position &= (layers["component"] == component) & (layers["pair"] == pair)
        layers.loc[position & (layers["group"] == "all"), "relative_delta"] = value
    return but(tables, layers=layers)


def test_one_line_per_layer_and_part() -> None:
    tables = _with(
        make_tables(1, 3, 1, spectrum="none"),
        "base..in",
        {
            ("vision", None): 0.0,
            ("vision", 0): 0.5,
            ("projector", None): float("nan"),
            ("embedding", None): 1e-9,
            ("language", 0): 1.0,
            ("language", 1): 0.25,
            ("language", 2): 0.123456,
            ("norm", None): 0.75,
            ("head", None): 0.0,
        },
    )
    lines = _printed_lines(tables, 53)
    end = lines.index("")
    assert dedent("\n".join(lines[3:end])) == dedent("""\
          whole bar            1.00
          vision (rest)                                   0
          vision    late    0  ██████████           5.00e-1
          projector                                     nan
          embedding            █                    1.00e-9
          language  early   0  ████████████████████    1.00
                    mid     1  █████                2.50e-1
                    late    2  ██                   1.23e-1
          norm                 ███████████████      7.50e-1
          head                                            0""")


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_the_width_is_kept_and_no_number_is_lost(width: int, pairs: int) -> None:
    tables = make_tables(4, 9, pairs, spectrum="none")
    lines = _printed_lines(tables, width)
    assert max(len(line) for line in lines) <= width
    numbered = [line for line in lines if "█" in line]
    assert len(numbered) == 4 + 9 + 5
    whole = tables.layers[tables.layers["group"] == "all"]
    for number in whole["relative_delta"]:
        mantissa, exponent = f"{number:.2e}".split("e")
        assert any(f"{mantissa}e{int(exponent)}" in line for line in numbered)


def test_bars_are_in_proportion() -> None:
    numbers = {("language", n): (n + 1) / 9 for n in range(9)}
    lines = _printed_lines(
        _with(make_tables(0, 9, 1, single=False, spectrum="none"), "base..in", numbers), 160
    )
    lengths = [line.count("█") for line in lines if "█" in line]
    assert len(lengths) == 9
    assert lengths == [round((n + 1) / 9 * lengths[-1]) for n in range(9)]


def test_attention_mlp_and_norm_apart_where_there_is_room() -> None:
    tables = make_tables(0, 3, 1, spectrum="none")
    wide = _printed_lines(tables, 100)
    assert re.search(r"all +attn +mlp +norm", "\n".join(wide))
    rows = tables.layers[(tables.layers["component"] == "language") & (tables.layers["layer"] == 1)]
    (line,) = (item for item in wide if re.match(r" +mid +1 ", item))
    for group in ("all", "attention", "mlp", "norm"):
        (number,) = rows[rows["group"] == group]["relative_delta"]
        assert f"{number:.2e}".replace("e-0", "e-") in line
    (projector,) = (item for item in wide if "projector" in item and "█" in item)
    assert projector.split()[-3] == "-"


def test_regions_are_told_with_inclusive_layers() -> None:
    lines = "\n".join(_printed_lines(make_tables(0, 9, 2, spectrum="none"), 80))
    assert lines.count("x rounding") == 2 + 1
    assert re.search(r"language early  0-2 +\d\.\d\de-2 +\S+° +[\d.]+ % +[\d.]+ % +[\d.]+\n", lines)
    assert re.search(r"language late   6-8 ", lines)
    assert re.search(r"whole model  +\d\.\d\de-2", lines)


def test_a_region_of_one_layer_and_a_share_near_an_end() -> None:
    tables = make_tables(0, 3, 1, spectrum="none")
    regions = tables.regions.assign(changed=0.99999, changed_bf16=1e-5, rounding_ratio=float("nan"))
    lines = "\n".join(_printed_lines(but(tables, regions=regions), 80))
    assert re.search(r"language mid    1  .*> 99\.9 %  < 0\.1 %         nan", lines)


def test_nothing_changed_and_plain_letters() -> None:
    tables = make_tables(2, 0, 1, single=False, frozen=True, spectrum="none")
    assert not any("█" in line for line in _printed_lines(tables))
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", errors="replace"), width=80)
    console.print(bars(make_tables(0, 3, 1, spectrum="none")))
    console.file.flush()
    assert b"####" in raw.getvalue()
