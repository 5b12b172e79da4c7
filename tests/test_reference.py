"""READMEs agree with the code: reference tables, links, lengths."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from surgery.recipe.schema import Strict
from tests.reference import ROOT, filled, readmes, table

README = ROOT / "README.md"
MOST_LINES = 200
"""Lines of the front page: what a newcomer reads before the first command."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("readme", [*readmes()], ids=relative)
def test_reference_tables_are_up_to_date(readme: Path) -> None:
    text = readme.read_text("utf-8")
    assert filled(text) == text, "run python -m tests.reference"


def test_every_schema_has_a_table() -> None:
    for module in (
        "eval.suites.custom",
        "eval.sweep.schema",
        "eval.styles",
        "surgery.train.schema",
    ):
        import_module(module)
    tables = set(re.findall(r"<!-- table: \S+:(\w+) -->", "".join(map(Path.read_text, readmes()))))
    # An adapter is explained in a sentence; a supervised training has no keys of its own.
    plain = {"AdapterModel", "SftModel"}
    assert {schema.__name__ for schema in subclasses(Strict)} - plain <= tables


def subclasses(schema: type[Strict]) -> set[type[Strict]]:
    direct = {cls for cls in schema.__subclasses__() if cls.__module__.split(".")[0] != "tests"}
    return direct.union(*map(subclasses, direct)) if direct else set()


def test_a_table_has_each_key_default_and_choice() -> None:
    lines = table("surgery.recipe.schema", "InterpolateStep").splitlines()
    assert lines[0] == "| key | default | meaning |"
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| `interpolate`", "| `from`", "| `method`", "| `t`",
    ]  # fmt: skip
    assert "`linear`" in lines[4] and "`slerp`" in lines[4]


def test_the_front_page_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= MOST_LINES


@cache
def anchors(file: Path) -> set[str]:
    """Return the anchors of a Markdown file's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", [*readmes()], ids=relative)
def test_links_lead_somewhere(readme: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", readme.read_text("utf-8"))
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (readme.parent / path).resolve() if path else readme
        page = target / "README.md" if target.is_dir() else target
        if not target.exists() or (anchor and anchor not in anchors(page)):
            broken.append(link)
    assert broken == []
