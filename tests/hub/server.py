"""The hub on loopback: two hosts, as the real one has, and connections that fail on request."""

from __future__ import annotations

import gzip
import math
import os
import select
import socket
import struct
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub import files, info, shelves, uploads, writing
from tests.hub.cards import validate
from tests.hub.wire import Answer, Refusal, Request, Route, dispatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub.faults import Fault
    from tests.hub.hub import Hub

_REPO = "/api/{kind}/{owner}/{name}"

_SHELF = "/api/collections/{owner}/{slug}"

ROUTES = (
    Route("GET", "/api/whoami-v2", info.whoami),
    Route("POST", "/api/validate-yaml", validate),
    Route("POST", "/api/repos/create", writing.create_repo),
    Route("DELETE", "/api/repos/delete", writing.delete_repo),
    Route("GET", "/api/collections", shelves.listing),
    Route("POST", "/api/collections", shelves.create),
    Route("GET", _SHELF, shelves.get),
    Route("PATCH", _SHELF, shelves.update),
    Route("DELETE", _SHELF, shelves.delete),
    Route("POST", _SHELF + "/items", shelves.add_item),
    Route("PATCH", _SHELF + "/items/{item}", shelves.update_item),
    Route("DELETE", _SHELF + "/items/{item}", shelves.delete_item),
    Route("GET", _REPO, info.info),
    Route("GET", _REPO + "/revision/{revision}", info.info),
    Route("GET", _REPO + "/tree/{revision}", info.tree),
    Route("GET", _REPO + "/tree/{revision}/{folder*}", info.tree),
    Route("POST", _REPO + "/paths-info/{revision}", info.paths_info),
    Route("GET", _REPO + "/refs", info.refs),
    Route("GET", _REPO + "/commits/{revision}", info.commits),
    Route("POST", _REPO + "/branch/{branch}", writing.create_branch),
    Route("DELETE", _REPO + "/branch/{branch}", writing.delete_branch),
    Route("POST", _REPO + "/tag/{revision}", writing.create_tag),
    Route("POST", _REPO + "/preupload/{revision}", uploads.preupload),
    Route("POST", _REPO + "/commit/{branch}", writing.commit),
    Route("POST", _REPO + "/lfs-files/verify", uploads.verify),
    Route("POST", _REPO + "/lfs-files/duplicate", uploads.duplicate),
    Route("POST", "/api/complete/{kind}/{owner}/{name}/{oid}", uploads.complete),
    Route("POST", "/datasets/{owner}/{name}.git/info/lfs/objects/batch", uploads.batch_dataset),
    Route("POST", "/{owner}/{name}.git/info/lfs/objects/batch", uploads.batch),
    Route("GET", "/datasets/{owner}/{name}/resolve/{revision}/{path*}", files.resolve_dataset),
    Route("GET", "/{owner}/{name}/resolve/{revision}/{path*}", files.resolve),
)

STORAGE = (
    Route("GET", "/cdn/{kind}/{owner}/{name}/{commit}/{path*}", files.stored),
    Route("PUT", "/upload/{kind}/{owner}/{name}/{oid}", uploads.receive),
)

_BLOCK = 64 * 1024


class _Disconnected(Exception):  # noqa: N818  It is no error.
    """The connection is over."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        hub = self.server.hub
        parts = urlsplit(self.path)
        options = self.headers.get("authorization", "")
        fault = hub.note(self.command, parts.path, options)
        try:
            body = self._body(parts.path, fault)
            query = parse_qs(parts.query, keep_blank_values=True)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, query, headers, body, None)
            self._gone_within(fault.delay)
            with hub.lock:
                answer = self._answer(request, options, fault)
            self._send(_spoiled(answer, fault), fault)
        except _Disconnected:
            self.close_connection = True

    def _answer(self, request: Request, value: str, fault: Fault) -> Answer:
        hub = self.server.hub
        if hub.broken or fault.status:
            after = fault.retry_after
            headers = {} if after is None else {"Retry-After": str(after)}
            return Refusal(hub.broken or fault.status, "Trouble", headers=headers).answer()
        try:
            request = replace(request, token=self._token(request, value))
            if fault.changed:
                _change(hub, request.path)
            return dispatch(hub, request, self.server.routes)
        except Refusal as refusal:
            return refusal.answer()
        except Exception:  # noqa: BLE001  A hub that errs must not look like one that refuses.
            hub.crashes.append(f"{request.method} {request.path}\n{traceback.format_exc()}")
            return Refusal(500, "Internal Error").answer()

    def _token(self, request: Request, value: str) -> str | None:
        if self.server.routes is STORAGE:
            if value:  # What AWS says of a signed address with a token on top.
                raise Refusal(400, "InvalidArgument: Only one auth mechanism allowed")
            return None
        kind, _, token = value.partition(" ")
        if not value:
            return None
        if kind != "Bearer" or token not in self.server.hub.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return token

    def _body(self, path: str, fault: Fault) -> bytes:
        """The request's body, whole; one that stops early is not a request."""
        counted = path.rpartition("/")[2] if path.startswith("/upload/") else ""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return self._chunks(counted, fault)
        length = self.headers.get("content-length")
        if length is None and self.command in ("POST", "PUT", "PATCH"):
            self._send(Refusal(411, "Length Required").answer(), fault)
            raise _Disconnected
        return self._read(int(length or 0), counted, fault)

    def _chunks(self, counted: str, fault: Fault) -> bytes:
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            whole += self._read(size, counted, fault)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _read(self, length: int, counted: str, fault: Fault) -> bytes:
        stop = length if fault.reset_upload is None else min(length, fault.reset_upload)
        whole = bytearray()
        while len(whole) < stop:
            try:
                block = self.rfile.read1(min(_BLOCK, stop - len(whole)))
            except OSError:
                block = b""
            whole += block
            if counted:
                with self.server.hub.lock:
                    self.server.hub.received[counted] += len(block)
            if not block:
                text = f"{length} bytes were promised, {len(whole)} came"
                self._send(Refusal(400, text).answer(), fault)
                raise _Disconnected
        if fault.reset_upload is not None:
            self._reset()
        return bytes(whole)

    def _send(self, answer: Answer, fault: Fault) -> None:
        if fault.lost:
            self._reset()
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 304:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD" and answer.status != 304:
                self._send_body(answer, fault)
        except OSError:
            raise _Disconnected from None

    def _send_body(self, answer: Answer, fault: Fault) -> None:
        cuts = [cut for cut in (fault.reset_after, fault.short) if cut is not None]
        body = memoryview(answer.body)[: min(cuts, default=None)]
        size, rest = fault.drip or (_BLOCK, 0.0)
        for start in range(0, len(body), size):
            block = body[start : start + size]
            self.server.hub.pace(len(block))
            self.wfile.write(block)
            with self.server.hub.lock:
                fault.sent += len(block)
                if answer.counted:
                    self.server.hub.sent[answer.counted] += len(block)
            if self._gone_within(rest):
                raise _Disconnected
        if fault.reset_after is not None:
            self._reset()
        if fault.short is not None:
            raise _Disconnected

    def _gone_within(self, seconds: float) -> bool:
        """Wait, but no longer than the client does; true once it has closed the connection."""
        limit = None if seconds == math.inf else seconds
        return bool(seconds and select.select([self.connection], [], [], limit)[0])

    def _reset(self) -> None:
        """End the connection with an RST, as a machine does that is switched off."""
        time.sleep(0.02)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.let_go(self.connection)
        os.close(self.connection.detach())
        raise _Disconnected

    def log_message(self, *_: object) -> None:
        pass


def _change(hub: Hub, path: str) -> None:
    """Another content for the file that a path is about."""
    parts = unquote(path).strip("/").split("/")
    kind = "models"
    if parts[0] in ("cdn", "api"):
        parts = parts[1:]
    if parts[0] in ("models", "datasets"):
        kind, parts = parts[0], parts[1:]
    repo = hub.store.find("/".join(parts[:2]), kind)
    rest = parts[4:] if "resolve" in parts else parts[3:]
    if repo is not None:
        repo.change("/".join(rest))


def _spoiled(answer: Answer, fault: Fault) -> Answer:
    """An answer with what a fault does to its content."""
    body, headers = answer.body, dict(answer.headers)
    if fault.trimmed is not None and answer.status == 206:
        body = body[: fault.trimmed]
        start = int(headers["Content-Range"].split()[1].split("-")[0])
        whole = headers["Content-Range"].split("/")[1]
        headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{whole}"
    if fault.flip is not None and fault.flip < len(body):
        wrong = bytes([body[fault.flip] ^ 0xFF])
        body = body[: fault.flip] + wrong + body[fault.flip + 1 :]
    if fault.packed:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    return replace(answer, body=body, headers=headers)


class _Server(ThreadingHTTPServer):
    """Tracks its open connections, so that none remains after it stops."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: Hub, routes: tuple[Route, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.routes = hub, routes
        self._open: set[socket.socket] = set()
        self._guard = Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def let_go(self, request: socket.socket) -> None:
        """This connection is closed, or another's to close."""
        with self._guard:
            self._open.discard(request)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.let_go(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):
            self.hub.crashes.append(traceback.format_exc())

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        with self._guard:
            for connection in self._open:
                with suppress(OSError):  # the other side may have gone
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Serve a hub and its storage on two free ports of the loopback interface.

    Two hosts, because the client distinguishes them: it stops at a redirect to another host,
    takes the file's hash and size from it, and goes there without its token.

    Yields:
        The hub's address.
    """
    servers = [_Server(hub, ROUTES), _Server(hub, STORAGE)]
    hub.endpoint, hub.storage = (server.address for server in servers)
    threads = [
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield hub.endpoint
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.close()
            thread.join()
