"""Trouble on order: rules that say which request goes wrong, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re


@dataclass
class Fault:
    """One rule. The first rule that wants a request gets it; the others do not see it.

    Attributes:
        match: Part of `METHOD /path` (unquoted, without the query), or a regular expression that
            is searched in it.
        skip: Let this many matching requests pass first.
        times: Then spoil this many; None is all.
        after_bytes: Only once this many bytes of the file in question were sent.
        status: Answer with this error and do nothing. An upload's body is read but not kept.
        retry_after: Seconds that go into the `Retry-After` header of that error.
        delay: Seconds to wait before anything is answered; `inf`: until the client goes away.
        reset_after: Reset the connection after this many bytes of the answer's body.
        reset_upload: Reset it after this many bytes of the request's body were read.
        lost: Do what was asked, then reset the connection instead of answering.
        short: Promise the whole body, send this many bytes, close the connection.
        trimmed: A range of only this many bytes, with headers that admit it.
        flip: Send one wrong byte, at this offset of the body.
        changed: The file has another content, size and ETag from this request on.
        packed: Send the body compressed, and say so.
        drip: So many bytes, then so many seconds of rest, to the end of the body.
        hits: How many requests it has spoiled.
        sent: Bytes of bodies sent in answer to them.
    """

    match: str | re.Pattern[str]
    skip: int = 0
    times: int | None = 1
    after_bytes: int = 0
    status: int = 0
    retry_after: int | None = None
    delay: float = 0.0
    reset_after: int | None = None
    reset_upload: int | None = None
    lost: bool = False
    short: int | None = None
    trimmed: int | None = None
    flip: int | None = None
    changed: bool = False
    packed: bool = False
    drip: tuple[int, float] | None = None
    hits: int = 0
    sent: int = 0

    def wants(self, text: str, sent: int) -> bool:
        """Check whether it spoils a request, given the file's bytes sent so far; count it."""
        match = self.match in text if isinstance(self.match, str) else self.match.search(text)
        if not match or sent < self.after_bytes:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


NONE = Fault("", times=0)
