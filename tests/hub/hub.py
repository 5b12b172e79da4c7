"""The hub itself: what it holds, who may do what, what it has seen."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from tests.hub.faults import NONE, Fault
from tests.hub.store import Blob, Repo, Store, is_large
from tests.hub.wire import Refusal, Request

if TYPE_CHECKING:
    import re
    from pathlib import Path

TOKEN = "hf_thisIsASecretThatNobodyMaySee"

READ_TOKEN = "hf_thisIsASecretThatMayOnlyRead"


@dataclass
class Hub:
    """A model hub, empty at first.

    Attributes:
        user: Whose tokens the tokens are.
        orgs: Organizations the user belongs to, and the role there.
        tokens: The tokens that count, and their roles: `write` or `read`.
        owners: Tokens that are somebody else's, and whose.
        gated: Repositories whose files may not be read.
        broken: Status to answer everything with, or 0.
        chunk_size: Objects larger than this are uploaded in parts of this size.
        page_size: Entries per page of a listing.
        rate: Bytes a second that the line carries, all connections together; 0 for no limit.
        redirect: Whether large files are read from the storage host, as they are on the real Hub.
        xet_hashes: Whether large files have a Xet hash (which copying between repositories needs).
        faults: What is to go wrong, in order; see `fail`.
        asked: Every request so far, as `METHOD /path`, unquoted.
        headers: Authorization headers seen.
        unknown: Requests for what this hub does not know. A test wants none.
        crashes: What went wrong in the hub itself. The fixture refuses any.
        sent: Bytes of files sent so far, by `owner/name/path`.
        received: Bytes of large objects received so far, by sha256, whether kept or not.
        endpoint: Its address, once served.
        storage: The address of its storage host, once served.
    """

    user: str = "somebody"
    orgs: dict[str, str] = field(default_factory=lambda: {"org": "admin", "lab": "write"})
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: "write", READ_TOKEN: "read"})
    owners: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    broken: int = 0
    chunk_size: int = 5 * 1024 * 1024
    page_size: int = 1000
    rate: float = 0.0
    redirect: bool = True
    xet_hashes: bool = False
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    endpoint: str = ""
    storage: str = ""
    store: Store = field(default_factory=Store)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)
    free_at: float = 0.0

    def add(
        self,
        repo: str,
        folder: Path,
        *,
        kind: str = "models",
        branch: str = "main",
        tag: str = "",
        private: bool = False,
    ) -> str:
        """Publish a folder, as it is, as one commit; returns the commit's id."""
        files = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                data = path.read_bytes()
                files[name] = Blob(data, is_large(name, len(data)))
        with self.lock:
            repository = self.store.find(repo, kind) or self.store.make(repo, kind, private=private)
            commit = repository.commit(branch, files, "Publish a folder").id
            if tag:
                repository.tags[tag] = commit
        return commit

    def pace(self, count: int) -> None:
        """Wait until the line can take so many bytes."""
        if not self.rate:
            return
        with self.lock:
            now = time.monotonic()
            self.free_at = max(now, self.free_at) + count / self.rate
            wait = self.free_at - now
        if wait > 0.005:  # time.sleep is not precise below 5 ms
            time.sleep(wait)

    def fail(self, match: str | re.Pattern[str], **options: Any) -> Fault:
        """Order trouble; see `Fault` for what there is."""
        fault = Fault(match, **options)
        with self.lock:
            self.faults.append(fault)
        return fault

    def files(self, repo: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        """The files of a repository, for tests to look at."""
        with self.lock:
            repository = self.store.find(repo, kind)
            assert repository is not None, f"no repository {repo}"
            return {path: blob.data for path, blob in repository.at(revision).files.items()}

    def fetched(self) -> list[str]:
        """Names of the files whose bytes were sent."""
        with self.lock:
            split = (
                questions.split("/") for questions in self.requests if questions.startswith("GET ")
            )
            return sorted(name for parts in split if (name := self._file(parts)))

    def forget(self) -> None:
        """Forget what was asked and counted; keep the repositories and the faults."""
        with self.lock:
            for record in (self.requests, self.headers, self.unknown, self.sent, self.received):
                record.clear()

    def _file(self, parts: list[str]) -> str:
        if parts[1] == "cdn":
            return "/".join(parts[6:])
        kind = "datasets" if parts[1] == "datasets" else "models"
        owner, name, verb, revision, *rest = [*parts[1 + (kind == "datasets") :], "", "", "", ""]
        result = self.store.find(f"{owner}/{name}", kind)
        if verb != "resolve" or result is None:
            return ""
        path = "/".join(part for part in rest if part)
        try:
            blob = result.at(revision).files.get(path)
        except Refusal:
            return ""
        return "" if blob is None or (blob.lfs and self.redirect) else path

    # Who may do what.

    def name_of(self, token: str | None) -> str:
        """Return the owner of a token; an anonymous request has none."""
        return "" if token is None else self.owners.get(token, self.user)

    def identify(self, request: Request) -> str:
        """The user who asks, for what only users may ask."""
        if request.token is None:
            raise Refusal(401, "Invalid username or password.")
        return self.name_of(request.token)

    def role_in(self, user: str, namespace: str) -> str:
        """Return a user's role in a namespace: `admin`, `write`, `read`, or nothing."""
        if user and user == namespace:
            return "admin"
        return self.orgs.get(namespace, "") if user == self.user else ""

    def may_write(self, request: Request, namespace: str) -> None:
        """Refuse who may not write in a namespace, or holds a token that may not."""
        user = self.identify(request)
        if self.tokens[request.token or ""] != "write":
            raise Refusal(403, "Forbidden: you must use a write token to write to the Hub")
        if self.role_in(user, namespace) not in ("write", "admin"):
            raise Refusal(403, f"You don't have the rights to write under the name {namespace}")

    def readable(self, request: Request, kind: str, name: str) -> Repo:
        """A repository that the one who asks may see."""
        repo = self.store.find(name, kind)
        user = self.name_of(request.token)
        if repo is not None and (not repo.private or self.role_in(user, repo.namespace)):
            return repo
        if request.token is None:
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        raise Refusal(404, "Repository not found", "RepoNotFound")

    def writable(self, request: Request, kind: str, name: str) -> Repo:
        """A repository that the one who asks may write to."""
        repo = self.readable(request, kind, name)
        self.may_write(request, repo.namespace)
        return repo

    # Addresses that carry their own permission.

    def sign(self, origin: str, path: str, **query: object) -> str:
        """An address that needs no token, for it is signed."""
        text = urlencode(query)
        return f"{origin}{quote(path)}?{text}&signature={self._signature(path, text)}"

    def check_signature(self, request: Request) -> None:
        """Refuse an address that this hub has not signed just so."""
        value = request.one("signature")
        text = urlencode({k: v[0] for k, v in request.query.items() if k != "signature"})
        if not hmac.compare_digest(value, self._signature(unquote(request.path), text)):
            raise Refusal(403, "SignatureDoesNotMatch")

    def _signature(self, path: str, text: str) -> str:
        return hmac.new(b"of this hub", f"{path}?{text}".encode(), hashlib.sha256).hexdigest()

    # What the server notes.

    def note(self, method: str, path: str, authorization: str) -> Fault:
        """Put a request on record; returns what shall go wrong with it."""
        text = f"{method} {unquote(path)}"
        with self.lock:
            self.requests.append(text)
            self.headers.append(authorization)
            sent = sum(count for name, count in self.sent.items() if text.endswith(_tail(name)))
            return next((fault for fault in self.faults if fault.wants(text, sent)), NONE)


def _tail(name: str) -> str:
    """The path within the repository, of a name in the counters."""
    return "/" + "/".join(name.split("/")[3 if name.startswith("datasets/") else 2 :])
