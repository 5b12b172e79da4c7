"""Measures of the language of code and texts; `python -m tests.language [PATH ...]` lists findings.

Three measures, each with a ceiling in `tests/test_language.py`:

* identifiers that are pronouns or participles (`told`, `its`, `found`) and so name no thing;
* docstrings that open with a question word instead of a verb or a noun;
* words of `SUBSTITUTES` in strings, comments, Markdown and YAML: private words for which the field
  has a common term.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]

BANNED = frozenset(
    """
    told said its one found given wanted chosen apart there here kept known came left asked held
    spare seen made gone shown drawn what where how why whose mine ours theirs own each others at of
    """.split()  # noqa: SIM905
)
"""Words that are no names: pronouns, participles and prepositions."""

QUESTIONS = ("What", "Whether", "How", "Where", "Which", "Who", "Whose", "Why", "When")

SUBSTITUTES: dict[str, str] = {
    r"told": "reported, stated",
    r"holds? still|held still|holding still": "freeze, frozen",
    r"anew": "again",
    r"mend(s|ed|ing)?": "fix, correct",
    r"brings?|brought": "fetch, load, move",
    r"gives? up|gave up|given up": "cancel, stop",
    r"(your|one's) own": "custom; or name the owner",
    r"for want of": "because ... is missing",
    r"in words": "as text",
    r"doubts?": "issue, warning",
    r"beside": "next to, compared with, besides",
    r"apart": "separately",
    r"alike": "the same, equally",
    r"one's": "name the owner",
    r"nobody": "no one, none, no process",
    r"whoever|whatever|wherever": "name the thing",
    r"outlives?": "remain after, survive",
    r"goes on|go on|went on": "continue, resume",
    r"wish(es)?": "option, request",
    r"learnt": "learned",
    r"at once": "immediately, in one batch, in parallel",
    r"hands? on": "pass on",
    r"lets? go": "release",
    r"comes? (in|along|of)": "name the event: arrives, results from",
    r"taken for": "mistaken for",
    r"rooms": "package, module",
    r"lest": "so that ... not",
    r"by itself": "automatically, alone",
    r"for good": "permanently",
    r"(?<!np\.)(?<!torch\.)ones(?!_)": "name the things",
    r"makes? again|made again": "recompute, rebuild",
    r"leaves? out|left out": "omit, exclude",
    r"puts? (in|by)": "insert, store",
    r"said": "stated, named",
}
"""Regular expressions of words not to use in texts, each with the words to use."""

_WORD = re.compile(rf"\b({'|'.join(SUBSTITUTES)})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One word in one place."""

    file: str
    line: int
    word: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word}"


def sources(paths: Iterable[Path], suffixes: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    """Yield the files under the paths that have one of the suffixes, sorted."""
    for path in paths:
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in candidates if file.suffix in suffixes and file.is_file())


def bindings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that a module binds, attributes and parameters included, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)):
                yield name, node.lineno


def is_banned(name: str) -> bool:
    """Return whether a name consists of banned words only."""
    return all(word in BANNED for word in name.lower().strip("_").split("_") if word) and bool(
        name.strip("_")
    )


def banned_names(file: Path) -> tuple[list[Finding], int]:
    """Return the banned names that a module binds, and the number of all its bindings."""
    names = list(bindings(ast.parse(file.read_text("utf-8"))))
    return [Finding(str(file), line, name) for name, line in names if is_banned(name)], len(names)


def docstrings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the text and line of each docstring, and of each string under a field or constant."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield text.strip(), statement.lineno


def question_docstrings(file: Path) -> tuple[list[Finding], int]:
    """Return the docstrings that open with a question word, and the number of all docstrings."""
    texts = list(docstrings(ast.parse(file.read_text("utf-8"))))
    questions = [
        Finding(str(file), line, text.splitlines()[0])
        for text, line in texts
        if text.split(" ", 1)[0].rstrip(",:") in QUESTIONS
    ]
    return questions, len(texts)


def texts(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the strings and comments of a module, or the whole of another file, with lines."""
    content = file.read_text("utf-8")
    if file.suffix != ".py":
        yield content, 1
        return
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.string, token.start[0]


def find_words(text: str) -> list[str]:
    """Return the listed words in a text, in order."""
    return [match[0] for match in _WORD.finditer(text)]


def listed_words(file: Path) -> list[Finding]:
    """Return the words of `SUBSTITUTES` in a file's texts."""
    return [
        Finding(
            str(file),
            line + text.count("\n", 0, match.start()),
            f"{match[0]} -> {replacement(match[0])}",
        )
        for text, line in texts(file)
        for match in _WORD.finditer(text)
    ]


def replacement(word: str) -> str:
    """Return the words to use in place of a listed word."""
    return next(
        better
        for pattern, better in SUBSTITUTES.items()
        if re.fullmatch(pattern, word, re.IGNORECASE)
    )


def main(paths: list[Path]) -> None:
    """Print the findings in files and folders, and the share of each kind."""
    names = [banned_names(file) for file in sources(paths)]
    questions = [question_docstrings(file) for file in sources(paths)]
    words = [
        listed_words(file)
        for file in sources(paths, (".py", ".md", ".yaml", ".yml"))
        if file.name != Path(__file__).name  # it holds the list
    ]
    for title, measured in (
        ("banned names", names),
        ("question docstrings", questions),
        ("listed words", [(findings, 0) for findings in words]),
    ):
        findings = [finding for part, _ in measured for finding in part]
        total = sum(count for _, count in measured)
        print(*findings, sep="\n", end="\n" if findings else "")
        share = f" of {total} ({len(findings) / total:.2%})" if total else ""
        print(f"== {title}: {len(findings)}{share}")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [ROOT / "surgery", ROOT / "eval"])
