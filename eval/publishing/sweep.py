"""Publish the variants of a sweep, one after the other, with an index of them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from eval.graded import read_records
from eval.publishing.model import evaluation_of
from eval.publishing.pick import parse_pick, picked
from eval.publishing.scores import index_scores, plain_variants
from eval.sweep.results import load_results
from surgery.checkpoint.hub import fixed_revisions
from surgery.checkpoint.ledger import LEDGER, read_ledger
from surgery.checkpoint.source import Remote
from surgery.errors import PublishError
from surgery.execute.files import WRITTEN, companions
from surgery.execute.run import execute
from surgery.hub.account import check_card, client
from surgery.hub.bundle import Bundle
from surgery.hub.merge import PublishOptions, find_target, prove, send
from surgery.hub.parents import content_of, parents_of
from surgery.hub.prepare import settle
from surgery.hub.publish import publish
from surgery.hub.sweep import TABLES, IndexItem, Selection, collect, index_card, slug
from surgery.plan import make_plan
from surgery.plan.wording import step_lines
from surgery.recipe import opened, parse_recipe
from surgery.recipe.dump import to_yaml
from surgery.report.layers import layers_png

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from surgery.hub.account import Target
    from surgery.hub.publish import Published
    from surgery.recipe import Recipe
    from surgery.runs import RunTables


@dataclass
class SweepPublication:
    """The published variants of a sweep.

    Attributes:
        card: The index card.
        planned: For a dry run: repository to its files and their bytes.
        published: Every repository that is there now.
        left_out: Variants that no pick can decide on, each with the reason.
        collection: The collection's address, or None.
    """

    card: str = ""
    planned: dict[str, dict[str, int]] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    collection: str | None = None


@fixed_revisions()
def publish_sweep(
    run: Path,
    namespace: str,
    options: PublishOptions | None = None,
    picks: Sequence[str] = (),
) -> SweepPublication:
    """Merge and publish the variants of a run, then an index of them and a collection.

    A variant that is on the Hub already is compared and left; so an interrupted publication
    resumes.

    Args:
        run: The sweep's folder.
        namespace: A user or an organization.
        options: Settings; private and without a message when absent.
        picks: Conditions that a variant has to fulfil, such as `M_v2r >= in`.

    Raises:
        SurgeryError: If no variant is left, or a check fails.
    """
    options = options or PublishOptions()
    results, names, left_out = _selected(run, picks)
    publication = SweepPublication(left_out=left_out)
    for reason in left_out:
        options.report(f"not published: {reason}")
    title = options.collection or str(results.summary.get("sweep") or run.resolve().name)
    sweep = _Sweep(run, client(), options, results, publication, picks)
    repos = {name: f"{namespace}/{slug(f'{title}-{name}')}" for name in names}
    _check_distinct(repos)
    index = f"{namespace}/{slug(title)}"
    index_target = find_target(
        sweep.api, index, options, kind="dataset", expected=_index_files(run)
    )
    targets = {name: sweep.look(name, repo) for name, repo in repos.items()}
    if not options.dry_run:
        publication.planned.clear()
        for name, repo in repos.items():
            sweep.publish_variant(name, repo, targets[name])
    sweep.publish_index(index, index_target, title, repos)
    return publication


def _index_files(run: Path) -> dict[str, Path | bytes]:
    """Return a run's tables, and a place for the card."""
    return {"README.md": b"", **{f"{table}.csv": run / f"{table}.csv" for table in TABLES}}


def _check_distinct(repos: Mapping[str, str]) -> None:
    """Refuse variants whose names are one name on the Hub, which ignores case."""
    taken: dict[str, str] = {}
    for name, repo in repos.items():
        other = taken.setdefault(repo.lower(), name)
        if other != name:
            raise PublishError(
                f"variants {other!r} and {name!r} would both be published as {repo}. Give the "
                f"sweep a shorter name with --collection, or leave one out with --pick."
            )


def _selected(run: Path, picks: Sequence[str]) -> tuple[RunTables, list[str], list[str]]:
    """Return the run's results, the variants to publish, and those that no pick can decide on."""
    results = load_results(run)
    plain = plain_variants(results.summary)
    names = [
        variant["name"] for variant in results.summary["variants"] if variant["name"] not in plain
    ]
    left_out: list[str] = []
    if picks:
        selection = picked(results, read_records(run), [parse_pick(text) for text in picks])
        names = list(selection.names)
        left_out = [f"{reason.variant}: {reason.reason}" for reason in selection.left_out]
    if not names:
        conditions = " and ".join(repr(text) for text in picks)
        cause = f"none fulfils {conditions}" if picks else "it has only models as they are"
        raise PublishError(f"{run}: no variant to publish: {cause}.")
    return results, names, left_out


@dataclass
class _Sweep:
    """A sweep that is being published."""

    run: Path
    api: Any
    options: PublishOptions
    results: RunTables
    publication: SweepPublication
    picks: Sequence[str] = ()
    steps: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)

    def look(self, name: str, repo: str) -> Target | None:
        """Check that one variant may go to its repository, before any is sent."""
        target = find_target(self.api, repo, self.options)
        self._plan(name, repo, self._recipe(self._variant(name)))
        return target

    def publish_variant(self, name: str, repo: str, target: Target | None) -> None:
        """Merge one variant, publish it, and remove the merge."""
        variant = self._variant(name)
        out = self.run / "merged" / repo.rpartition("/")[2]
        self._merge(out, name, self._recipe(variant), str(variant["fingerprint"]))
        merge = prove(out, repo, self.options)
        merge = replace(merge, evaluation=evaluation_of(self.run, name, merge.name))
        _, published = send(self.api, out, target, merge, self.options, draw=layers_png)
        if published is not None:
            self.publication.published.append(published)
            self.options.report(f"{published.url} holds {name}")
            shutil.rmtree(out, ignore_errors=True)
            with suppress(OSError):
                out.parent.rmdir()

    def _variant(self, name: str) -> Mapping[str, Any]:
        variants: Sequence[Mapping[str, Any]] = self.results.summary["variants"]
        return next(variant for variant in variants if variant["name"] == name)

    def _recipe(self, variant: Mapping[str, Any]) -> Recipe:
        place = f"{self.run / 'run.json'}, variant {variant['name']}"
        return parse_recipe(variant["recipe"], place, self.options.models)

    def _merge(self, out: Path, name: str, recipe: Recipe, fingerprint: str) -> None:
        """Write the variant, if an earlier attempt did not, and check it against the run."""
        exists = (out / LEDGER).is_file() and read_ledger(out).recipe == to_yaml(recipe)
        if not exists:
            self.options.report(f"merging {name}")
            with opened(recipe, self.options.remote) as models:
                execute(make_plan(recipe, models), models, out, overwrite=True)
        if content_of(out) != fingerprint:
            raise PublishError(
                f"variant {name!r} differs from the variant that the run scored: one of its "
                f"models changed since. Run the sweep again."
            )

    def _plan(self, name: str, repo: str, recipe: Recipe) -> None:
        """Record the files to be published, from headers alone."""
        with opened(recipe, Remote.RANGES) as models:
            plan = make_plan(recipe, models)
        licence = settle(parents_of(plan), self.options.licence).license
        self.steps[name] = "; ".join([plan.recipe.base, *step_lines(plan)])
        self.licences[name] = licence or ""
        files = dict.fromkeys(plan.shards, 0)
        for op in plan.ops:
            files[op.shard] += op.nbytes
        files |= {
            key: len(data) for key, (data, _) in companions(plan).items() if key not in WRITTEN
        }
        self.publication.planned[repo] = files

    def publish_index(
        self, repo: str, target: Target | None, title: str, repos: Mapping[str, str]
    ) -> None:
        """Publish the index, and put all into a collection."""
        about = str(self.results.summary.get("description") or "")
        items = [IndexItem(name, location, self.steps[name]) for name, location in repos.items()]
        card = self.publication.card = self._index_card(title, about, items)
        files = {**_index_files(self.run), "README.md": card.encode()}
        if target is not None:
            check_card(card, target)
        bundle = Bundle(files)
        if self.options.dry_run or target is None:
            self.publication.planned[repo] = {name: bundle.size(name) for name in files}
            return
        self.publication.published.append(
            publish(self.api, bundle, target, f"Index of {title}", report=self.options.report)
        )
        notes = [(item.repo, "model", item.steps) for item in items]
        self.publication.collection = collect(
            self.api, repo.partition("/")[0], title, about,
            [(repo, "dataset", "index: what each variant is and scores"), *notes],
            private=self.options.private,
        )  # fmt: skip

    def _index_card(self, title: str, about: str, items: Sequence[IndexItem]) -> str:
        """Write the index card: published variants and everything that was scored."""
        summary = self.results.summary
        plain = plain_variants(summary)
        names = [str(variant["name"]) for variant in summary["variants"]]
        published = {item.variant for item in items}
        unpublished = [name for name in names if name not in plain and name not in published]
        scores, differences = index_scores(
            self.results, [*plain, *(n for n in names if n not in plain)]
        )
        shared = set(self.licences.values())
        licence = shared.pop() if len(shared) == 1 and shared != {"other"} else ""
        selection = Selection(self.picks, tuple(unpublished))
        return index_card(
            title, about, items, scores, differences, licence=licence, selection=selection
        )
