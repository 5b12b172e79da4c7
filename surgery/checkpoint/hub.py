"""Checkpoints on the Hugging Face Hub: fetched into its own cache, then local folders.

Small files come first, so that a repository that cannot be used is refused before a weight is
fetched. Pickles and other formats are never fetched, Python files only where a configuration
names some, to be copied. The client finds the token itself; this
module never sees it.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.custom_code import find_code
from surgery.checkpoint.folder import INDEX, choose_weights, from_index
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SMALL = (
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "*.vocab",
    "*.bpe",
    "LICEN[SC]E*",
    "NOTICE*",
)
_BELOW = "*/*"
_TEMPLATES = "additional_chat_templates/*.jinja"
_LIBRARY = "vlm-surgery"
_MALFORMED = (
    ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError,
)  # fmt: skip
"""Errors of the client for answers that are not the Hub's."""
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")
_CODE = "*.py"
_UNWANTED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
_ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at one commit.

    Attributes:
        repo: `org/name`.
        commit: The commit, 40 hexadecimal digits.
        name: Its path in the repository.
        size: Bytes.
        content: What the Hub calls its content: sha256 of a large file, git's hash of a small one.
    """

    repo: str
    commit: str
    name: str
    size: int
    content: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit[:12]}/{self.name}"


@dataclass(frozen=True)
class Snapshot:
    """A model's small files in the Hub's cache, at one commit; its weights may not be there.

    Attributes:
        repo: `org/name`.
        commit: The commit, 40 hexadecimal digits.
        folder: The snapshot's folder.
        shards: Names of its weight files.
    """

    repo: str
    commit: str
    folder: Path
    shards: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """True if the cache also has the weights."""
        return all((self.folder / shard).is_file() for shard in self.shards)


class _Pins:
    """Commits that branches and tags were found at, for as long as somebody wants them kept."""

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str, str | None], str] = {}
        self._blocks = 0
        self._lock = Lock()

    def begin(self) -> None:
        """Begin a block of `fixed_revisions`."""
        with self._lock:
            self._blocks += 1

    def end(self) -> None:
        """End a block; the last one forgets the commits."""
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self.commits.clear()

    def keep(self, key: tuple[str, str, str | None], commit: str) -> None:
        """Keep a commit inside a block."""
        with self._lock:
            if self._blocks:
                self.commits.setdefault(key, commit)


_PINS: Final = _Pins()


@contextmanager
def fixed_revisions() -> Iterator[None]:
    """Read each branch and tag at the commit where it was first found, in a block or a function.

    Commands and functions that open a model more than once run in such a block. Blocks may nest
    and overlap, also in several threads; what they found is forgotten when the last one ends.
    """
    _PINS.begin()
    try:
        yield
    finally:
        _PINS.end()


def fetch_small(repo: str, revision: str | None) -> Snapshot:
    """Fetch a model's configuration, tokenizer and processor files into the Hub's cache.

    Cached files are not fetched again; with `HF_HUB_OFFLINE=1` none is fetched.

    Args:
        repo: `org/name`.
        revision: Branch, tag or commit; the default branch when None.

    Raises:
        CheckpointError: If it does not exist, may not be read, cannot be reached, or has no
            safetensors weights.
    """
    with client_errors(repo, revision):
        folder = _snapshot(repo, revision, _SMALL, [_BELOW])
        commit = folder.name
        names, reached = _listing(repo, commit, folder)
        try:
            weights = choose_weights(names, f"{repo} on the Hub")
        except CheckpointError as error:
            raise (error if reached else CheckpointError(_unreachable(repo))) from None
        shards = from_index(folder).names if weights == INDEX else (weights,)
        if any(name.startswith("additional_chat_templates/") for name in names):
            _snapshot(repo, commit, [_TEMPLATES], [])
        _fetch_code(repo, folder)
    snapshot = Snapshot(repo, commit, folder, shards)
    if not reached and not snapshot.is_whole:
        raise CheckpointError(_unreachable(repo))  # immediately, not after many retries
    return snapshot


def fetch_weights(snapshot: Snapshot) -> None:
    """Fetch a model's weight files into the Hub's cache, whole.

    Raises:
        CheckpointError: If they cannot be fetched.
    """
    with client_errors(snapshot.repo, snapshot.commit):
        patterns = [escape(shard) for shard in snapshot.shards]
        _snapshot(snapshot.repo, snapshot.commit, patterns, [], bars=sys.stderr.isatty())


def fetch_all(repo: str, revision: str | None) -> Path:
    """Fetch every file of a repository into the Hub's cache; refuse one that has a pickle.

    Args:
        repo: `org/name`.
        revision: Branch, tag or commit; the default branch when None.

    Returns:
        The snapshot's folder.

    Raises:
        CheckpointError: If it does not exist, may not be read or cannot be fetched.
    """
    with client_errors(repo, revision):
        folder = _snapshot(repo, revision, ["*"], _UNWANTED, bars=sys.stderr.isatty())
        names, _ = _listing(repo, folder.name, folder)
    unwanted = sorted(
        name for name in names if any(fnmatch(name, pattern) for pattern in _UNWANTED)
    )
    if unwanted:
        raise CheckpointError(
            f"{repo}@{folder.name[:12]}: has {unwanted[0]!r}, a pickle or another format, which a "
            f"merge never contains and surgery does not fetch. Do not use this repository."
        )
    return folder


def fetch_file(repo: str, revision: str | None, name: str) -> Path | None:
    """Fetch one small file of a repository into the Hub's cache.

    Args:
        repo: `org/name`.
        revision: Branch, tag or commit; the default branch when None.
        name: Its path there.

    Returns:
        Where it is in the cache, or None if the repository has no such file.

    Raises:
        CheckpointError: If the repository does not exist, may not be read or cannot be reached.
    """
    from huggingface_hub import errors, hf_hub_download

    with client_errors(repo, revision):
        try:
            with without_bars():
                return Path(hf_hub_download(repo, name, revision=revision, library_name=_LIBRARY))
        except errors.RemoteEntryNotFoundError:
            return None


def weight_files(snapshot: Snapshot) -> dict[str, HubFile]:
    """Size and content of a model's weight files, as the Hub tells them; fetches none.

    Raises:
        CheckpointError: If the Hub does not answer, or does not have one of them.
    """
    from huggingface_hub import HfApi, RepoFile

    repo, commit = snapshot.repo, snapshot.commit
    with client_errors(repo, commit):
        tree = list(HfApi(library_name=_LIBRARY).list_repo_tree(repo, revision=commit))
    files = {
        entry.path: HubFile(
            repo, commit, entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id
        )
        for entry in tree
        if isinstance(entry, RepoFile) and entry.path in snapshot.shards
    }
    for shard in snapshot.shards:
        if shard not in files:
            raise CheckpointError(f"{repo}@{commit[:12]}: the Hub does not have {shard!r}.")
    return files


def fetch_adapter(repo: str, revision: str | None) -> tuple[Path, str]:
    """Fetch a PEFT adapter's two files, tokenizer and templates into the Hub's cache.

    Args:
        repo: `org/name`.
        revision: Branch, tag or commit; the default branch when None.

    Returns:
        The snapshot's folder, and its commit.

    Raises:
        CheckpointError: If it does not exist, may not be read or cannot be reached.
    """
    with client_errors(repo, revision):
        folder = _snapshot(repo, revision, (*_SMALL, _ADAPTER_WEIGHTS), [_BELOW])
        _snapshot(repo, folder.name, [_TEMPLATES], [])
        _fetch_code(repo, folder)
    return folder, folder.name


def _fetch_code(repo: str, folder: Path) -> None:
    """Fetch the Python files of a repository if its configurations name some; none is run."""
    code = find_code(folder, [path.name for path in folder.iterdir()])
    if code.files or code.missing:
        _snapshot(repo, folder.name, [_CODE], [])


def _snapshot(
    repo: str,
    revision: str | None,
    patterns: Sequence[str],
    unwanted: Sequence[str],
    *,
    bars: bool = False,
) -> Path:
    """Return the folder of a repository's files in the Hub's cache, as of `fixed_revisions`."""
    from huggingface_hub import constants, snapshot_download

    key = (constants.ENDPOINT, repo, revision)
    pinned = _PINS.commits.get(key)
    if not pinned and not _COMMIT.fullmatch(revision or ""):
        _check_there(repo, revision)
    with nullcontext() if bars else without_bars():
        folder = Path(
            snapshot_download(
                repo,
                revision=pinned or revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(unwanted) or None,
                library_name=_LIBRARY,
            )
        )
    if not _COMMIT.fullmatch(folder.name):
        raise CheckpointError(f"{repo}: the Hub calls its commit {folder.name[:80]!r}.")
    _PINS.keep(key, folder.name)
    return folder


@contextmanager
def without_bars() -> Iterator[None]:
    """Disable the client's progress bars, which small files do not need."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _check_there(repo: str, revision: str | None) -> None:
    """Hear a refusal of the Hub's; its client would take what the cache has from earlier times.

    A commit named by its hash never changes, even if the repository does.
    """
    from huggingface_hub import HfApi, errors

    try:
        HfApi(library_name=_LIBRARY).model_info(repo, revision=revision)
    except errors.OfflineModeIsEnabled:
        return
    except http_error() as error:
        if 400 <= (status_of(error) or 0) < 500:
            raise


def _listing(repo: str, commit: str, folder: Path) -> tuple[list[str], bool]:
    """Return the file names in the repository or its cache, and whether the Hub was reached."""
    from huggingface_hub import HfApi, errors

    try:
        return HfApi(library_name=_LIBRARY).list_repo_files(repo, revision=commit), True
    except (http_error(), errors.OfflineModeIsEnabled):
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*")], False


def http_error() -> type[Exception]:
    """Return the base exception of failed requests in the client's HTTP library."""
    from huggingface_hub import errors

    base_error: type[Exception] = vars(errors)["HTTPError"]
    return base_error


class _Unsigned(logging.Filter):
    """Takes the queries of addresses out of what the client logs: they may hold signatures."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _QUERY.sub(r"\1", record.getMessage()), ()
        return True


def redact_signed_urls() -> None:
    """Have the Hub's client log addresses without their signatures from now on."""
    logger = logging.getLogger("huggingface_hub.utils._http")
    if not any(isinstance(item, _Unsigned) for item in logger.filters):
        logger.addFilter(_Unsigned())


@contextmanager
def client_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the client's errors into one sentence each; none of its text, which may say too much."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{repo}"
    label = f"{repo}@{revision}" if revision else repo
    redact_signed_urls()
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{label}: is gated on the Hub. Accept its conditions at {page}, then log in with "
            "`hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{label}: the Hub has {repo} but no revision {revision!r}. See {page}/tree/main for "
            "its branches and tags."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{label}: there is no such folder here, and no such model on the Hub that you may "
            "read. Check the spelling; for a private model log in with `hf auth login`."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        status = status_of(error.__cause__)
        raise CheckpointError(_failed(label, status) if status else _unreachable(label)) from error
    except errors.OfflineModeIsEnabled as error:
        raise CheckpointError(_unreachable(label)) from error
    except errors.HFValidationError as error:
        raise CheckpointError(
            f"{label[:200]!r}: is neither a folder that exists nor a Hub id. Expected org/name of "
            "letters, digits, '-', '_' and '.'."
        ) from error
    except http_error() as error:
        raise CheckpointError(_failed(label, status_of(error))) from error
    except _MALFORMED as error:
        raise CheckpointError(
            f"{label}: the Hub's answer cannot be used ({type(error).__name__}): a listing with a "
            "path that points outside the repository, or no listing at all. Try again later; if it "
            f"stays, do not use what is there. See {page}/tree/main."
        ) from error
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or "failed"
        raise CheckpointError(
            f"{label}: cannot be fetched into the Hub's cache: {reason}. HF_HOME sets its folder."
        ) from error


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status of a failed request, or None without a response."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _failed(label: str, status: int | None) -> str:
    if status in (401, 403):
        return (
            f"{label}: the Hub does not let you read it (status {status}). Log in with "
            f"`hf auth login`, with a token that may."
        )
    event = f"answered with status {status}" if status else "broke off the connection"
    return f"{label}: the Hub {event}, and its cache does not hold the model. Try again later."


def _unreachable(label: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"{label}: there is no such folder here, and it is not complete in the Hub's cache "
            "while HF_HUB_OFFLINE forbids fetching it. Unset HF_HUB_OFFLINE, or name a folder."
        )
    return (
        f"{label}: there is no such folder here, the Hub could not be reached, and its cache does "
        "not hold the model. Check the network, or name a folder."
    )
