"""Damage to values, texts, bytes and files; the same for the same random numbers."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

DEEP = 3000
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e308,
    float("inf"), float("-inf"), float("nan"), "", " ", "x", "0", "in", "rl", "*", "a\0b",
    "\ud800", "a\udc80b", "\x1b]0;x\x07", "x" * 300, "x" * 70_000, "../x", "/", "/dev/zero", ".",
    "..", "~nobody-here/x", "\u202e", "é", "{}", "{x}", "%s", "hf://", "hf://a/b", "specimen:",
    "specimen:rl", "1e400", [], {}, [None], [[]], [{}], ["x"], [0], [1, 2, 3], {"": None},
    {"x": {}}, {"x": [1]}, {"\ud800": 1}, {"a\0b": 1}, list(range(200)),
)  # fmt: skip
WORDS = (
    "null", "~", "true", "1e400", ".inf", ".nan", "9" * 30, "-", ": ", "[", "]", "{", "}", "'",
    '"', "&a", "*a", "!!python/object:os.system", "<<: ", "|", ">", "#", "---\n", "\t", "\0",
    "\ufeff", "\u2028", "\\ud800", "\\u0000", "é", "💥", "x" * 300, "[" * 50, "language[99]", "*",
    "?", "%", "@", "`", "\n", "0x10", "1_0", "..", "/", "\r", "\x1b[2J", "\x85",
)  # fmt: skip


def paths(value: Any, position: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Yield every place in a tree of dicts and lists."""
    results = [position]
    if isinstance(value, dict):
        for key, inner in value.items():
            results += paths(inner, (*position, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:50]):
            results += paths(inner, (*position, index))
    return results


def tree(rng: Random, value: Any, often: int = 2) -> Any:
    """Return a tree with one to `often` places replaced, removed, doubled or renamed."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, often)):
        place = rng.choice(paths(value))
        if not place:
            if rng.random() < 0.9:
                continue
            return rng.choice(VALUES)
        owner = value
        for step in place[:-1]:
            owner = owner[step]
        key, act = place[-1], rng.randrange(8)
        if act == 0:
            del owner[key]
        elif act == 1:
            owner[key] = [owner[key]]
        elif act == 2 and isinstance(owner, dict):
            owner[str(rng.choice(VALUES))[:400]] = owner.pop(key)
        elif act == 3 and isinstance(owner[key], (str, list)):
            owner[key] = owner[key] * 2
        elif act == 4:
            owner[key] = _near(rng, owner[key])
        else:
            owner[key] = rng.choice(VALUES)
    return value


def _near(rng: Random, value: Any) -> Any:
    """Return a value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return rng.choice((-value, value + 1, value * 2, value / 2 if value < 2**99 else 0.5))
    if isinstance(value, str) and value:
        cut = rng.randrange(len(value))
        return value[:cut] + rng.choice(WORDS) + value[cut + 1 :]
    return value


def dumped(rng: Random, value: Any) -> bytes:
    """Return a tree as JSON, now and then with values that JSON does not have."""
    return json.dumps(value, indent=rng.choice((None, 2)), ensure_ascii=True).encode()


def text(rng: Random, old: str) -> str:
    """Return a text with pieces cut out, doubled or replaced."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(old) + 1)
        end = min(len(old), start + rng.choice((0, 1, 3, 12)))
        piece = rng.choice((*WORDS, old[start:end] * 2, ""))
        old = old[:start] + piece + old[end:]
    return old


def data(rng: Random, old: bytes) -> bytes:
    """Return bytes with some flipped, cut, doubled or inserted."""
    act = rng.randrange(6)
    place = rng.randrange(len(old) + 1)
    if act == 0:
        return old[:place]
    if act == 1:
        return (
            old[:place] + bytes(rng.randrange(256) for _ in range(rng.randint(1, 9))) + old[place:]
        )
    if act == 2:
        return old[place:]
    if act == 3:
        return old + old[:place]
    changed = bytearray(old)
    for _ in range(rng.choice((1, 1, 4, 30))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _encodings(rng: Random, path: Path) -> None:
    old = path.read_bytes()
    path.write_bytes(
        rng.choice((
            b"\xef\xbb\xbf" + old, old.decode("utf-8", "replace").encode("utf-16"), b"", b"\0" * 64,
            b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"\xff\xfe",
            b"null", b"[]", b"{}", b'"x"', b"1e400", b"9" * 5000, b"\xed\xa0\x80", b"- " * 2000,
        ))
    )  # fmt: skip


def _replace(make: Callable[[Path], object]) -> Callable[[Random, Path], None]:
    def act(rng: Random, path: Path) -> None:
        path.unlink()
        make(path)

    return act


FAULTS: dict[str, Callable[[Random, Path], None]] = {
    "bytes": lambda rng, path: path.write_bytes(data(rng, path.read_bytes())) and None,
    "encoding": _encodings,
    "missing": lambda rng, path: path.unlink(),
    "folder": _replace(lambda path: path.mkdir()),
    "pipe": _replace(os.mkfifo),
    "loop": _replace(lambda path: path.symlink_to(path.name)),
    "zero": _replace(lambda path: path.symlink_to("/dev/zero")),
    "nothing": _replace(lambda path: path.symlink_to("/nonexistent/x")),
}


def file(rng: Random, path: Path) -> str:
    """Damage a file, or what stands in its place; says how."""
    name = rng.choice(("bytes", "bytes", "bytes", "encoding", "encoding", *FAULTS))
    FAULTS[name](rng, path)
    return name


def json_file(rng: Random, path: Path) -> None:
    """Damage a JSON file: mostly its values."""
    if rng.random() < 0.2:
        file(rng, path)
        return
    path.write_bytes(dumped(rng, tree(rng, json.loads(path.read_bytes()))))


def json_lines(rng: Random, path: Path) -> None:
    """Damage a file of JSON lines: mostly the values of one line."""
    if rng.random() < 0.2:
        file(rng, path)
        return
    lines = path.read_text().splitlines()
    number = rng.randrange(len(lines))
    lines[number] = dumped(rng, tree(rng, json.loads(lines[number]))).decode().replace("\n", "")
    path.write_text("\n".join(lines) + "\n")


def weights(rng: Random, path: Path) -> None:
    """Damage a safetensors file: its header's values, or bytes near its start."""
    if rng.random() < 0.1:
        file(rng, path)
        return
    old = path.read_bytes()
    size = int.from_bytes(old[:8], "little")
    if rng.random() < 0.3:
        path.write_bytes(data(rng, old[: size + 40]) + old[size + 40 :])
        return
    header = dumped(rng, tree(rng, json.loads(old[8 : 8 + size])))
    path.write_bytes(len(header).to_bytes(8, "little") + header + old[8 + size :])


def text_file(rng: Random, path: Path) -> None:
    """Damage a text file."""
    if rng.random() < 0.15:
        file(rng, path)
        return
    changed = text(rng, path.read_text())
    path.write_bytes(changed.encode("utf-8", "surrogatepass"))


def yaml_file(rng: Random, path: Path) -> None:
    """Damage a YAML file: its values, or its text."""
    import yaml

    if rng.random() < 0.5:
        text_file(rng, path)
        return
    changed = tree(rng, yaml.safe_load(path.read_text()))
    path.write_text(yaml.safe_dump(changed, allow_unicode=rng.random() < 0.5))


def copy(source: Path, target: Path) -> Path:
    """Make a fresh copy of the inputs."""
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)
