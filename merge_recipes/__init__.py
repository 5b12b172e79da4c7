"""The bundled recipes. README.md lists their purposes."""

from pathlib import Path


def folder() -> Path:
    """Folder of the recipe files."""
    return Path(__file__).parent
