"""Run folders: a kind, a lock, a header, tables, and stores that only grow."""

from surgery.runs.folder import LOCK, check_folder, claimed, kinds_of
from surgery.runs.header import HEADER, end_header
from surgery.runs.kinds import RunKind
from surgery.runs.machine import hardware, versions
from surgery.runs.reading import read_run
from surgery.runs.tables import RunTables
from surgery.runs.writing import write_run

__all__ = [
    "HEADER",
    "LOCK",
    "RunKind",
    "RunTables",
    "check_folder",
    "claimed",
    "end_header",
    "hardware",
    "kinds_of",
    "read_run",
    "versions",
    "write_run",
]
