"""Run folders: a kind, a lock, a header, tables, and stores that only grow."""

from surgery.runs.folder import LOCK, RunKind, check_folder, claimed, kinds_of
from surgery.runs.reading import read_run
from surgery.runs.tables import RunTables

__all__ = ["LOCK", "RunKind", "RunTables", "check_folder", "claimed", "kinds_of", "read_run"]
