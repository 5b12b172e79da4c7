"""Send a merge to the Hub, and verify that the repository equals the local files."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from surgery.errors import PublishError
from surgery.hub.failure import CopyRefusedError, HubBusyError, publish_errors
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from surgery.hub.account import Target
    from surgery.hub.bundle import Bundle
    from surgery.hub.package import Package
    from surgery.hub.parents import Parent

_ATTEMPTS: Final = 5
_WAIT: Final = 2.0


@dataclass(frozen=True)
class ServerCopy:
    """A weight file that the Hub has already, in a parent.

    Attributes:
        name: What it is called here.
        repo: The parent.
        commit: Its commit.
        source: What it is called there.
    """

    name: str
    repo: str
    commit: str
    source: str


@dataclass(frozen=True)
class Published:
    """A completed publication, with every file compared after sending.

    Attributes:
        repo: `namespace/name`.
        commit: The commit that holds it.
        url: Its page.
        files: How many files it has.
        nbytes: Bytes of all of them.
        copied: Names of files that the Hub copied from a parent; nothing of them was sent.
        private: Whether the repository is private.
    """

    repo: str
    commit: str
    url: str
    files: int
    nbytes: int
    copied: tuple[str, ...]
    private: bool


def publish(
    api: Any,
    bundle: Bundle,
    target: Target,
    message: str,
    *,
    merge: tuple[Package, Sequence[Parent]] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Published:
    """Make the repository if need be, send everything in one commit, and compare.

    Publishing again resumes an interrupted publication: large files that arrived are not sent a
    second time, and an existing publication is not changed.

    Args:
        api: The Hub's client.
        bundle: The files.
        target: Where, as it was looked at before.
        message: The commit's.
        merge: For a merge, what it is and the models it descends from: files that one of them has
            on the Hub need not be sent.
        report: Called with a sentence about each step.

    Raises:
        PublishError: If the Hub refuses, cannot be reached, or has something else than was sent.
    """
    repo, revision = target.repo, target.revision
    with publish_errors(f"{repo}: making the repository"):
        if not target.exists:
            api.create_repo(repo, private=target.private, repo_type=target.kind, exist_ok=True)
        if revision is not None and not target.branch:
            api.create_branch(repo, branch=revision, repo_type=target.kind, exist_ok=True)
    obsolete = [name for name in target.foreign if name not in bundle.files]
    if obsolete and merge is not None:
        report(
            f"{repo} has files of its own ({first_names(obsolete)}), which are left as they are; "
            f"'surgery verify {repo}' will name them"
        )
    copies = () if merge is None else unchanged(api, *merge)
    delivery = _Delivery(api, bundle, target, copies, message, report)
    commit = delivery.deliver()
    compare(api, bundle, target, commit)
    place = repo if target.kind == "model" else f"{target.kind}s/{repo}"
    url = f"{api.endpoint}/{place}" + (f"/tree/{revision}" if revision else "")
    copied = tuple(copy.name for copy in delivery.copies)
    return Published(repo, commit, url, len(bundle.files), bundle.nbytes, copied, target.private)


def unchanged(api: Any, package: Package, parents: Sequence[Parent]) -> tuple[ServerCopy, ...]:
    """Return the weight files that are equal to a file of a parent on the Hub.

    Raises:
        PublishError: If the Hub cannot be asked.
    """
    hub_files: dict[tuple[int, str], ServerCopy] = {}
    for repo, commit in dict.fromkeys((p.repo, p.commit) for p in parents if p.repo and p.commit):
        with publish_errors(f"{repo}: looking at its files"):
            weights = _weights(api, str(repo), str(commit))
        for name, (digest, nbytes) in weights.items():
            hub_files.setdefault((nbytes, digest), ServerCopy("", str(repo), str(commit), name))
    sizes = {nbytes for nbytes, _ in hub_files}
    bundle = package.bundle
    return tuple(
        replace(hub_files[key], name=shard)
        for shard in dict.fromkeys(tensor.shard for tensor in package.ledger.tensors)
        if bundle.size(shard) in sizes
        and (key := (bundle.size(shard), bundle.sha256(shard))) in hub_files
    )


def _weights(api: Any, repo: str, commit: str) -> dict[str, tuple[str, int]]:
    """sha256 and size of a repository's large files that the Hub can copy, by name."""
    return {
        item.path: (item.lfs.sha256, item.lfs.size)
        for item in api.list_repo_tree(repo, revision=commit)
        if getattr(item, "lfs", None) and item.xet_hash
    }


@dataclass
class _Delivery:
    """Files on their way into one commit; no copies any more where the Hub makes none."""

    api: Any
    bundle: Bundle
    target: Target
    copies: Sequence[ServerCopy]
    message: str
    report: Callable[[str], None]
    head: str | None = None

    def deliver(self) -> str:
        """Send everything, again while the Hub is busy or the connection breaks; the commit."""
        attempt = 1
        while True:
            try:
                return self._send()
            except HubBusyError as error:
                if attempt == _ATTEMPTS:
                    raise HubBusyError(f"{error} Files that arrived are not sent again.") from error
                wait = _WAIT * 2 ** (attempt - 1)
                self.report(
                    f"{error.args[0].removesuffix(' Try again.')} Trying again in {wait:.0f} s"
                )
                time.sleep(wait)
                attempt += 1

    def _send(self) -> str:
        commit = self._published_commit()
        if commit is not None:
            return commit
        if self.copies:
            try:
                return self._with_copies()
            except CopyRefusedError:
                repo = self.copies[0].repo
                self.report(f"the Hub does not copy files of {repo}; they are sent instead")
                self.copies = ()
        repo = self.target.repo
        with publish_errors(f"{repo}: uploading"), self.bundle.staged() as folder:
            info = self.api.upload_folder(
                repo_id=repo,
                repo_type=self.target.kind,
                folder_path=folder,
                revision=self.target.revision,
                commit_message=self.message,
                parent_commit=self.head,
                delete_patterns=[_exactly(name) for name in self._stale()] or None,
            )
        return str(info.oid)

    def _published_commit(self) -> str | None:
        """Return the branch's last commit, if it has all files."""
        repo, kind = self.target.repo, self.target.kind
        with publish_errors(f"{repo}: looking at what is there"):
            info = self.api.repo_info(repo, revision=self.target.revision, repo_type=kind)
            if bool(info.private) != self.target.private:
                visibility = "private" if info.private else "public"
                raise PublishError(
                    f"{repo} is {visibility} now, and nothing was sent. Check the repository."
                )
            self.head = head = str(info.sha)
            files = _files(self.api, self.target, head)
        whole = files.keys().isdisjoint(self._stale()) and not any(
            _wrong(self.bundle, name, files) for name in self.bundle.files
        )
        return head if whole else None

    def _with_copies(self) -> str:
        """Files of parents copied by the Hub itself, all others sent, in the same commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

        copied = {copy.name for copy in self.copies}
        operations: list[Any] = [
            CommitOperationCopy(
                copy.source,
                copy.name,
                src_revision=copy.commit,
                src_repo_id=copy.repo,
                src_repo_type="model",
            )
            for copy in self.copies
        ]
        operations += [
            CommitOperationAdd(name, content)
            for name, content in self.bundle.files.items()
            if name not in copied
        ]
        operations += [CommitOperationDelete(name, is_folder=False) for name in self._stale()]
        with publish_errors(f"{self.target.repo}: uploading"):
            info = self.api.create_commit(
                self.target.repo,
                operations,
                commit_message=self.message,
                revision=self.target.revision,
                parent_commit=self.head,
            )
        return str(info.oid)

    def _stale(self) -> list[str]:
        return self.target.stale(self.bundle.files)


def _exactly(name: str) -> str:
    """Return a pattern that matches one file name and no other."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def compare(api: Any, bundle: Bundle, target: Target, commit: str) -> None:
    """Compare every file on the Hub with the local file.

    Raises:
        PublishError: If one is not there or is another, or the Hub cannot be asked.
    """
    repo = target.repo
    with publish_errors(f"{repo}: comparing what is there with what was sent"):
        files = _files(api, target, commit)
    for name in bundle.files:
        wrong = _wrong(bundle, name, files)
        if wrong:
            raise PublishError(
                f"{repo}@{commit[:12]}: {name!r} {wrong}. Publish again; if it stays so, do not "
                f"use what is there."
            )


def _files(api: Any, target: Target, commit: str) -> dict[str, Any]:
    """Return the files of a commit, by name."""
    tree = api.list_repo_tree(target.repo, revision=commit, recursive=True, repo_type=target.kind)
    return {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}


def _wrong(bundle: Bundle, name: str, files: Mapping[str, Any]) -> str:
    """Return the difference of one file from its expected state; empty without one."""
    kind = files.get(name)
    if kind is None:
        return "is not there"
    if kind.size != bundle.size(name):
        return f"has {kind.size:,} bytes there, {bundle.size(name):,} here"
    text, local_hash = (
        (kind.lfs.sha256, bundle.sha256(name))
        if kind.lfs
        else (kind.blob_id, bundle.git_hash(name))
    )
    return (
        ""
        if text == local_hash
        else f"has the hash {text[:16]}... there, {local_hash[:16]}... here"
    )
