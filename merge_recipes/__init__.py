"""Recipes to read, copy and run; the README beside this file tells what each is for."""

from pathlib import Path


def folder() -> Path:
    """Where the recipe files are."""
    return Path(__file__).parent
