"""Any OpenAI-compatible endpoint, asked through huggingface_hub's InferenceClient."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import httpx2
from huggingface_hub import InferenceClient
from huggingface_hub.errors import (
    HfHubHTTPError,
    InferenceTimeoutError,
    OfflineModeIsEnabled,
)

from eval.prompts import as_png
from eval.records import Failure, Picture, Response
from surgery.errors import ExecutionError
from surgery.text import is_address, one_line, well_formed, without_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.prompts import Message

_NO_KEY: Final = "none"
"""Sent where no key is named: otherwise the client would send the Hub's token to any server."""
_HOPELESS: Final = frozenset({401, 403, 404})
"""The key or the model's name is wrong: every other question would fail equally."""
_PASSING: Final = frozenset({408, 409, 425, 429})
_SERVERS_OWN: Final = 500
"""Errors from here on are the server's, not the question's."""
_LONGEST_WAIT: Final = 60.0  # seconds
_QUOTED: Final = 200  # characters of a server's words


@dataclass
class Endpoint:
    """One model of a server.

    Attributes:
        base_url: Address, for example http://localhost:8000/v1.
        model: The model's name there.
        timeout: Seconds that one answer may take.
        attempts: Number of attempts per question.
        pause: Seconds before the second attempt; doubled before each further one.
        key_variable: Environment variable that holds the key; none is sent if absent.

    Raises:
        ExecutionError: If the address is none.
    """

    base_url: str = field(repr=False)
    model: str
    timeout: float = 600.0
    attempts: int = 5
    pause: float = 0.5
    key_variable: str | None = None
    _answered: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not is_address(self.base_url):
            raise ExecutionError(
                f"{one_line(self.address)!r} is not a server address. Expected one such as "
                f"http://localhost:8000/v1."
            )

    @classmethod
    def parse(cls, text: str, key_variable: str | None = None) -> Self:
        """Return the endpoint that `MODEL@URL` means.

        Raises:
            ExecutionError: If the text has another form, or the address is none.
        """
        name, at, url = text.partition("@http")
        if not (name and at):
            raise ExecutionError(
                f"{text!r} is not MODEL@URL. Example: qwen3@http://localhost:8000/v1"
            )
        return cls(base_url="http" + url, model=name, key_variable=key_variable)

    @property
    def address(self) -> str:
        """Return the URL without user, password and query, which may be secret."""
        return without_credentials(self.base_url)

    @cached_property
    def _key(self) -> str:
        if self.key_variable is None:
            return _NO_KEY
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise ExecutionError(
                f"the environment variable {self.key_variable} should hold the API key of "
                f"{self.address}, and is not set."
            )
        return key

    @cached_property
    def _client(self) -> InferenceClient:
        return InferenceClient(base_url=self.base_url, api_key=self._key, timeout=self.timeout)

    def complete(self, messages: Sequence[Message], **settings: Any) -> Response | Failure:
        """Request one answer; the client retries after timeouts and server errors.

        Args:
            messages: The turns.
            settings: `max_tokens`, `temperature`, `top_p`, `seed`.

        Returns:
            The answer, or why there is none after all attempts.

        Raises:
            ExecutionError: If no question could be answered: no server there, or it refuses the key
                or the model.
        """
        turns = [_turn(message) for message in messages]
        failure: Failure | None = None
        for attempt in range(self.attempts):
            try:
                response = self._client.chat_completion(turns, model=self.model, **settings)
                self._answered = True
                return _response(response)
            except OfflineModeIsEnabled:
                raise ExecutionError(
                    f"{self.address} was not contacted: HF_HUB_OFFLINE is set, which also "
                    f"disables requests to servers. Unset it for this command."
                ) from None
            except (HfHubHTTPError, InferenceTimeoutError, httpx2.HTTPError, ValueError,
                    LookupError, TypeError, AttributeError, RecursionError) as error:  # fmt: skip
                # the last five: an answer that is no answer
                failure, wait = self._failed(error), self._wait(error, attempt)
            if wait is None:
                break
            if attempt + 1 < self.attempts:
                time.sleep(wait)
        if isinstance(failure, Failure) and not self._answered and failure.reason == self._absent:
            raise ExecutionError(f"{failure.reason}. Is the server running there?")
        return failure or Failure("never asked")

    @property
    def _absent(self) -> str:
        return f"no server answers at {self.address}"

    def _failed(self, error: Exception) -> Failure:
        """Return the failure for an error.

        Raises:
            ExecutionError: If asking anything else is no use.
        """
        if isinstance(error, httpx2.ConnectError):
            return Failure(self._absent)
        if isinstance(error, (InferenceTimeoutError, httpx2.TimeoutException)):
            return Failure(f"no answer within {self.timeout:g} s")
        status = _status(error)
        if status is None:
            return Failure(self._clean(f"{type(error).__name__}: {error}"))
        text = self._clean(f"the server answered {status} {_phrase(status)}: {_words(error)}")
        if status in _HOPELESS:
            raise ExecutionError(f"{self.address}, model {self.model!r}: {text}")
        self._answered = True
        return Failure(text)

    def _wait(self, error: Exception, attempt: int) -> float | None:
        """Return the seconds until the next attempt; None if a retry is useless."""
        status = _status(error)
        if status is not None and status < _SERVERS_OWN and status not in _PASSING:
            return None
        wait: float = self.pause * 2**attempt
        if isinstance(error, HfHubHTTPError):
            with suppress(ValueError):  # a date
                wait = max(wait, float(error.response.headers.get("retry-after", 0)))
        return min(wait, _LONGEST_WAIT)

    def _clean(self, text: str) -> str:
        """Return a server's message as one line, without the key and the secret parts of URLs."""
        line = one_line(without_credentials(text))
        secrets = [self._key] if self._key != _NO_KEY else []
        for secret in [*secrets, *_secrets(self.base_url)]:
            line = line.replace(secret, "...")
        return line if len(line) <= _QUOTED else f"{line[:_QUOTED]} ..."


def _secrets(url: str) -> list[str]:
    """Return what a server may echo of a URL's user, password and query."""
    parts = urlsplit(url)
    values = [value for _, value in parse_qsl(parts.query)]
    return [part for part in (parts.password, *values) if part]


def _turn(message: Message) -> dict[str, Any]:
    if message.role == "system":
        return {"role": "system", "content": "".join(map(str, message.parts))}
    return {
        "role": message.role,
        "content": [
            {"type": "image_url", "image_url": {"url": _data_url(part)}}
            if isinstance(part, Picture)
            else {"type": "text", "text": part}
            for part in message.parts
        ],
    }


def _data_url(picture: Picture) -> str:
    """Return the file itself where every reader decodes the same pixels, else a PNG of them."""
    if not picture.header.sendable:
        picture = as_png(picture)
    kind = "jpeg" if picture.data.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{b64encode(picture.data).decode()}"


def _response(response: Any) -> Response:
    """Return the text of a server's response; separated thinking goes back into its tag.

    Where nothing follows it, the tag stays open: the answer never came.
    """
    choice = response.choices[0]
    text = choice.message.content or ""
    thought = choice.message.get("reasoning_content") or choice.message.get("reasoning") or ""
    if thought:
        text = f"<think>{thought}</think>{text}" if text else f"<think>{thought}"
    tokens = int(response.usage.completion_tokens) if response.usage else 0
    return Response(well_formed(text), tokens, truncated=choice.finish_reason == "length")


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


def _words(error: Exception) -> str:
    try:
        return str(error.response.text)  # type: ignore[attr-defined]
    except httpx2.HTTPError:  # the connection broke before all of it came
        return str(error)
