"""Run folders, each for one kind of run and one process at a time.

The file `.lock` names the kind. Folders of earlier versions, where it is empty or missing, are
recognised by what is in them.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from surgery.checkpoint.failure import filesystem_errors
from surgery.checkpoint.ledger import LEDGER
from surgery.errors import ExecutionError
from surgery.reading import is_file, is_folder, parse_json, read_text
from surgery.runs.header import HEADER, RunStatus, check_format, peek, start_header
from surgery.runs.kinds import RunKind
from surgery.text import first_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK: Final = ".lock"
_DRAFT: Final = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # of `sibling.put`, whose writer was killed


_LABELS: Final = {kind.label: frozenset({kind}) for kind in RunKind}
_PROBES: Final = frozenset({RunKind.ABLATION, RunKind.SWAP, RunKind.ATTENTION})
_MARKS: Final = {
    "likelihoods.jsonl": frozenset({RunKind.ABLATION}),
    "judge.jsonl": frozenset({RunKind.EVALUATION}),
    HEADER: frozenset({RunKind.EVALUATION}),
    "probe.json": _PROBES,
    "responses.jsonl": _PROBES | {RunKind.EVALUATION},
}
"""Files next to an empty lock, or with keys in them; the last two may be of several kinds."""


def kinds_of(folder: Path) -> frozenset[RunKind]:
    """Return the kinds of run that a folder may hold; none where it holds no run.

    A run of an earlier version that was interrupted before its end may be one of several kinds.
    """
    run, lock = peek(folder / HEADER), folder / LOCK
    labels = [
        (True, _text(lock).strip()),
        ("format" in run, str(run.get("kind"))),
        (True, str(peek(folder / "probe.json").get("probe"))),
        ({"variants", "suites"} <= run.keys(), "evaluation"),
        (run.get("kind") in ("sft", "grpo"), "training"),
        (not run and re.match(r'\{\s*"kind"', _text(folder / HEADER)), "training"),  # torn
        ((folder / ".parts").is_dir(), "statistics"),
        ({"layers", "regions", "runs"} <= peek(folder / "profile.json").keys(), "profile"),
        ((folder / "scores" / LOCK).exists() and (folder / "stats" / ".parts").is_dir(), "demo"),
    ]
    by_label = [_LABELS[label] for holds, label in labels if holds and label in _LABELS]
    empty = lock.is_file() and not _text(lock)
    by_mark = [
        kinds
        for name, kinds in _MARKS.items()
        if (empty and (folder / name).exists()) or _is_keyed(folder / name)
    ]
    return next(iter([*by_label, *by_mark]), frozenset())


def check_folder(folder: Path, kind: RunKind) -> None:
    """Refuse a folder in which a run of this kind would touch anything else.

    Raises:
        ExecutionError: If it is a file, or holds a run of another kind or format, or files of no
            run; or if it is inside a merged model, whose proof would find foreign files.
    """
    with filesystem_errors(folder):
        for model in folder.absolute().parents:
            if (model / LEDGER).is_file():
                raise ExecutionError(
                    f"{folder} is inside the merged model {model}, whose proof fails with other "
                    f"files in it. Choose a folder outside, for example --out {model}-{kind.label}."
                )
        if not folder.exists():
            return
        if not is_folder(folder):
            raise ExecutionError(
                f"{folder} is a file; the results go into a folder. Choose another --out."
            )
        names = sorted(entry.name for entry in folder.iterdir())
    kinds = kinds_of(folder)
    if kind in kinds:
        check_format(folder, kind)
        return
    if kinds:
        raise ExecutionError(
            f"{folder} holds the results of '{min(k.command for k in kinds)}'. Choose another "
            f"--out: those of '{kind.command}' would mix with them. Nothing there was changed."
        )
    strange = [name for name in names if name != LOCK and not _DRAFT.fullmatch(name)]
    if strange or _text(folder / LOCK):
        examples = first_names(strange or [LOCK])
        is_model = (folder / "config.json").exists()
        example = f"{folder}-{kind.label}" if is_model else folder / kind.label
        raise ExecutionError(
            f"{folder} is not empty ({examples}) and holds no run of '{kind.command}'. Nothing "
            f"there was changed. Choose a new folder, for example --out {example}."
        )


@contextmanager
def claimed(folder: Path, kind: RunKind) -> Iterator[None]:
    """Hold a run's folder for this kind and this process for the length of a `with` block.

    If the run fails before it has written anything, the folder is removed again.

    Raises:
        ExecutionError: As `check_folder`; or if another process is at work there.
    """
    check_folder(folder, kind)
    parents = [path for path in (folder, *folder.parents) if not path.exists()]
    with filesystem_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        _lock(descriptor, folder)
        check_folder(folder, kind)  # another process may have started a run of another kind
        with filesystem_errors(folder):
            for entry in folder.iterdir():
                if _DRAFT.fullmatch(entry.name):
                    entry.unlink()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{kind.label}\n".encode(), 0)
            start_header(folder, kind)
        try:
            yield
        except BaseException:
            _remove_empty(folder, parents)
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    with filesystem_errors(folder):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = (folder / LOCK).stat().st_ino == os.fstat(descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            current = False  # in use, or just removed by a failed run
    if not current:
        raise ExecutionError(
            f"another run is writing to {folder}. Wait for it, or choose another --out."
        )


def _remove_empty(folder: Path, parents: list[Path]) -> None:
    """Remove a folder that stayed empty, and the parents that were made for it."""
    with suppress(OSError):
        names = {entry.name for entry in folder.iterdir()}
        running = peek(folder / HEADER).get("status") == RunStatus.RUNNING
        if names == {LOCK, *([HEADER] if running else [])}:
            for name in names:
                (folder / name).unlink()
            for path in parents:
                path.rmdir()


def _is_keyed(path: Path) -> bool:
    """Check that a file's first line is a record that a run stores under a key."""
    if path.suffix != ".jsonl" or not is_file(path):
        return False
    try:
        with path.open("rb") as file:
            first = parse_json(file.readline(1 << 20))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "key" in first


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError):
        return ""
