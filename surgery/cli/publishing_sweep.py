"""Publishing the variants of a sweep, one after the other, with an index of them."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from surgery.cli.publishing import Wish, evaluation_of, look, ready, send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eval.sweep.results import Results
    from surgery.hub.account import Target
    from surgery.hub.publish import Published
    from surgery.plan import Plan
    from surgery.recipe import Recipe


@dataclass
class Done:
    """What became of a sweep.

    Attributes:
        card: The index card.
        planned: For a dry run: repository to its files and their bytes.
        published: Every repository that is there now.
        left_out: Variants that a pick cannot be held against, and why.
        collection: The collection's address, or None.
    """

    card: str = ""
    planned: dict[str, dict[str, int]] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    collection: str | None = None


def publish_sweep(run: Path, namespace: str, wish: Wish, picks: Sequence[str]) -> Done:
    """Merge and publish the variants of a run, then an index of them and a collection.

    A variant that is on the Hub already is compared and left; so what was interrupted goes on.

    Args:
        run: The sweep's folder.
        namespace: A user or an organization.
        wish: What the user asked for.
        picks: Conditions that a variant has to fulfil.

    Raises:
        SurgeryError: If no variant is left, or something does not hold.
    """
    from surgery.hub.account import client
    from surgery.hub.sweep import slug

    results, names, left_out = _chosen(run, picks)
    done = Done(left_out=left_out)
    for told in left_out:
        wish.say(f"left out: {told}")
    title = wish.collection or str(results.summary.get("sweep") or run.resolve().name)
    work = _Work(run, client(), wish, results, done, picks)
    repos = {name: f"{namespace}/{slug(f'{title}-{name}')}" for name in names}
    _check_apart(repos)
    index = f"{namespace}/{slug(title)}"
    shelf = look(work.api, index, wish, kind="dataset", expected=_index_files(run))
    targets = {name: work.look(name, repo) for name, repo in repos.items()}
    if not wish.dry_run:
        done.planned.clear()
        for name, repo in repos.items():
            work.variant(name, repo, targets[name])
    work.index(index, shelf, title, repos)
    return done


def _index_files(run: Path) -> dict[str, Path | bytes]:
    """A run's tables, and a place for the card."""
    from surgery.hub.sweep import TABLES

    return {"README.md": b"", **{f"{table}.csv": run / f"{table}.csv" for table in TABLES}}


def _check_apart(repos: Mapping[str, str]) -> None:
    """Refuse variants whose names come to the same on the Hub, which does not tell case apart."""
    from surgery.errors import PublishError

    taken: dict[str, str] = {}
    for name, repo in repos.items():
        other = taken.setdefault(repo.lower(), name)
        if other != name:
            raise PublishError(
                f"variants {other!r} and {name!r} would both be published as {repo}. Give the "
                f"sweep a shorter name with --collection, or leave one out with --pick."
            )


def _chosen(run: Path, picks: Sequence[str]) -> tuple[Results, list[str], list[str]]:
    """The run's results, the variants to publish, and those that cannot be judged."""
    from eval.graded import read_records
    from eval.pick import parse_pick, picked
    from eval.published import parents_of
    from eval.sweep.results import load_results
    from surgery.errors import PublishError

    results = load_results(run)
    plain = parents_of(results.summary)
    names = [one["name"] for one in results.summary["variants"] if one["name"] not in plain]
    left_out: list[str] = []
    if picks:
        found = picked(results, read_records(run), [parse_pick(text) for text in picks])
        names = list(found.names)
        left_out = [f"{each.variant}: {each.reason}" for each in found.left_out]
    if not names:
        told = " and ".join(repr(text) for text in picks)
        why = f"none fulfils {told}" if picks else "it has only models as they are"
        raise PublishError(f"{run}: no variant to publish: {why}.")
    return results, names, left_out


@dataclass
class _Work:
    """A sweep under way."""

    run: Path
    api: Any
    wish: Wish
    results: Results
    done: Done
    picks: Sequence[str] = ()
    steps: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)

    def look(self, name: str, repo: str) -> Target | None:
        """See that one variant may go where it is to go, before any is sent."""
        target = look(self.api, repo, self.wish)
        self._plan(name, repo, self._recipe(self._told(name)))
        return target

    def variant(self, name: str, repo: str, target: Target | None) -> None:
        """Merge one variant, publish it, and let the merge go."""
        told = self._told(name)
        recipe = self._recipe(told)
        out = self.run / "merged" / repo.rpartition("/")[2]
        self._merge(out, name, recipe, told)
        subject = ready(out, repo, self.wish)
        subject = replace(subject, evaluation=evaluation_of(self.run, name, subject.name))
        _, published = send(self.api, out, target, subject, self.wish)
        if published is not None:
            self.done.published.append(published)
            self.wish.say(f"{published.url} holds {name}")
            shutil.rmtree(out, ignore_errors=True)
            with suppress(OSError):
                out.parent.rmdir()

    def _told(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = next(
            one for one in self.results.summary["variants"] if one["name"] == name
        )
        return found

    def _recipe(self, told: Mapping[str, Any]) -> Recipe:
        from surgery.recipe import parse_recipe

        where = f"{self.run / 'run.json'}, variant {told['name']}"
        return parse_recipe(told["recipe"], where, self.wish.models)

    def _merge(self, out: Path, name: str, recipe: Recipe, told: Mapping[str, Any]) -> None:
        """Write the variant, if an earlier attempt did not, and see that it is what was scored."""
        from surgery.checkpoint.ledger import LEDGER, read_ledger
        from surgery.errors import PublishError
        from surgery.execute.run import execute
        from surgery.hub.parents import content_of
        from surgery.plan import make_plan
        from surgery.recipe import opened
        from surgery.recipe.dump import to_yaml

        there = (out / LEDGER).is_file() and read_ledger(out).recipe == to_yaml(recipe)
        if not there:
            self.wish.say(f"merging {name}")
            with opened(recipe, self.wish.remote) as models:
                plan = make_plan(recipe, models)
                execute(plan, models, out, overwrite=True)
        if content_of(out) != told["fingerprint"]:
            raise PublishError(
                f"variant {name!r} comes out otherwise than it was when the run scored it: a model "
                f"of it changed since. Run the sweep again."
            )

    def _plan(self, name: str, repo: str, recipe: Recipe) -> None:
        """What would be published, from headers alone."""
        from surgery.checkpoint.source import Remote
        from surgery.execute.files import MADE, companions
        from surgery.hub.parents import parents_of
        from surgery.hub.prepare import settle
        from surgery.plan import make_plan
        from surgery.recipe import opened

        with opened(recipe, Remote.RANGES) as models:
            plan = make_plan(recipe, models)
        self._note(name, plan, settle(parents_of(plan), self.wish.licence).license)
        files = dict.fromkeys(plan.shards, 0)
        for op in plan.ops:
            files[op.shard] += op.nbytes
        files |= {key: len(data) for key, (data, _) in companions(plan).items() if key not in MADE}
        self.done.planned[repo] = files

    def _note(self, name: str, plan: Plan, licence: str | None) -> None:
        from surgery.plan.wording import step_lines

        self.steps[name] = "; ".join([plan.recipe.base, *step_lines(plan)])
        self.licences[name] = licence or ""

    def index(self, repo: str, target: Target | None, title: str, repos: Mapping[str, str]) -> None:
        """Publish the index, and put all into a collection."""
        from eval.published import index_rows, parents_of
        from surgery.hub.account import check_card
        from surgery.hub.bundle import Bundle
        from surgery.hub.publish import publish
        from surgery.hub.sweep import Chosen, Item, collect, index_card

        summary = self.results.summary
        items = [Item(name, where, self.steps[name]) for name, where in repos.items()]
        plain = parents_of(summary)
        names = [str(one["name"]) for one in summary["variants"]]
        rows = index_rows(self.results, [*plain, *(n for n in names if n not in plain)])
        others = [name for name in names if name not in plain and name not in repos]
        chosen = Chosen(self.picks, tuple(others))
        shared = set(self.licences.values())
        licence = shared.pop() if len(shared) == 1 and shared != {"other"} else ""
        about = str(summary.get("description") or "")
        self.done.card = index_card(title, about, items, rows, licence=licence, chosen=chosen)
        files = {**_index_files(self.run), "README.md": self.done.card.encode()}
        if target is not None:
            check_card(self.done.card, target)
        if self.wish.dry_run or target is None:
            bundle = Bundle(files)
            self.done.planned[repo] = {name: bundle.size(name) for name in files}
            return
        message = f"Index of {title}"
        self.done.published.append(
            publish(self.api, Bundle(files), target, message, say=self.wish.say)
        )
        notes = [(item.repo, "model", item.steps) for item in items]
        self.done.collection = collect(
            self.api, repo.partition("/")[0], title, about,
            [(repo, "dataset", "index: what each variant is and scores"), *notes],
            private=self.wish.private,
        )  # fmt: skip
