"""A loopback server that speaks chat completions as its script says: faults and canned answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Script:
    """Behavior of the server.

    Attributes:
        reply: A request's number and body to a status, headers and a body or text; None as status
            breaks the connection off.
        requests: Bodies that came, with the headers they came with.
        most: Most requests that were under way at once.
    """

    reply: Callable[[int, dict[str, Any]], tuple[int | None, dict[str, str], Any]]
    requests: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)
    most: int = 0
    url: str = ""
    delay: float = 0.0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)


def said(text: str | None, finish: str = "stop", tokens: int = 3, **more: str) -> dict[str, Any]:
    """A completion."""
    return {
        "id": "x", "created": 0, "model": "m", "object": "chat.completion",
        "system_fingerprint": "",
        "choices": [{"index": 0, "finish_reason": finish,
                     "message": {"role": "assistant", "content": text, **more}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens},
    }  # fmt: skip


def last_text(body: dict[str, Any]) -> str:
    """The text of the last turn."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


@contextmanager
def serving(script: Script) -> Iterator[Script]:
    """The server, for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with script._lock:
                number = len(script.requests)
                script.requests.append((body, dict(self.headers)))
                script._now += 1
                script.most = max(script.most, script._now)
            remaining = False

            def leave() -> None:
                nonlocal remaining
                with script._lock:
                    script._now -= not remaining
                    remaining = True

            try:
                if script.delay:
                    time.sleep(script.delay)
                status, headers, reply = script.reply(number, body)
                if status is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
                leave()  # the client may ask the next question before this thread goes on
                self.send_response(status)
                for name, value in {"content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the client went away
                pass
            finally:
                leave()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
