"""Requests, responses and refusals on the wire."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.hub.hub import Hub


class Refusal(Exception):  # noqa: N818  The hub is right to refuse.
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What the client shows.
        code: The client's error code (`RepoNotFound`, `EntryNotFound`, ...).
        headers: More headers.
    """

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def answer(self) -> Answer:
        """A response."""
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return reply({"error": self.message}, self.status, headers)


@dataclass(frozen=True)
class Request:
    """One request, read whole.

    Attributes:
        path: As it came, still quoted, without the query.
        token: Of the Authorization header; None where there is no such header.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    token: str | None

    def one(self, name: str, default: str = "") -> str:
        """The only value of a query parameter."""
        values = self.query.get(name, [default])
        if len(values) != 1:
            raise Refusal(400, f'"{name}" is given {len(values)} times')
        return values[0]

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false."""
        text = self.one(name, "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise Refusal(400, f'"{name}" must be a boolean')
        return text in ("true", "1")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        kind = self.headers.get("content-type", "")
        if "json" not in kind:
            raise Refusal(415, f"Expected a JSON body, found {kind or 'no content type'}")
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise Refusal(400, f"Invalid JSON: {error}") from None
        if not isinstance(value, dict):
            raise Refusal(400, "Expected a JSON object")
        return value

    def form(self) -> dict[str, list[str]]:
        """The body as an HTML form, or as JSON with lists."""
        if "json" in self.headers.get("content-type", ""):
            return {k: v if isinstance(v, list) else [str(v)] for k, v in self.json().items()}
        return parse_qs(self.body.decode(), keep_blank_values=True)


@dataclass
class Answer:
    """One answer.

    Attributes:
        counted: Name under which the hub counts the body's bytes; empty for what is no file.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    counted: str = ""


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(
        status,
        {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
        json.dumps(value).encode(),
    )


@dataclass(frozen=True)
class Route:
    """A method and a path template, and what answers them.

    In the template `{name}` is one part of the path, `{name*}` the rest of it, and `{kind}` the
    kind of repository. `{owner}/{name}` always come together.
    """

    method: str
    template: str
    action: Callable[..., Answer]
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        text = re.sub(r"\{kind\}", "(?P<kind>models|datasets)", self.template)
        text = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", text)
        text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", text)
        object.__setattr__(self, "pattern", re.compile(text))

    def match(self, request: Request) -> dict[str, str] | None:
        """The parts of the path that the action wants, or None."""
        method = "GET" if request.method == "HEAD" else request.method
        result = self.pattern.fullmatch(request.path)
        if result is None or method != self.method:
            return None
        return {name: unquote(text) for name, text in result.groupdict().items()}


def dispatch(hub: Hub, request: Request, routes: tuple[Route, ...]) -> Answer:
    """The answer to a request; one that no route knows is put on record."""
    try:
        for route in routes:
            match = route.match(request)
            if match is not None:
                return route.action(hub, request, **match)
        hub.unknown.append(f"{request.method} {request.path}")
        raise Refusal(404, f"Sorry, we can't find {request.method} {request.path}.")
    except Refusal as refusal:
        return refusal.answer()
