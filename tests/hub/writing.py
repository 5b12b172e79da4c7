"""Making repositories, branches, tags and commits."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from tests.hub.cards import check
from tests.hub.info import page_of
from tests.hub.store import ATTRIBUTES, KINDS, LARGE, Blob, check_path
from tests.hub.wire import Answer, Refusal, Request, reply

if TYPE_CHECKING:
    from tests.hub.hub import Hub
    from tests.hub.store import Repo

_KINDS = {kind: plural for plural, kind in KINDS.items()}


def create_repo(hub: Hub, request: Request) -> Answer:
    """A new repository, with one commit that holds `.gitattributes`, like on the Hub."""
    requests = request.json()
    kind, name = _named(hub, request, requests)
    hub.may_write(request, name.split("/")[0])
    calls = requests.get("visibility", "private" if requests.get("private") else "public")
    if calls not in ("public", "private"):
        raise Refusal(400, '"visibility" must be one of [public, private]')
    old = hub.store.find(name, kind)
    if old is not None:
        text = f"You already created this {KINDS[kind]} repo: {name}"
        messages = {"error": text, "url": page_of(hub, old), "name": name, "id": name}
        return reply(messages, 409, {"X-Error-Message": text})
    repo = hub.store.make(name, kind, private=calls == "private")
    repo.commit("main", {".gitattributes": Blob(ATTRIBUTES)}, "initial commit")
    return reply({"url": page_of(hub, repo), "name": name, "id": name, "private": repo.private})


def delete_repo(hub: Hub, request: Request) -> Answer:
    """Take a repository away."""
    kind, name = _named(hub, request, request.json())
    hub.writable(request, kind, name)
    del hub.store.repos[kind, name]
    return reply({"success": True})


def _named(hub: Hub, request: Request, requests: dict[str, Any]) -> tuple[str, str]:
    kind = _KINDS.get(requests.get("type") or "model")
    if kind is None:
        raise Refusal(400, f'"type" must be one of [{", ".join(_KINDS)}]')
    owner = requests.get("organization") or hub.identify(request)
    return kind, f"{owner}/{requests.get('name', '')}"


def create_branch(
    hub: Hub, request: Request, kind: str, owner: str, name: str, branch: str
) -> Answer:
    """A new branch, from a revision or from the head of main."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    if branch.startswith("refs/") or " " in branch or ".." in branch:
        raise Refusal(400, f"Invalid reference for a branch: refs/heads/{branch}")
    if branch in repo.branches:
        raise Refusal(409, f"Reference already exists: refs/heads/{branch}")
    repo.branches[branch] = repo.at(request.json().get("startingPoint", "main")).id
    return reply({"success": True})


def delete_branch(
    hub: Hub, request: Request, kind: str, owner: str, name: str, branch: str
) -> Answer:
    """Take a branch away; its commits stay."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    repo.head(branch)
    if branch == "main":
        raise Refusal(403, "main is protected")
    del repo.branches[branch]
    return reply({"success": True})


def create_tag(
    hub: Hub, request: Request, kind: str, owner: str, name: str, revision: str
) -> Answer:
    """Name a commit."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    tag = request.json()["tag"]
    if tag in repo.tags:
        raise Refusal(409, f"Reference already exists: refs/tags/{tag}")
    repo.tags[tag] = repo.at(revision).id
    return reply({"success": True})


def commit(hub: Hub, request: Request, kind: str, owner: str, name: str, branch: str) -> Answer:
    """Change files, all or nothing."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    if request.flag("create_pr"):
        raise Refusal(400, "this hub has no pull requests")
    header, *operations = _lines(request)
    if header["key"] != "header" or not header["value"].get("summary"):
        raise Refusal(400, "the first line must be a header with a summary")
    head = repo.head(branch)
    parent = header["value"].get("parentCommit")
    if parent is not None and not head.id.startswith(parent):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for operation in operations:
        _apply(repo, files, operation["key"], operation["value"])
    if len(files) != len({path.lower() for path in files}):
        raise Refusal(400, "two paths differ only in their case")
    about = header["value"]
    output = repo.commit(branch, files, about["summary"], about.get("description", ""))
    url = f"{page_of(hub, repo)}/commit/{output.id}"
    return reply({"success": True, "commitOid": output.id, "commitUrl": url, "hookOutput": ""})


def _lines(request: Request) -> list[dict[str, Any]]:
    if request.headers.get("content-type") != "application/x-ndjson":
        raise Refusal(415, "a commit is application/x-ndjson")
    try:
        lines = [json.loads(line) for line in request.body.splitlines()]
    except ValueError as error:
        raise Refusal(400, f"Invalid JSON: {error}") from None
    if not lines or not all(
        isinstance(line, dict) and isinstance(line.get("value"), dict) and "key" in line
        for line in lines
    ):
        raise Refusal(400, "every line must be an object with a key and a value")
    return lines


def _apply(repo: Repo, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    path = value["path"].rstrip("/") if key == "deletedFolder" else value["path"]
    check_path(path)
    if key == "deletedFile":
        if path not in files:
            text = f'A file with this name doesn\'t exist: "{path}"'
            raise Refusal(404, text, "EntryNotFound")
        del files[path]
    elif key == "deletedFolder":
        inside = [name for name in files if name.startswith(f"{path}/")]
        if not inside:
            text = f'A folder with this name doesn\'t exist: "{path}"'
            raise Refusal(404, text, "EntryNotFound")
        for name in inside:
            del files[name]
    elif key == "file":
        files[path] = _regular(repo, path, value)
    elif key == "lfsFile":
        files[path] = _large(repo, path, value)
    else:
        raise Refusal(400, f"unknown operation {key!r}")


def _regular(repo: Repo, path: str, value: dict[str, Any]) -> Blob:
    if value.get("encoding") != "base64":
        raise Refusal(400, f"{path}: the encoding must be base64")
    try:
        data = base64.b64decode(value["content"], validate=True)
    except binascii.Error:
        raise Refusal(400, f"{path}: not base64") from None
    if len(data) > LARGE:
        raise Refusal(400, f"{path}: files of more than 10 MiB must be sent with LFS")
    if path == "README.md":
        errors, _ = check(data.decode(), KINDS[repo.kind])
        if errors:
            raise Refusal(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
    return Blob(data)


def _large(repo: Repo, path: str, value: dict[str, Any]) -> Blob:
    data = repo.objects.get(value.get("oid", ""))
    if value.get("algo") != "sha256" or data is None:
        raise Refusal(400, f"{path}: LFS pointer points to a file that does not exist")
    if value.get("size", len(data)) != len(data):
        raise Refusal(400, f"{path}: {value['size']} bytes were promised, there are {len(data)}")
    return Blob(data, lfs=True)
