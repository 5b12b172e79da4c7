"""Sending large objects: which files are large, upload addresses, parts, hashes checked."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any

from tests.hub.store import check_path, is_large
from tests.hub.wire import Answer, Refusal, Request, reply

if TYPE_CHECKING:
    from tests.hub.hub import Hub
    from tests.hub.store import Repo

_LFS = {"Content-Type": "application/vnd.git-lfs+json"}


def preupload(
    hub: Hub, request: Request, kind: str, owner: str, name: str, revision: str
) -> Answer:
    """How each file shall be sent, and what is at its path now."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    there = repo.head(revision).files
    files = []
    for asked in _listed(request.json(), "files"):
        path, size = asked["path"], asked["size"]
        check_path(path)
        if len(base64.b64decode(asked["sample"], validate=True)) != min(size, 512):
            raise Refusal(400, f'"sample" of {path} is not its first 512 bytes')
        old = there.get(path)
        mode = "lfs" if is_large(path, size) else "regular"
        known = {} if old is None else {"oid": old.sha256 if old.lfs else old.oid}
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
    return reply({"files": files})


def batch(hub: Hub, request: Request, owner: str, name: str, kind: str = "models") -> Answer:
    """Where to send objects; those that are here already have nowhere to go."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    asked = request.json()
    if asked.get("operation") != "upload" or asked.get("hash_algo") != "sha256":
        raise Refusal(422, "only uploads of sha256 objects")
    if ref := asked.get("ref"):
        repo.head(ref["name"])
    multipart = "multipart" in asked.get("transfers", ["basic"])
    objects = []
    for wanted in _listed(asked, "objects"):
        _check_object(wanted)
        objects.append(_action(hub, repo, wanted["oid"], wanted["size"], multipart))
    return reply({"transfer": "multipart" if multipart else "basic", "objects": objects}, 200, _LFS)


def batch_dataset(hub: Hub, request: Request, owner: str, name: str) -> Answer:
    """The same for a dataset."""
    return batch(hub, request, owner, name, kind="datasets")


def _action(hub: Hub, repo: Repo, oid: str, size: int, multipart: bool) -> dict[str, Any]:
    if oid in repo.objects:
        if len(repo.objects[oid]) != size:
            error = {"code": 422, "message": f"{oid} has {len(repo.objects[oid])} bytes"}
            return {"oid": oid, "size": size, "error": error}
        return {"oid": oid, "size": size}
    where = f"/upload/{repo.kind}/{repo.name}/{oid}"
    verify = {"href": f"{hub.endpoint}/api/{repo.kind}/{repo.name}/lfs-files/verify"}
    if size <= hub.chunk_size or not multipart:
        upload = {"href": hub.sign(hub.storage, where, size=size)}
    else:
        upload = _in_parts(hub, repo, oid, size)
    actions = {"upload": upload, "verify": verify}
    return {"oid": oid, "size": size, "authenticated": True, "actions": actions}


def _in_parts(hub: Hub, repo: Repo, oid: str, size: int) -> dict[str, Any]:
    batch_id = secrets.token_hex(8)
    where = f"/upload/{repo.kind}/{repo.name}/{oid}"
    header = {"chunk_size": str(hub.chunk_size)}
    for number, start in enumerate(range(0, size, hub.chunk_size), 1):
        part = {"size": min(hub.chunk_size, size - start), "part": number, "batch": batch_id}
        header[f"{number:05d}"] = hub.sign(hub.storage, where, **part)
    path = f"/api/complete/{repo.kind}/{repo.name}/{oid}"
    whole = {"size": size, "count": len(header) - 1, "batch": batch_id}
    return {"href": hub.sign(hub.endpoint, path, **whole), "header": header}


def receive(hub: Hub, request: Request, kind: str, owner: str, name: str, oid: str) -> Answer:
    """An object, or a part of one, at its signed address."""
    hub.check_signature(request)
    repo = hub.store.find(f"{owner}/{name}", kind)
    if repo is None:
        raise Refusal(404, "NoSuchBucket")
    if len(request.body) != int(request.one("size")):
        raise Refusal(400, f"expected {request.one('size')} bytes, received {len(request.body)}")
    etag = f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'
    if "part" in request.query:
        hub.parts[request.one("batch"), int(request.one("part"))] = request.body
    else:
        _keep(repo, oid, request.body)
    return Answer(200, {"ETag": etag})


def complete(hub: Hub, request: Request, kind: str, owner: str, name: str, oid: str) -> Answer:
    """Put the parts of an object together."""
    hub.check_signature(request)
    repo = hub.store.find(f"{owner}/{name}", kind)
    asked = request.json()
    listed = [(part["partNumber"], part["etag"]) for part in _listed(asked, "parts")]
    name_of = request.one("batch")
    parts = [hub.parts.get((name_of, n)) for n in range(1, int(request.one("count")) + 1)]
    here = [
        (number, f'"{hashlib.md5(part, usedforsecurity=False).hexdigest()}"')
        for number, part in enumerate(parts, 1)
        if part is not None
    ]
    if repo is None or asked.get("oid") != oid or len(here) != len(parts) or listed != here:
        raise Refusal(400, "InvalidPart: one or more of the specified parts could not be found")
    _keep(repo, oid, b"".join(part for part in parts if part is not None))
    for number in range(1, len(parts) + 1):
        del hub.parts[name_of, number]
    return reply({"success": True})


def verify(hub: Hub, request: Request, kind: str, owner: str, name: str) -> Answer:
    """Whether an object has arrived whole."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    asked = request.json()
    _check_object(asked)
    data = repo.objects.get(asked["oid"])
    if data is None or len(data) != asked["size"]:
        raise Refusal(404, f"{asked['oid']} with {asked['size']} bytes was not uploaded")
    return reply({"success": True})


def duplicate(hub: Hub, request: Request, kind: str, owner: str, name: str) -> Answer:
    """Give another repository large objects of this one."""
    if not hub.xet_hashes:
        raise Refusal(400, "only files on Xet storage can be duplicated")
    source = hub.readable(request, kind, f"{owner}/{name}")
    asked = request.json()
    kinds = {"model": "models", "dataset": "datasets"}
    target = hub.writable(request, kinds[asked["target"]["type"]], asked["target"]["name"])
    if source.name in hub.gated:
        raise Refusal(403, f"Access to {source.name} is restricted", "GatedRepo")
    blobs = [blob for made in source.commits.values() for blob in made.files.values()]
    hashes = {blob.sha256: blob.xet for blob in blobs if blob.lfs}
    failed = []
    for wanted in _listed(asked, "files"):
        oid = wanted["sha256"]
        if hashes.get(oid) != wanted["xetHash"] or oid not in source.objects:
            failed.append({"sha256": oid, "error": "no such file in the source repository"})
        else:
            target.objects[oid] = source.objects[oid]
    return reply({"success": not failed, "failed": failed})


def _keep(repo: Repo, oid: str, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != oid:
        raise Refusal(400, f"BadDigest: the sha256 of what was sent is {found}, not {oid}")
    repo.objects[oid] = data


def _check_object(wanted: dict[str, Any]) -> None:
    if not re.fullmatch("[0-9a-f]{64}", str(wanted.get("oid"))):
        raise Refusal(422, f"no sha256: {wanted.get('oid')!r}")
    if not isinstance(wanted.get("size"), int) or wanted["size"] < 0:
        raise Refusal(422, f"no size: {wanted.get('size')!r}")


def _listed(asked: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = asked.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refusal(400, f'"{key}" must be an array of objects')
    return value
