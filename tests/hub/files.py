"""Reading files: where they resolve to, the storage host, byte ranges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.hub.wire import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.hub.hub import Hub
    from tests.hub.store import Blob, Commit, Repo

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def resolve(
    hub: Hub,
    request: Request,
    owner: str,
    name: str,
    revision: str,
    path: str,
    kind: str = "models",
) -> Answer:
    """A file of a repository: its bytes, or where they are."""
    repo = hub.readable(request, kind, f"{owner}/{name}")
    commit = repo.at(revision)
    headers = {"X-Repo-Commit": commit.id}
    if repo.name in hub.gated:
        text = f"Access to model {repo.name} is restricted and you are not in the authorized list."
        raise Refusal(403, text, "GatedRepo", headers)
    blob = commit.files.get(path)
    if blob is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", headers)
    if blob.lfs:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.etag}"'}
        if hub.xet_hashes:
            route = f"{hub.endpoint}/api/{kind}/{repo.name}/xet-read-token/{commit.id}"
            headers |= {"X-Xet-Hash": blob.xet, "Link": f'<{route}>; rel="xet-auth"'}
        if hub.redirect:
            return _elsewhere(hub, repo, commit, path, headers)
    return _serve(request, blob, f"{repo.where}/{path}", headers)


def resolve_dataset(hub: Hub, request: Request, **parts: str) -> Answer:
    """A file of a dataset."""
    return resolve(hub, request, kind="datasets", **parts)


def stored(
    hub: Hub, request: Request, kind: str, owner: str, name: str, commit: str, path: str
) -> Answer:
    """Serve a large file on the storage host to holders of a signed address."""
    hub.check_signature(request)
    repo = hub.store.find(f"{owner}/{name}", kind)
    blob = repo.at(commit).files.get(path) if repo else None
    if repo is None or blob is None:
        raise Refusal(404, "NoSuchKey")
    return _serve(request, blob, f"{repo.where}/{path}", {})


def _elsewhere(hub: Hub, repo: Repo, commit: Commit, path: str, headers: dict[str, str]) -> Answer:
    location = f"/cdn/{repo.kind}/{repo.name}/{commit.id}/{path}"
    headers |= {"Location": hub.sign(hub.storage, location, expires=3600)}
    headers |= {"Content-Type": "text/plain; charset=utf-8", "Vary": "Origin, Accept"}
    return Answer(302, headers, b"Found. Redirecting to the storage.")


def _serve(request: Request, blob: Blob, counted: str, headers: dict[str, str]) -> Answer:
    etag = f'"{blob.etag}"'
    expected = request.headers.get("if-match")
    if expected not in (None, "*", etag):
        raise Refusal(412, "At least one of the pre-conditions you specified did not hold")
    if request.headers.get("if-none-match") == etag:
        return Answer(304, {**headers, "ETag": etag})
    name = quote(counted.rpartition("/")[2])
    headers = {
        **headers,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{name};",
    }
    span = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    if span is None:
        return Answer(200, headers, blob.data, counted)
    start, stop = _bounds(span, blob.size)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return Answer(206, headers, blob.data[start:stop], counted)


def _bounds(text: str, size: int) -> tuple[int, int]:
    """First byte, and the one after the last, of a Range header.

    One range at a time: the real storage answers several with the whole file, and a client that
    asks for them here should hear of it.
    """
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        raise Refusal(400, f"Invalid range: {text}")
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
    if start >= stop:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Refusal(416, "The requested range is not satisfiable", headers=headers)
    return start, stop
