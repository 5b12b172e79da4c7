"""Merges to publish, their parents on the hub, and what the server was sent."""

from __future__ import annotations

import shutil
import time
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING

from huggingface_hub import file_download
from huggingface_hub.utils import _http

import surgery.hub.publish
from surgery import specimen
from surgery.execute.run import execute
from surgery.hub.account import Target, client
from surgery.hub.package import Package, pack
from surgery.hub.prepare import prepare
from surgery.hub.publish import Published, publish
from surgery.plan import make_plan
from surgery.recipe import opened, parse_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    import pytest

    from surgery.hub.card import Evaluation, ProvenMerge
    from tests.hub import Hub

REPO = "somebody/mixed"

PICTURE = b"\x89PNG\r\n\x1a\n of layers"

MIDDLE = """\
name: middle
description: RL's middle layers in IN.
models: {in: 'specimen:in', rl: 'specimen:rl'}
base: in
steps: [{transplant: 'language[mid]', from: rl}]
"""

COPY = "models: {in: 'specimen:in'}\nbase: in\nsteps: []\noutput: {max_shard_size: 1MB}\n"

CARD = "---\nlicense: apache-2.0\nlanguage: [en]\n---\nA parent.\n"


def merged(out: Path, recipe: str = MIDDLE, **models: object) -> Path:
    """Carry a recipe out."""
    read = parse_recipe(recipe, models={name: str(model) for name, model in models.items()})
    with opened(read) as checkpoints:
        plan = make_plan(read, checkpoints)
        execute(plan, checkpoints, out)
    return out


def stage(name: str, folder: Path, card: str | None = CARD) -> Path:
    """A copy of a shipped checkpoint, with a card."""
    shutil.copytree(specimen.path(name), folder)
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def parents(hub: Hub, tmp_path: Path, card: str | None = CARD, **more: Any) -> dict[str, str]:
    """IN and RL on the hub; bindings to them."""
    names = ("in", "rl")
    for name in names:
        folder = tmp_path / "parents" / name
        hub.add(f"org/{name}", folder if folder.is_dir() else stage(name, folder, card), **more)
    return {name: f"org/{name}" for name in names}


def shards(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """IN in several files and RL, on the hub; bindings to them."""
    folder = merged(tmp_path / "parents" / "in", COPY)
    (folder / "surgery.json").unlink()
    (folder / "README.md").write_text(CARD)
    return parents(hub, tmp_path)


def subject(out: Path, repo: str = REPO, **more: Any) -> ProvenMerge:
    """A merge, proven."""
    return prepare(out, repo, **more)


def packed(out: Path, repo: str = REPO, picture: bytes = PICTURE, **more: Any) -> Package:
    """A merge, ready to go; the picture is none, for one takes half a second to draw."""
    return pack(out, subject(out, repo, **more), picture)


def send(package: Package, repo: str = REPO, **location: Any) -> Published:
    """Publish it without asking for its parents."""
    return publish(client(), package.bundle, look(repo, **location), "A merge")


def look(repo: str = REPO, revision: str | None = None, *, private: bool = True) -> Target:
    """Return the files at a target."""
    return Target.look(client(), repo, revision, private=private)


def listing(*folders: Path) -> Mapping[str, str]:
    """Every file below some folders, and the hash of its content."""
    return {
        str(path): sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def state(hub: Hub) -> object:
    """All that a hub keeps."""
    with hub.lock:
        repos = {
            key: (repo.private, dict(repo.branches), dict(repo.tags), sorted(repo.objects))
            for key, repo in hub.store.repos.items()
        }
        return repos, {slug: len(shelf["items"]) for slug, shelf in hub.collections.items()}


def asked(hub: Hub, word: str) -> int:
    """Count the requests of a kind."""
    return sum(word in text for text in hub.requests)


def written(hub: Hub) -> list[str]:
    """Requests that change something; asking whether a card is valid does not."""
    return [text for text in hub.requests
            if not text.startswith(("GET", "HEAD")) and "/validate-yaml" not in text
            and "/paths-info/" not in text]  # fmt: skip


def sleepless(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's naps, and ours before another attempt, which are not taken."""
    naps: list[float] = []
    clock = SimpleNamespace(sleep=naps.append, time=time.time, monotonic=time.monotonic)
    for module in (_http, file_download, surgery.hub.publish):
        monkeypatch.setattr(module, "time", clock)
    return naps


def scored(**more: Any) -> Evaluation:
    """Scores of the merge and of one parent, made up."""
    from eval.comparison import PairedDifference
    from eval.metrics import Score
    from surgery.hub.card import Evaluation

    def score(variant: str, **other: Any) -> Score:
        text = {"suite": "gsm8k", "task": "gsm8k", "measure": "accuracy", "value": 0.5,
                "low": 0.4, "high": 0.6, "n": 1234, "clusters": 1234, "missing": 0,
                "split": "", "guessed": 0, "majority": float("nan")}  # fmt: skip
        return Score(variant=variant, **{**text, **other})

    nan = float("nan")
    lost = {"task": "empty", "value": nan, "low": nan, "high": nan, "n": 0}
    away = PairedDifference("middle", "in", "gsm8k", "gsm8k", "accuracy", 0.05, -0.01, 0.11, 0.0004,
                0.001, 1200, 1200, 90, 30, 34)  # fmt: skip
    none = PairedDifference("middle", "in", "gsm8k", "empty", "accuracy", nan, nan, nan, nan, nan,
                0, 0, 0, 0, 0)  # fmt: skip
    text = {
        "variant": "middle",
        "scores": [score("middle"), score("in", missing=7, guessed=9), score("middle", **lost),
                   score("in", **lost)],
        "differences": [away, none],
        "settings": "Greedy.",
        **more,
    }  # fmt: skip
    return Evaluation(**text)


def same(hub: Hub, package: Package, repo: str = REPO, revision: str = "main") -> bool:
    """Check that a repository holds exactly the sent files, byte for byte."""
    files = hub.files(repo, revision)
    files.pop(".gitattributes", None)
    return files.keys() == package.bundle.files.keys() and all(
        files[name] == (data if isinstance(data, bytes) else data.read_bytes())
        for name, data in package.bundle.files.items()
    )
