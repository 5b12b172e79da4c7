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
    rest: Sequence[str] = ()


def slug(text: str) -> str:
    """Return a name that is valid for a repository."""
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
    """Return the card of a sweep: each published variant with its recipe and scores.

    Args:
        name: The sweep's.
        description: What it was for.
        items: What is published.
        scores: The metrics of the variants and of the models that they are compared with:
            `variant`, `suite`, `measure`, `value`, `low`, `high`, `n`.
        differences: Their paired differences: `variant`, `against`, `suite`, `measure`,
            `difference`, `low`, `high`; none where the run compares nothing.
        licence: The Hub's id, or "" where the variants do not share one.
        selection: The rule that selected the published variants.
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
    """Return the warning that selection by score makes scores look better than they are."""
    if not selection.rest:
        return ""
    other_names = ", ".join(map(code, selection.rest))
    text = f"{count} of {count + len(selection.rest)} variants are published; not {other_names}."
    if not selection.picks:
        return text
    picks = " and ".join(map(code, selection.picks))
    return (
        f"{text} They were chosen by {picks} on the scores below, by point estimates and not by "
        "their intervals: the best of several by chance looks better than it is."
    )


def _default(table: str) -> dict[str, bool]:
    return {"default": True} if table == TABLES[0] else {}


def _differences(rows: Sequence[Any]) -> str:
    """Return the paired differences, if the run compared variants."""
    if not rows:
        return ""
    against = ", ".join(dict.fromkeys(code(row.against) for row in rows))
    heading = f"Less {against}, on the samples that both answered, in percentage points:"
    return f"{heading}\n\n{_table(rows, _difference)}"


def _table(rows: Sequence[Any], cell: Callable[[Any], str]) -> str:
    """One line per variant, one column per suite and metric."""
    columns = list(dict.fromkeys((item.suite, item.measure) for item in rows))
    tables = {(item.variant, item.suite, item.measure): item for item in rows}
    lines = [
        row("variant", *(plain(f"{suite} {measure}") for suite, measure in columns)),
        row("---", *["---:"] * len(columns)),
    ]
    for name in dict.fromkeys(item.variant for item in rows):
        cells = [tables.get((name, *column)) for column in columns]
        lines.append(row(code(name), *("-" if item is None else cell(item) for item in cells)))
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
    """Add repositories to a collection, which is created if missing.

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
        collection = api.create_collection(
            title=title[:_TITLE],
            namespace=namespace,
            description=description[:_DESCRIPTION] or None,
            private=private,
            exists_ok=True,
        )
        if private and collection.private is False:
            raise PublishError(
                f"the collection {title!r} already exists and is public, and what goes into it is "
                f"private. Choose another title, or make it private on the Hub."
            )
        for repo, kind, note in items:
            api.add_collection_item(
                collection.slug, repo, kind, note=note[:_NOTE] or None, exists_ok=True
            )
    return f"{api.endpoint}/collections/{collection.slug}"
