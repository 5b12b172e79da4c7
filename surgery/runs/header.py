"""A run's header, `run.json`: kind, format, status, times, settings and versions.

Version 0.1.0 gave the header another name for some kinds, and no status: it wrote one at the end.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from surgery.checkpoint.sibling import put
from surgery.errors import ExecutionError
from surgery.reading import is_file, read_json
from surgery.runs.kinds import RunKind
from surgery.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER: Final = "run.json"
FORMAT: Final = 1
"""The format of run folders that this version writes and reads; a header without one has it."""
OWN_KEYS: Final = ("kind", "format", "status", "started", "ended", "hardware")
"""Keys of every header; the others are the kind's own."""
_EARLIER: Final = {
    RunKind.ABLATION: "probe.json",
    RunKind.SWAP: "probe.json",
    RunKind.ATTENTION: "probe.json",
    RunKind.STATISTICS: "summary.json",
    RunKind.PROFILE: "profile.json",
}
"""Names that version 0.1.0 gave to headers."""


class RunStatus(StrEnum):
    """The state of a run."""

    RUNNING = "running"  # or interrupted
    ENDED = "ended"


def start_header(folder: Path, kind: RunKind, facts: Mapping[str, Any] | None = None) -> None:
    """Write the header of a run that begins.

    That of a run which has ended stays until it ends again, unless there are facts to add.

    Args:
        folder: The run's folder.
        kind: The kind of run.
        facts: What is known of the run from its start.

    Raises:
        OSError: If the file cannot be written.
    """
    path = header_path(folder, kind)
    if path is None or (facts and path.name == HEADER):
        _write(folder, kind, RunStatus.RUNNING, {"started": _now()}, facts or {})


def end_header(folder: Path, kind: RunKind, facts: Mapping[str, Any]) -> Path:
    """Write the header of a run that has ended; removes that of version 0.1.0.

    Args:
        folder: The run's folder.
        kind: The kind of run.
        facts: Plain values for JSON: settings, versions, hardware, fingerprints.

    Returns:
        The file.

    Raises:
        OSError: If the file cannot be written.
    """
    earlier = peek(folder / HEADER)
    started = earlier.get("started") if isinstance(earlier.get("started"), str) else None
    times = {"started": started or _now(), "ended": _now()}
    path = _write(folder, kind, RunStatus.ENDED, times, facts)
    if kind in _EARLIER:
        (folder / _EARLIER[kind]).unlink(missing_ok=True)
    return path


def header_path(folder: Path, kind: RunKind) -> Path | None:
    """Return the file of a run's header; None where there is none yet."""
    names = [HEADER, *([_EARLIER[kind]] if kind in _EARLIER else [])]
    return next((folder / name for name in names if is_file(folder / name)), None)


def read_header(folder: Path, kind: RunKind) -> dict[str, Any]:
    """Return the header of a run that has ended.

    Raises:
        ExecutionError: If there is none, it cannot be read, its format is another one, or the run
            has not ended.
    """
    path = header_path(folder, kind)
    if path is None:
        raise not_ended(folder, kind)
    again = f"Run '{kind.command}' again with the same --out: it resumes."
    try:
        header = read_json(path)
        if not isinstance(header, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        raise ExecutionError(f"{path} cannot be read ({error}). {again}") from None
    _refuse_other_format(path, header)
    if header.get("status", RunStatus.ENDED) != RunStatus.ENDED:
        raise not_ended(folder, kind)
    return header


def check_format(folder: Path, kind: RunKind) -> None:
    """Refuse a folder whose header has another format, before anything is written there.

    Raises:
        ExecutionError: If it has.
    """
    path = header_path(folder, kind)
    if path is not None:
        _refuse_other_format(path, peek(path))


def _refuse_other_format(path: Path, header: Mapping[str, Any]) -> None:
    version = header.get("format", FORMAT)
    if type(version) is not int or version != FORMAT:
        raise ExecutionError(
            f"{path} has format {version!r}; this version reads format {FORMAT}. Read the run with "
            "the version of vlm-surgery that wrote it, or a newer one."
        )


def not_ended(folder: Path, kind: RunKind) -> ExecutionError:
    """Return the error about a run without results."""
    return ExecutionError(
        f"the run in {folder} has not ended. Run '{kind.command}' again with the same --out: it "
        "resumes."
    )


def _write(
    folder: Path,
    kind: RunKind,
    status: RunStatus,
    times: Mapping[str, str],
    facts: Mapping[str, Any],
) -> Path:
    document = {"kind": kind.label, "format": FORMAT, "status": status, **times}
    header = {**document, **{key: value for key, value in facts.items() if key not in document}}
    text = well_formed(json.dumps(header, indent=2, ensure_ascii=False) + "\n")
    return put(folder / HEADER, lambda path: path.write_text(text, encoding="utf-8"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def peek(path: Path) -> dict[str, Any]:
    """Return a JSON object's content; nothing where there is none or it is damaged."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
