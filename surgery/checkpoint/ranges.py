"""Byte ranges of one file on the Hub, fetched on a few connections into a partial local copy.

The client finds the token itself; this module never sees it. Not through fsspec and its file system
of the Hub: they check nothing against the content id that the Hub states, and a fetch
that is on its way cannot be cancelled.
"""

from __future__ import annotations

import re
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock, Semaphore
from typing import TYPE_CHECKING, Any, Final

from surgery.checkpoint.hub import client_errors, http_error
from surgery.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from surgery.checkpoint.hub import HubFile
    from surgery.checkpoint.spans import PartialFile

CONNECTIONS: Final = 8
"""Maximum number of concurrent requests in the process."""

PIECE: Final = 32 << 20
"""Bytes of one request at most; what an interruption loses is smaller."""

_ATTEMPTS: Final = 6
"""Consecutive responses without data after which a range fails."""
_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0
_LONGEST_WISH: Final = 600.0
"""Seconds that a server may ask for before it wants to be asked again."""
_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_free: Final = Semaphore(CONNECTIONS)


class Stopped(Exception):  # noqa: N818 - not an error: the range is no longer needed
    """The range is no longer needed: another range failed, or the checkpoint is closed."""


class _Broken(Exception):  # noqa: N818 - not an error: it is tried again
    """An answer that ended early, or that says to come again later.

    Args:
        event: The Hub's response, as the rest of a sentence.
        delay: Seconds after which the Hub asks for a retry.
    """

    def __init__(self, event: str, delay: float = 0.0) -> None:
        super().__init__(event)
        self.delay = delay


class _WrongError(CheckpointError):
    """An answer that is not what was asked for."""


class RangedFile:
    """A file of which the ranges asked for are fetched, each once.

    When one range fails, the others stop too, and waiting threads get the error.

    Args:
        file: Which file.
        part: Where what is fetched is kept.
        threads: Maximum number of ranges that wait for a connection.
    """

    def __init__(self, file: HubFile, part: PartialFile, threads: int = CONNECTIONS) -> None:
        self.file = file
        self._threads = threads
        self.part = part
        self.fetched = 0
        self._lock = Lock()
        self._stop = Event()
        self._failure: BaseException | None = None
        self._coming: list[tuple[int, int, Future[None]]] = []
        self._pool: ThreadPoolExecutor | None = None

    def want(self, start: int, end: int) -> list[Future[None]]:
        """Have the bytes `start` to `end` fetched, as far as they are not here or on their way.

        Returns:
            What to wait for before they may be read.

        Raises:
            CheckpointError: If some are not here and the file was closed.
            SurgeryError: If some are not here and fetching has failed before.
        """
        with self._lock:
            missing = self.part.missing(start, end)
            if missing and self._stop.is_set():
                raise self._ended()
            self._coming = [piece for piece in self._coming if not piece[2].done()]
            # What arrived since it was looked up is here now.
            for begin, stop in self.part.missing(start, end) if missing else ():
                position = begin
                for other, until, _ in sorted(self._coming, key=lambda piece: piece[0]):
                    if other < stop and until > position:
                        self._send(position, min(other, stop))
                        position = max(position, until)
                self._send(position, stop)
            return [f for begin, stop, f in self._coming if begin < end and stop > start]

    def ensure_local(self, start: int, end: int) -> None:
        """Have the bytes `start` to `end` here when this returns.

        Raises:
            CheckpointError: If they cannot be fetched, or the file changed.
            ExecutionError: If the disk fails.
        """
        for coming in self.want(start, end):
            try:
                coming.result()
            except (Stopped, CancelledError):
                raise self._ended() from None

    def _ended(self) -> BaseException:
        """Return the error that stopped fetching."""
        closed = f"{self.file}: was closed before all requested bytes arrived."
        return self._failure or CheckpointError(closed)

    def _send(self, start: int, end: int) -> None:
        """Put requests for bytes on the list of what is on its way."""
        if self._pool is None and start < end:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="surgery-fetch")
        for begin in range(start, end, PIECE):
            stop = min(begin + PIECE, end)
            assert self._pool is not None  # made above
            self._coming.append((begin, stop, self._pool.submit(self._fetch, begin, stop)))

    def _fetch(self, start: int, end: int) -> None:
        """Fetch one piece; a failure stops the rest of the file."""
        try:
            self._bring(start, end)
        except Stopped:
            raise
        except BaseException as error:
            if self._stop.is_set() and self._failure is None:
                raise Stopped from error  # it broke because it was cancelled
            self._failure = self._failure or error
            self.stop()
            raise

    def _bring(self, start: int, end: int) -> None:
        """Fetch one piece with as many requests as necessary, and store what arrives."""
        done, idle = start, 0
        try:
            while done < end:
                before, trouble = done, _Broken("sent nothing")
                try:
                    with _free:
                        for count in self._answer(done, end):
                            done += count
                    if done > before:
                        continue
                except _Broken as broken:
                    trouble = broken
                if self._stop.is_set():
                    raise Stopped from trouble
                idle = 0 if done > before else idle + 1
                if idle == _ATTEMPTS:
                    raise CheckpointError(
                        f"{self.file}: the Hub {trouble} {idle} times in a row at byte {done:,} of "
                        f"{self.file.size:,}. Try again later: fetched ranges stay cached."
                    ) from trouble
                # An event instead of sleep: closing the file ends the pause.
                self._stop.wait(max(trouble.delay, min(_PAUSE * 2**idle, _LONGEST_PAUSE)))
        except _WrongError:
            done = start  # who sends what was not asked for may have done so before
            raise
        finally:
            self.part.keep(start, done)

    def _answer(self, start: int, end: int) -> Iterator[int]:
        """Send one request; yield the length of each chunk until the end or a failure.

        Raises:
            _Broken: If it may go better the next time.
        """
        from huggingface_hub import constants
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            get_session,
        )

        headers = {
            **build_hf_headers(library_name="vlm-surgery"),
            "Range": f"bytes={start}-{end - 1}",
            "Accept-Encoding": "identity",
        }
        if self._stop.is_set():
            raise Stopped
        done = start
        with (
            client_errors(self.file.repo, self.file.commit),
            _mended(get_session()) as client,
            client.stream(
                "GET", self._address(), headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            ) as response,
        ):
            end = self._check(response, start, end)
            for chunk in response.iter_raw():
                if self._stop.is_set():
                    raise Stopped
                if done + len(chunk) > end:
                    raise _WrongError(f"{self.file}: the Hub sent more bytes than announced.")
                self.part.write(done, chunk)
                done += len(chunk)
                with self._lock:
                    self.fetched += len(chunk)
                yield len(chunk)

    def _address(self) -> str:
        from huggingface_hub import constants, hf_hub_url

        return hf_hub_url(
            self.file.repo,
            self.file.name,
            revision=self.file.commit,
            endpoint=constants.ENDPOINT,
        )

    def _check(self, response: Any, start: int, end: int) -> int:
        """Refuse an answer that is not the range of the very file that was announced.

        Returns:
            Where the answer's range ends: a server may send less than was asked for.
        """
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        if response.status_code in _LATER:
            raise _Broken(f"answered with status {response.status_code}", _wish(response))
        if response.status_code != 416:  # the range is beyond the file's end: another file
            hf_raise_for_status(response)
        content = _content([*response.history, response])
        if content is not None and content != self.file.content:
            raise _WrongError(
                f"{self.file}: changed while it was read: it was {self.file.content[:16]}..., now "
                f"the Hub answers with {content[:16]}... Nothing was written; start again."
            )
        if response.status_code == 200:
            raise _WrongError(
                f"{self.file}: asked for a range, the server sends whole files only. Fetch the "
                f"model whole: --remote cache."
            )
        packed = response.headers.get("content-encoding", "identity")
        if packed != "identity":
            raise _WrongError(
                f"{self.file}: asked for plain bytes, a server or proxy sends them as "
                f"{packed[:40]}. Fetch the model whole: --remote cache."
            )
        header = response.headers.get("content-range", "")
        match = _RANGE.fullmatch(header.strip())
        first, last, size = map(int, match.groups()) if match else (-1, -1, -1)
        if not (first == start <= last < end and size == self.file.size):
            raise _WrongError(
                f"{self.file}: asked for bytes {start}-{end - 1} of {self.file.size}, the server "
                f"answers with {header[:80] or 'no range'!r}. It changed, or a proxy interferes; "
                f"start again, or fetch it whole: --remote cache."
            )
        return last + 1

    def stop(self) -> None:
        """Cancel fetches in flight. Waiting threads get an error. Returns immediately."""
        self._stop.set()

    def close(self) -> None:
        """End what is on its way, and keep what came of it."""
        self.stop()
        with self._lock:  # who holds it may be sending requests
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        self.part.close()


@contextmanager
def _mended(client: Any) -> Iterator[Any]:
    """Yield the client; connection errors inside the block become `_Broken`."""
    from huggingface_hub import errors

    try:
        yield client
    except errors.HfHubHTTPError:  # an answer, and a clear one
        raise
    except http_error() as error:
        raise _Broken("broke off the connection") from error
    except (OSError, RuntimeError) as error:
        # All threads share the client. Another one that cannot connect closes it under us, its
        # sockets too: a read that is under way ends with "Bad file descriptor".
        if isinstance(error, RuntimeError) and not client.is_closed:
            raise
        raise _Broken("broke off the connection") from error


def _wish(response: Any) -> float:
    """After how many seconds the server wants to be asked again; 0 where it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return min(1.0 + limit.reset_in_seconds, _LONGEST_WISH)
    header = response.headers.get("retry-after", "").strip()
    return min(float(header), _LONGEST_WISH) if header.isascii() and header.isdecimal() else 0.0


def _content(answers: list[Any]) -> str | None:
    """Return the Hub's content id of a file from a chain of redirections, or None.

    A storage host behind it has names of its own for the same bytes.
    """
    for answer in answers:
        headers: Mapping[str, str] = answer.headers
        if "x-repo-commit" in headers or "x-linked-etag" in headers:
            content = headers.get("x-linked-etag") or headers.get("etag")
            return content.removeprefix("W/").strip('"') if content else None
    return None
