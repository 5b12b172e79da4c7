"""A server on this machine that speaks the few endpoints of the Hub that fetching needs."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "c0ffee" + "0" * 34

TOKEN = "hf_thisIsASecretThatNobodyMaySee"


@dataclass
class Hub:
    """One repository per name, with one commit that `main` and `v1` point to.

    Attributes:
        repos: Repository name to its files.
        gated: Repositories whose files may not be read.
        broken: Status to answer everything with, or 0.
        asked: Every request so far.
        headers: Authorization headers seen.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    broken: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def add(self, repo: str, folder: Path) -> None:
        """Publish a folder."""
        self.repos[repo] = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def fetched(self) -> list[str]:
        """Names of the files whose bytes were sent."""
        return sorted(
            path.split(f"/resolve/{COMMIT}/")[1]
            for method, _, path in (asked.partition(" ") for asked in self.asked)
            if method == "GET" and "/resolve/" in path
        )


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.headers.append(self.headers.get("authorization", ""))
        status, headers, content = self._find(path.strip("/").split("/"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _find(self, parts: list[str]) -> tuple[int, dict[str, str], bytes]:
        if self.hub.broken:
            return self.hub.broken, {}, b"{}"
        api = parts[:2] == ["api", "models"]
        repo, kind, revision, *rest = (
            "/".join(parts[2:4] if api else parts[:2]),
            *(parts[4:] if api else parts[2:]),
        )
        files = self.hub.repos.get(repo)
        if files is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if revision not in ("main", "v1", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return 200, {}, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
        if kind == "tree":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                for name, data in files.items()
            ]
            return 200, {}, json.dumps(tree).encode()
        if repo in self.hub.gated:
            return 403, {"X-Error-Code": "GatedRepo", "X-Repo-Commit": COMMIT}, b"{}"
        data = files.get("/".join(rest))
        if data is None:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"{}"
        return 200, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT}, data

    def log_message(self, *_: object) -> None:
        pass


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Serve a hub on a free port of the loopback interface; yields its address."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
