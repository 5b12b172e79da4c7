"""Text of other people stays text: on a terminal, in Markdown, in YAML, in a picture, in a URL."""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from surgery.card import metadata, model_card
from surgery.markdown import code, fenced, plain, prose, row
from surgery.text import (
    abbreviate,
    all_names,
    count_text,
    duration_text,
    first_names,
    is_address,
    layer_numbers,
    layer_ranges,
    layer_runs,
    one_line,
    printable,
    quantity,
    size_text,
    well_formed,
    without_credentials,
)
from tests.execute.merging import plan_of, recipe_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from markdown_it.token import Token

MARKDOWN = MarkdownIt("commonmark").enable("table")
PIECES = [
    "a", "word", " ", "  ", "\n", "\n\n", "|", "\\", "`", "```", "~~~", "*", "_", "**", "<b>", "#",
    "<script>", "<!--", "&amp;", "&#124;", "[x](http://evil)", "![](http://evil)", "<http://evil>",
    "# ", "- ", "+ ", "1. ", "1) ", "---", "===", "> ", "    ", "\t", "$", "$$", ": ", "{", "}",
    "\x1b[2J", "\x1b]0;t\x07", "\x9b31m", "\r", "\x00", "\x7f", "\u202e", "\u2066", "\ud800",
    "\u2028", "é", "日本",
]  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=30)


def obeyed(text: str) -> set[str]:
    """Return the characters of a text that control a terminal or break an encoding."""
    kinds = {"Cc", "Cs", "Cf", "Zl", "Zp"}
    return {c for c in text if unicodedata.category(c) in kinds and c not in "\n\t\u200c\u200d"}


@given(hostile)
def test_printable_text_is_obeyed_by_nobody(text: str) -> None:
    assert not obeyed(printable(text))
    assert printable(printable(text)) == printable(text)
    assert "\n" not in one_line(text)
    well_formed(text).encode()


@pytest.mark.parametrize(
    "text", ["plain", "ü é 日本語", "a\u00a0b", "می\u200cروم", "👩‍👩‍👧", "a\nb"]
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text == well_formed(text)


def tokens(markdown: str) -> list[Token]:
    return MARKDOWN.parse(markdown)


def inline(token: Token) -> str:
    """Return the visible text of a paragraph or a cell without markup."""
    assert {child.type for child in token.children or ()} <= {"text", "text_special"}, token
    return "".join(child.content for child in token.children or ())


@given(hostile)
def test_plain_text_is_one_paragraph_of_itself(text: str) -> None:
    result = tokens(plain(text))
    if not one_line(text):
        assert result == []
        return
    assert [token.type for token in result] == ["paragraph_open", "inline", "paragraph_close"]
    assert inline(result[1]) == one_line(text)


@given(hostile)
@example("__0__")
def test_prose_is_paragraphs(text: str) -> None:
    result = tokens(prose(text))
    assert {token.type for token in result} <= {"paragraph_open", "inline", "paragraph_close"}
    words = " ".join(inline(token) for token in result if token.type == "inline")
    assert words.split() == one_line(text).split()


@given(hostile)
def test_code_is_code(text: str) -> None:
    if not one_line(text):
        return
    (part,) = [token for token in tokens(code(text)) if token.type == "inline"]
    (child,) = part.children or ()
    assert (child.type, child.content.strip()) == ("code_inline", one_line(text))


@given(hostile)
def test_a_fence_holds_all_of_it(text: str) -> None:
    (block,) = tokens(fenced(text, "yaml"))
    assert (block.type, block.info) == ("fence", "yaml")
    assert block.content.rstrip("\n") == printable(text.strip()).rstrip("\n")


@given(hostile, hostile)
def test_a_row_has_its_cells(left_cell: str, right_cell: str) -> None:
    head = [row("a", "b", "c"), row(*["---"] * 3)]
    result = tokens("\n".join([*head, row(plain(left_cell), code(f"x{right_cell}x"), "last")]))
    cells = [token for token in result if token.type == "inline"][3:]
    assert len(cells) == 3
    assert inline(cells[0]) == one_line(left_cell)
    (middle,) = cells[1].children or ()
    assert middle.type == "code_inline"
    assert cells[2].content == "last"


ATTACKS = [
    "<script>alert(1)</script>",
    "[click](http://evil) ![](http://evil/pixel)",
    "```\n\n# Not in the recipe\n\n<b>",
    "a | b ` c ``` d \\| e",
    "---\nlicense: mit\ntags: [mine]\n---",
    "x\n---\nbase_model: evil/evil\n",
    "\x1b]0;title\x07\x1b[2J\u202eevil",
    "$$\\href{http://evil}{x}$$",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_card_renders_what_others_wrote_as_text(
    pair: Callable[[str], dict[str, Path]], attack: str
) -> None:
    steps = "  - transplant: language[mid].mlp\n    from: rl"
    plan = plan_of(recipe_text(pair("llama"), steps))
    recipe = replace(
        plan.recipe,
        name=attack,
        description=attack,
        models=dict.fromkeys(plan.recipe.models, attack),
    )
    messages = replace(plan, recipe=recipe)
    text = model_card(messages, f"description: |\n  {attack}\n{attack}")
    assert not obeyed(text)
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    assert yaml.safe_load(front) == metadata(messages)
    result = tokens(body)
    headings = [t.content for t, before in zip(result[1:], result, strict=False)
                if before.type == "heading_open"]  # fmt: skip
    assert headings == [plain(attack), "Parents", "Recipe"]
    assert [token.type for token in result].count("fence") == 1
    assert [token.type for token in result].count("td_open") == 12
    kinds = {child.type for token in result for child in token.children or ()}
    assert kinds <= {"text", "text_special", "code_inline", "softbreak"}


@pytest.mark.parametrize("attack", [*ATTACKS, "$\\frac{$", "a$b$c", "]]> -- &lt;\x00"])
@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_figure_draws_names_and_no_formulas(attack: str, form: str) -> None:
    from matplotlib.figure import Figure

    from surgery.report.literal import CHANGE, literal

    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.plot([1, 2], [1, 20], label=attack)
    axes.set_xticks([1, 2], labels=[attack, "b"])
    axes.set(title=attack, ylabel=f"{attack}\n{CHANGE}", yscale="log")
    axes.legend()
    file = io.BytesIO()
    literal(figure).savefig(file, format=form)
    if form == "svg":
        ElementTree.fromstring(file.getvalue())


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("no server at http://me:s3cr3t@host:80/v1", "no server at http://host:80/v1"),
        ("http://s3cr3t@host", "http://host"),
        ("https://host/v1?api_key=s3cr3t&x=1 failed", "https://host/v1?... failed"),
        ("'https://host/v1#s3cr3t'", "'https://host/v1?...'"),
        ("socks5h://u:s3cr3t@proxy:1 and http://u:s3cr3t@b", "socks5h://proxy:1 and http://b"),
        ("http://u:p?#s3cr3t@host/v1", "http://host/v1"),
        ("hf://org/name@main", "hf://org/name@main"),
        ("model@http://localhost:8000/v1", "model@http://localhost:8000/v1"),
    ],
)
def test_credentials_of_urls_are_not_shown(text: str, redacted: str) -> None:
    assert without_credentials(text) == redacted
    assert SECRET not in without_credentials(text)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("http://localhost:8000/v1", True),
        ("https://name:word@[::1]:80/a?b=c", True),
        ("http://m\u00fcller.example", True),
        ("http://[::1/v1", False),
        ("http://h:99999", False),
        ("http://h:x", False),
        ("http:///v1", False),
        ("ftp://h", False),
        ("h:80", False),
        ("", False),
        ("http://a\nb", False),
        ("http://a b", False),
        ("http://h/\x1b[31m", False),
    ],
)
def test_an_address_is_of_a_server(text: str, valid: bool) -> None:
    assert is_address(text) is valid


def test_layer_numbers() -> None:
    assert layer_numbers([3, 1, 2, 7]) == "layers 1-3, 7"
    assert layer_numbers([7]) == "layer 7"
    with pytest.raises(ValueError, match="no layers"):
        layer_numbers([])


@given(st.sets(st.integers(0, 60)))
def test_layer_ranges_hold_the_layers_and_no_others(layers: set[int]) -> None:
    runs = layer_runs(layers)
    assert [layer for start, end in runs for layer in range(start, end)] == sorted(layers)
    assert all(end < start for (_, end), (start, _) in pairwise(runs))
    written = [
        [int(end) for end in part.split("-")] for part in layer_ranges(layers).split(", ") if part
    ]
    assert [[part[0], part[-1] + 1] for part in written] == runs


@pytest.mark.parametrize(
    ("value", "size_label"), [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (16.6e9, "16.6 GB")]
)
def test_size(value: float, size_label: str) -> None:
    assert size_text(value) == size_label


def test_counts_and_durations() -> None:
    assert (count_text(2048), count_text(494_000_000), count_text(7_615_616_512)) == (
        "2,048",
        "494M",
        "7.62B",
    )
    assert (quantity(1, "tensor"), quantity(1200, "tensor")) == ("1 tensor", "1,200 tensors")
    assert [duration_text(s) for s in (0.42, 12.3, 185, 7384)] == [
        "0.4 s",
        "12 s",
        "3 min 05 s",
        "2 h 03 min",
    ]


def test_lists_of_names() -> None:
    assert [first_names(list("abcde"[:n])) for n in (0, 1, 3, 5)] == [
        "", "a", "a, b, c", "a, b, c and 2 more",
    ]  # fmt: skip
    assert first_names(["x"] * 1500, 1, "; ") == "x and 1,499 more"
    assert [all_names(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


@given(st.text(max_size=12), st.integers(3, 9))
def test_abbreviations_fit(text: str, limit: int) -> None:
    short = abbreviate(text, limit)
    assert len(short) <= limit
    assert short == text if len(text) <= limit else short == text[: limit - 3] + "..."
