"""Checkpoints on the Hugging Face Hub: fetched into its own cache, then local folders.

Small files come first, so that a repository that cannot be used is refused before a weight is
fetched. Code, pickles and other formats are never fetched. The client finds the token itself; this
module never sees it.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

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
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def fetch_model(repo: str, revision: str | None) -> tuple[Path, str]:
    """Bring a model's configuration, tokenizer, processor and weight files into the Hub's cache.

    Files that are there already are not fetched again; with `HF_HUB_OFFLINE=1` none is.

    Args:
        repo: `org/name`.
        revision: Branch, tag or commit; the default branch when None.

    Returns:
        The snapshot's folder, and its commit.

    Raises:
        CheckpointError: If it does not exist, may not be read, cannot be reached, or has no
            safetensors weights.
    """
    with _explained(repo, revision):
        folder = _snapshot(repo, revision, _SMALL, [_BELOW])
        commit = folder.name
        names = _listing(repo, commit, folder)
        chosen = choose_weights(names, f"{repo} on the Hub")
        shards = from_index(folder).names if chosen == INDEX else (chosen,)
        wanted = [*(escape(shard) for shard in shards)]
        if any(name.startswith("additional_chat_templates/") for name in names):
            wanted.append(_TEMPLATES)
        _snapshot(repo, commit, wanted, [])
    return folder, commit


def fetch_adapter(repo: str, revision: str | None) -> tuple[Path, str]:
    """Bring a PEFT adapter's two files into the Hub's cache.

    Args:
        repo: `org/name`.
        revision: Branch, tag or commit; the default branch when None.

    Returns:
        The snapshot's folder, and its commit.

    Raises:
        CheckpointError: If it does not exist, may not be read or cannot be reached.
    """
    with _explained(repo, revision):
        folder = _snapshot(repo, revision, _ADAPTER, [])
    return folder, folder.name


def _snapshot(
    repo: str, revision: str | None, wanted: Sequence[str], unwanted: Sequence[str]
) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(wanted),
            ignore_patterns=list(unwanted) or None,
            library_name="vlm-surgery",
        )
    )


def _listing(repo: str, commit: str, folder: Path) -> list[str]:
    """The repository's file names, or those in the cache when the Hub is out of reach."""
    from huggingface_hub import HfApi, errors

    try:
        return HfApi(library_name="vlm-surgery").list_repo_files(repo, revision=commit)
    except (_http_error(), errors.OfflineModeIsEnabled):
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


def _http_error() -> type[Exception]:
    """What every failed request derives from, in whichever HTTP library the client uses."""
    from huggingface_hub import errors

    found: type[Exception] = vars(errors)["HTTPError"]
    return found


@contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the client's errors into one sentence each; none of its text, which may say too much."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{repo}"
    at = f"{repo}@{revision}" if revision else repo
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{at}: is gated on the Hub. Accept its conditions at {page}, then log in with "
            "`hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{at}: the Hub has {repo} but no revision {revision!r}. See {page}/tree/main for its "
            "branches and tags."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{at}: there is no such folder here, and no such model on the Hub that you may read. "
            "Check the spelling; for a private model log in with `hf auth login`."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        status = _status(error.__cause__)
        raise CheckpointError(_failed(at, status) if status else _unreachable(at)) from error
    except errors.OfflineModeIsEnabled as error:
        raise CheckpointError(_unreachable(at)) from error
    except errors.HFValidationError as error:
        raise CheckpointError(
            f"{at[:200]!r}: is neither a folder that exists nor a Hub id. Expected org/name of "
            "letters, digits, '-', '_' and '.'."
        ) from error
    except _http_error() as error:
        raise CheckpointError(_failed(at, _status(error))) from error
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or "failed"
        raise CheckpointError(
            f"{at}: cannot be fetched into the Hub's cache: {why}. Its place is set with HF_HOME."
        ) from error


def _status(error: BaseException | None) -> int | None:
    """The HTTP status a failed request was answered with, if it was answered."""
    found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) else None


def _failed(at: str, status: int | None) -> str:
    said = f"answered with status {status}" if status else "broke off the connection"
    return f"{at}: the Hub {said}, and its cache does not hold the model. Try again later."


def _unreachable(at: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"{at}: there is no such folder here, and it is not (or not wholly) in the Hub's cache "
            "while HF_HUB_OFFLINE forbids fetching it. Unset HF_HUB_OFFLINE, or name a folder."
        )
    return (
        f"{at}: there is no such folder here, the Hub could not be reached, and its cache does not "
        "hold the model. Check the network, or name a folder."
    )
