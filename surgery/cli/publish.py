"""`surgery publish`: a merge, or the variants of a sweep, to the Hub."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.checkpoint.source import Remote
from surgery.cli.console import print_json, stderr, stdout
from surgery.cli.options import Json, Models, Quiet, RemoteOption, bindings
from surgery.cli.progress import ByteProgress

if TYPE_CHECKING:
    from surgery.hub.merge import PublishOptions
    from surgery.hub.publish import Published

_BRANCH = re.compile(r"[A-Za-z0-9][\w./-]{0,99}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

MergeFolder = Annotated[
    str | None,
    typer.Argument(
        metavar="OUT",
        help="Output folder of 'surgery merge'; omitted with --sweep.",
        show_default=False,
    ),
]
Repository = Annotated[
    str | None,
    typer.Argument(
        metavar="NAMESPACE/NAME", help="Repository NAMESPACE/NAME; with --sweep, NAMESPACE alone."
    ),
]
Sweep = Annotated[
    Path | None,
    typer.Option(
        "--sweep", metavar="RUN", help="Publish the variants of a run of 'surgery sweep'."
    ),
]
Picks = Annotated[
    list[str] | None,
    typer.Option(
        "--pick",
        metavar="CONDITION",
        help="With --sweep: condition on variants, such as 'M_v2r >= in' or 'gsm8k > in "
        "+ 2%'; repeatable.",
    ),
]
Scores = Annotated[
    Path | None,
    typer.Option("--run", metavar="RUN", help="Evaluation run with scores for the card."),
]
Private = Annotated[
    bool, typer.Option("--private/--public", help="Visibility of the repository if it is created.")
]
Dry = Annotated[
    bool,
    typer.Option("--dry-run", help="Run all checks, show card and files, and write nothing."),
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", metavar="B", help="Target branch; created if missing."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a different merge in the repository.")
]
Collection = Annotated[
    str | None,
    typer.Option("--collection", metavar="TITLE", help="Collection to add the repository to."),
]
License = Annotated[
    str | None,
    typer.Option(
        "--license",
        metavar="ID",
        help="License of the merge if its parents' licenses differ: a Hub id, or other:NAME:LINK.",
    ),
]


def command(
    out: MergeFolder = None,
    location: Repository = None,
    *,
    sweep: Sweep = None,
    pick: Picks = None,
    run: Scores = None,
    private: Private = True,
    dry_run: Dry = False,
    revision: Revision = None,
    collection: Collection = None,
    licence: License = None,
    overwrite: Overwrite = False,
    model: Models = None,
    remote: RemoteOption = Remote.AUTO,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a merge on the Hub, with a model card and its scores.

    Verifies the merge against its ledger and parents, loads it, and checks the parents' licenses.
    Then sends it in one commit and compares the repository with the local files. Log in first:
    hf auth login.
    """
    from surgery.hub.merge import PublishOptions

    quiet = quiet or json
    options = PublishOptions(
        private, dry_run, revision, collection, licence, bindings(model), remote, overwrite,
        report=lambda message: None if quiet else stderr().print(message, soft_wrap=True),
        progress=lambda label: ByteProgress(label, None, quiet=quiet),
    )  # fmt: skip
    if revision is not None and not _BRANCH.fullmatch(revision):
        raise typer.BadParameter(
            f"{revision!r} is not a branch name. Expected letters, digits, '-', '_', '.', '/'.",
            param_hint="--revision",
        )
    if quiet or not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()
    if sweep is None:
        records = _publish_merge(out, location, options, run, pick, quiet=quiet)
    else:
        for value, option in ((run, "--run"), (revision, "--revision")):
            if value is not None:
                raise typer.BadParameter(
                    "applies to a single merge, not to --sweep.", param_hint=option
                )
        records = _publish_sweep(out, location, options, sweep, pick, quiet=quiet)
    if json:
        print_json(records)


def _publish_merge(
    merge_folder: str | None,
    target: str | None,
    options: PublishOptions,
    run: Path | None,
    pick: list[str] | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Publish one merge."""
    from eval.publishing import publish_model

    if pick:
        raise typer.BadParameter("applies to --sweep only.", param_hint="--pick")
    if merge_folder is None or target is None:
        raise typer.BadParameter(
            "needs a merge and its target: surgery publish OUT me/my-merge",
            param_hint="OUT NAMESPACE/NAME",
        )
    repo = _repo(target)
    package, published = publish_model(Path(merge_folder), repo, options, run)
    files = {name: package.bundle.size(name) for name in package.bundle.files}
    if not quiet:
        if published is None:
            _print_dry(repo, package.card, files)
        else:
            _print_done(published)
    if published is None:
        return {"repo": repo, "dry_run": True, "card": package.card, "files": files}
    return _record(published)


def _publish_sweep(
    merge_folder: str | None,
    target: str | None,
    options: PublishOptions,
    sweep: Path,
    pick: list[str] | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Publish the variants of a sweep."""
    from eval.publishing import publish_sweep

    if merge_folder is None or target is not None or not _NAME.fullmatch(merge_folder):
        raise typer.BadParameter(
            "with --sweep give the namespace alone: surgery publish --sweep RUN NAMESPACE",
            param_hint="NAMESPACE",
        )
    done = publish_sweep(sweep, merge_folder, options, pick or ())
    if not quiet:
        for repo, files in done.planned.items():
            _print_files(repo, files)
        if options.dry_run:
            stdout().print("and a card, a picture, a recipe and a ledger for every merge")
            stdout().print(f"\n{done.card}", soft_wrap=True)
        for published in done.published:
            _print_done(published)
        if done.collection:
            stdout().print(f"collection: {done.collection}", soft_wrap=True)
    return {
        "dry_run": options.dry_run,
        "card": done.card,
        "planned": done.planned,
        "published": [_record(item) for item in done.published],
        "left_out": list(done.left_out),
        "collection": done.collection,
    }


def _repo(text: str) -> str:
    """`namespace/name`.

    Raises:
        typer.BadParameter: If it is of another form.
    """
    namespace, slash, name = text.partition("/")
    good = _NAME.fullmatch(namespace) and _NAME.fullmatch(name) and ".." not in name
    if not (slash and good and "--" not in name):
        raise typer.BadParameter(
            f"{text!r} is not namespace/name. Expected your user name or an organization, '/', and "
            f"a name of letters, digits, '-', '_' and '.', not beginning with one of these, and "
            f"without '--' and '..'.",
            param_hint="NAMESPACE/NAME",
        )
    return text


def _record(published: Published) -> dict[str, Any]:
    return {
        "repo": published.repo,
        "commit": published.commit,
        "url": published.url,
        "private": published.private,
        "files": published.files,
        "bytes": published.nbytes,
        "copied": list(published.copied),
    }


def _print_dry(repo: str, card: str, files: dict[str, int]) -> None:
    """Print the card and the files that would be published."""
    stdout().print(card, soft_wrap=True)
    _print_files(repo, files)
    stderr().print("nothing was written: this was a dry run", soft_wrap=True)


def _print_files(repo: str, files: dict[str, int]) -> None:
    from surgery.text import quantity, size_text

    console = stdout()
    total = size_text(sum(files.values()))
    console.print(f"{repo}: {quantity(len(files), 'file')}, {total}", soft_wrap=True)
    for name, nbytes in files.items():
        console.print(f"  {size_text(nbytes):>9}  {name}", soft_wrap=True)


def _print_done(published: Published) -> None:
    from surgery.text import quantity, size_text

    console = stdout()
    visibility = "private" if published.private else "public"
    text = f"{quantity(published.files, 'file')}, {size_text(published.nbytes)}, {visibility}"
    console.print(f"{published.url}: {text}", soft_wrap=True)
    if published.copied:
        copied = quantity(len(published.copied), "file")
        console.print(f"  {copied} copied from a parent by the Hub itself", soft_wrap=True)
    console.print(
        f"  commit {published.commit}; every file on the Hub has the hash of the local file",
        soft_wrap=True,
    )
