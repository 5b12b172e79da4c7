"""Account and target of a publication: the account behind the token, the target's contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.hub import redact_signed_urls
from surgery.checkpoint.ledger import LEDGER
from surgery.errors import PublishError, did_you_mean
from surgery.hub.failure import LOG_IN, publish_errors
from surgery.reading import read_json
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_HUB_FILE = ".gitattributes"
_ROLES = frozenset({"write", "admin", "contributor"})


def client() -> Any:
    """Return the Hub's client; it finds the token itself."""
    from huggingface_hub import HfApi

    redact_signed_urls()
    return HfApi(library_name="vlm-surgery")


@dataclass(frozen=True)
class Account:
    """The account that the token belongs to.

    Attributes:
        name: The user.
        roles: Organizations to the role in them, None where the Hub does not tell.
        role: What the token may do: `read`, `write`, `fineGrained`, or None.
    """

    name: str
    roles: Mapping[str, str | None]
    role: str | None

    @classmethod
    def current(cls, api: Any) -> Account:
        """Ask the Hub.

        Raises:
            PublishError: If no account is logged in, or the Hub does not respond.
        """
        with publish_errors("asking the Hub who you are"):
            result = api.whoami()
        access = (result.get("auth") or {}).get("accessToken") or {}
        return cls(
            name=str(result["name"]),
            roles={str(org["name"]): org.get("roleInOrg") for org in result.get("orgs") or ()},
            role=access.get("role"),
        )

    def check(self, namespace: str) -> None:
        """Refuse a namespace that this account may surely not write to.

        Raises:
            PublishError: If the token only reads, or the namespace is somebody else's.
        """
        if self.role == "read":
            raise PublishError(f"the token of {self.name!r} is read-only. {LOG_IN}.")
        if namespace == self.name:
            return
        if namespace not in self.roles:
            names = [self.name, *self.roles]
            raise PublishError(
                f"{namespace!r} is neither you nor an organization of yours."
                f"{did_you_mean(namespace, names)}"
            )
        role = self.roles[namespace]
        if role is not None and role not in _ROLES:
            raise PublishError(
                f"you are {role!r} in {namespace!r}, which does not allow writing. Ask an "
                f"administrator, or publish as {self.name!r}."
            )


@dataclass(frozen=True)
class Target:
    """A repository as it is before anything is published to it.

    Attributes:
        repo: `namespace/name`.
        revision: The branch to publish to; None for the default one.
        exists: Whether the repository is there.
        branch: Whether the branch is.
        private: Whether it is private, or will be.
        head: The branch's last commit, or None.
        files: Names of the files there.
        published: Names of those files that an earlier publication wrote.
        kind: `model` or `dataset`.
        content: Fingerprint of the merge that is there, if one is.
    """

    repo: str
    revision: str | None
    exists: bool
    branch: bool
    private: bool
    head: str | None
    files: frozenset[str]
    published: frozenset[str]
    kind: str = "model"
    content: str | None = None

    @classmethod
    def look(
        cls,
        api: Any,
        repo: str,
        revision: str | None = None,
        *,
        private: bool,
        kind: str = "model",
        expected: Collection[str] = (),
    ) -> Target:
        """Read the state of a repository.

        Args:
            api: The Hub's client.
            repo: `namespace/name`.
            revision: A branch, or None for the default one.
            private: Whether it is to be private, if it has to be made.
            kind: `model` or `dataset`.
            expected: Names of files that an earlier publication may have written, in addition to
                its ledger lists.

        Raises:
            PublishError: If the Hub cannot be asked, or files of somebody else are in the way.
        """
        from huggingface_hub import errors

        with publish_errors(f"{repo}: looking at what is there"):
            try:
                info = api.repo_info(repo, repo_type=kind)
            except errors.RepositoryNotFoundError:
                nothing: frozenset[str] = frozenset()
                return cls(repo, revision, False, False, private, None, nothing, nothing, kind)
            branch = True
            if revision is not None:
                try:
                    head = api.repo_info(repo, revision=revision, repo_type=kind).sha
                except errors.RevisionNotFoundError:
                    head, branch = info.sha, False  # a new branch begins where the default one is
            else:
                head = info.sha
            files = frozenset(api.list_repo_files(repo, revision=head, repo_type=kind))
            actual, content = (
                _ledger_files(api, repo, head) if LEDGER in files else (frozenset(expected), None)
            )
        target = cls(
            repo, revision, True, branch, bool(info.private), head, files, actual, kind, content
        )
        target._check()
        return target

    def _check(self) -> None:
        if self.foreign and LEDGER not in self.files:
            raise PublishError(
                f"{self.repo} already exists and has files that this toolkit did not publish "
                f"({first_names(self.foreign)}). Choose another name."
            )

    @property
    def foreign(self) -> list[str]:
        """Names of the files that no publication wrote."""
        return sorted(self.files - self.published - {_HUB_FILE, "README.md"})

    def check_visibility(self, *, private: bool) -> None:
        """Refuse a repository that more people see, or fewer, than was asked for.

        Raises:
            PublishError: If it exists with the other visibility.
        """
        if self.exists and self.private != private:
            raise PublishError(
                f"{self.repo} already exists and is private, which --public does not change. "
                f"Make it public in its settings on the Hub, or omit --public."
                if self.private
                else f"{self.repo} already exists and is public. Use --public to publish to it, or "
                f"make it private in its settings on the Hub first."
            )

    def check_content(self, content: str, *, overwrite: bool) -> None:
        """Refuse to replace a different merge, unless overwriting is requested.

        Args:
            content: Fingerprint of the merge that is to go there.
            overwrite: Whether another one may be replaced.

        Raises:
            PublishError: If another one is there.
        """
        if self.content not in (None, content) and not overwrite:
            raise PublishError(
                f"{self.repo} has a different merge ({str(self.content)[:12]}..., this one is "
                f"{content[:12]}...). Choose another name or --revision, or use --overwrite to "
                f"replace it."
            )

    def stale(self, expected: Mapping[str, object]) -> list[str]:
        """Files of an earlier publication that the new one does not have."""
        return sorted((self.published & self.files) - expected.keys())


def _ledger_files(api: Any, repo: str, head: str) -> tuple[frozenset[str], str]:
    """Names of the files that the ledger in a repository lists, and the fingerprint it tells."""
    from pathlib import Path

    path = Path(api.hf_hub_download(repo, LEDGER, revision=head))
    try:
        document = read_json(path)
        names = {entry["shard"] for entry in document["tensors"]}
        names |= {entry["name"] for entry in document["files"]}
        content = str(document["fingerprint"])
    except (OSError, KeyError, TypeError, ValueError):
        raise PublishError(
            f"{repo} has a {LEDGER} that this version cannot read. Choose another name."
        ) from None
    return frozenset({LEDGER, "model.safetensors.index.json", *names}), content


def check_card(text: str, target: Target) -> None:
    """Have the Hub validate a card.

    Args:
        text: The card.
        target: What it is for.

    Raises:
        PublishError: If the Hub finds fault with it; says which.
    """
    from huggingface_hub import DatasetCard, ModelCard

    kind = ModelCard if target.kind == "model" else DatasetCard
    with publish_errors(f"{target.repo}: validating the card"):
        try:
            kind(text).validate()
        except ValueError as error:
            raise PublishError(
                f"{target.repo}: the Hub does not accept the card: {' '.join(str(error).split())}"
            ) from error
