"""Several variants of a sweep: one repository each, an index of them, and a collection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from surgery.card import document
from surgery.errors import PublishError
from surgery.hub.card import METRICS
from surgery.hub.failure import publish_errors
from surgery.markdown import code, plain, prose, row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TABLES = ("scores", "pairs", "recovery", "power")
"""Tables of a run that go with its index, as CSV."""

_NOTE = 500  # characters that the Hub keeps of a note
_DESCRIPTION = 150
_TITLE = 59


@dataclass(frozen=True)
class IndexItem:
    """One published variant.

    Attributes:
        variant: Its name in the run.
        repo: Where it is.
        steps: What it is made of, in a few words.
    """

    variant: str
    repo: str
    steps: str


@dataclass(frozen=True)
class Selection:
    """The choice of the published variants.

    Attributes:
        picks: What they had to fulfil.
        others: Variants that were scored and are not published.
    """

    picks: Sequence[str] = ()
    others: Sequence[str] = ()


def slug(text: str) -> str:
    """A name as a repository may have it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    return re.sub(r"[-.]{2,}", "-", plain).strip("-.")[:96].strip("-.")


def index_card(
    name: str,
    description: str,
    items: Sequence[IndexItem],
    scores: Sequence[Any],
    differences: Sequence[Any],
    *,
    licence: str = "",
    selection: Selection = Selection(),
) -> str:
    """The card of a sweep: every published variant with what it is made of and what it scores.

    Args:
        name: The sweep's.
        description: What it was for.
        items: What is published.
        scores: The metrics of the variants and of the models that they are compared with:
            `variant`, `suite`, `measure`, `value`, `low`, `high`, `n`.
        differences: Their paired differences: `variant`, `against`, `suite`, `measure`,
            `difference`, `low`, `high`; none where the run compares nothing.
        licence: The Hub's id, or "" where the variants do not share one.
        selection: The choice of the published ones.
    """
    metadata: dict[str, Any] = {
        "license": licence,
        "pretty_name": name,
        "tags": ["vlm-surgery", "merge"],
        "configs": [
            {"config_name": table, "data_files": f"{table}.csv", **_default(table)}
            for table in TABLES
        ],
    }
    models = [
        row(
            code(item.variant),
            f"[{plain(item.repo)}](https://huggingface.co/{quote(item.repo)})",
            plain(item.steps),
        )
        for item in items
    ]
    parts = [
        f"# {plain(name)}",
        prose(description),
        "Variants of one model, each made by moving layers between its checkpoints with "
        "vlm-surgery, all of them asked the same questions.",
        "## Models",
        "\n".join([row("variant", "repository", "made of"), row(*["---"] * 3), *models]),
        _choice(selection, len(items)),
        "## Scores",
        METRICS,
        "In percent, with the 95% interval and the number of samples.",
        _table(scores, _score),
        _differences(differences),
        "`scores.csv` has every task and measure, `pairs.csv` every paired comparison with its "
        "exact p, before and after Holm's correction, `recovery.csv` the part of the gain that "
        "comes back, `power.csv` what the samples can show.",
    ]
    return document(metadata, parts)


def _choice(selection: Selection, count: int) -> str:
    """That some were chosen by their scores, which makes these scores look better than they are."""
    if not selection.others:
        return ""
    others = ", ".join(map(code, selection.others))
    told = f"{count} of {count + len(selection.others)} variants are published; not {others}."
    if not selection.picks:
        return told
    picks = " and ".join(map(code, selection.picks))
    return (
        f"{told} They were chosen by {picks} on the very scores below, by the numbers as they are "
        "and not by their intervals: what is best of several by chance looks better than it is."
    )


def _default(table: str) -> dict[str, bool]:
    return {"default": True} if table == TABLES[0] else {}


def _differences(rows: Sequence[Any]) -> str:
    """The paired differences, where the run compared with something."""
    if not rows:
        return ""
    against = ", ".join(dict.fromkeys(code(each.against) for each in rows))
    heading = f"Less {against}, on the samples that both answered, in percentage points:"
    return f"{heading}\n\n{_table(rows, _difference)}"


def _table(rows: Sequence[Any], cell: Callable[[Any], str]) -> str:
    """One line per variant, one column per suite and metric."""
    columns = list(dict.fromkeys((each.suite, each.measure) for each in rows))
    found = {(each.variant, each.suite, each.measure): each for each in rows}
    lines = [
        row("variant", *(plain(f"{suite} {measure}") for suite, measure in columns)),
        row("---", *["---:"] * len(columns)),
    ]
    for name in dict.fromkeys(each.variant for each in rows):
        cells = [found.get((name, *column)) for column in columns]
        lines.append(row(code(name), *("-" if each is None else cell(each) for each in cells)))
    return "\n".join(lines)


def _score(score: Any) -> str:
    if isnan(score.value):
        return "-"
    value, low, high = (f"{100 * v:.1f}" for v in (score.value, score.low, score.high))
    return f"{value} ({low} to {high}, n={score.n:,})"


def _difference(pair: Any) -> str:
    if isnan(pair.difference):
        return "-"
    middle, low, high = (f"{100 * v:+.1f}" for v in (pair.difference, pair.low, pair.high))
    return f"{middle} ({low} to {high})"


def collect(
    api: Any,
    namespace: str,
    title: str,
    description: str,
    items: Sequence[tuple[str, str, str]],
    *,
    private: bool,
) -> str:
    """Put repositories into a collection, which is made if it is not there.

    Args:
        api: The Hub's client.
        namespace: Whose collection.
        title: Its title.
        description: What it is about.
        items: Repository, `model` or `dataset`, and a note for each.
        private: Whether a collection that has to be made is private.

    Returns:
        Its address.

    Raises:
        PublishError: If the Hub refuses or cannot be reached.
    """
    with publish_errors(f"collection {title!r}"):
        made = api.create_collection(
            title=title[:_TITLE],
            namespace=namespace,
            description=description[:_DESCRIPTION] or None,
            private=private,
            exists_ok=True,
        )
        if private and made.private is False:
            raise PublishError(
                f"the collection {title!r} is there already and is public, and what goes into it "
                f"is private. Choose another title, or make it private on the Hub."
            )
        for repo, kind, note in items:
            api.add_collection_item(
                made.slug, repo, kind, note=note[:_NOTE] or None, exists_ok=True
            )
    return f"{api.endpoint}/collections/{made.slug}"
