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
    """Return the upload mode of each file, and the object at its path."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    present = repo.head(revision).files
    files = []
    for requests in _listed(request.json(), "files"):
        path, size = requests["path"], requests["size"]
        check_path(path)
        if len(base64.b64decode(requests["sample"], validate=True)) != min(size, 512):
            raise Refusal(400, f'"sample" of {path} is not its first 512 bytes')
        old = present.get(path)
        mode = "lfs" if is_large(path, size) else "regular"
        known_names = {} if old is None else {"oid": old.sha256 if old.lfs else old.oid}
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known_names})
    return reply({"files": files})


def batch(hub: Hub, request: Request, owner: str, name: str, kind: str = "models") -> Answer:
    """Return upload addresses of objects; none for objects that already exist."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    requests = request.json()
    if requests.get("operation") != "upload" or requests.get("hash_algo") != "sha256":
        raise Refusal(422, "only uploads of sha256 objects")
    if ref := requests.get("ref"):
        repo.head(ref["name"])
    multipart = "multipart" in requests.get("transfers", ["basic"])
    objects = []
    for expected in _listed(requests, "objects"):
        _check_object(expected)
        objects.append(_action(hub, repo, expected["oid"], expected["size"], multipart))
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
    location = f"/upload/{repo.kind}/{repo.name}/{oid}"
    verify = {"href": f"{hub.endpoint}/api/{repo.kind}/{repo.name}/lfs-files/verify"}
    if size <= hub.chunk_size or not multipart:
        upload = {"href": hub.sign(hub.storage, location, size=size)}
    else:
        upload = _in_parts(hub, repo, oid, size)
    actions = {"upload": upload, "verify": verify}
    return {"oid": oid, "size": size, "authenticated": True, "actions": actions}


def _in_parts(hub: Hub, repo: Repo, oid: str, size: int) -> dict[str, Any]:
    batch_id = secrets.token_hex(8)
    location = f"/upload/{repo.kind}/{repo.name}/{oid}"
    header = {"chunk_size": str(hub.chunk_size)}
    for number, start in enumerate(range(0, size, hub.chunk_size), 1):
        part = {"size": min(hub.chunk_size, size - start), "part": number, "batch": batch_id}
        header[f"{number:05d}"] = hub.sign(hub.storage, location, **part)
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
    requests = request.json()
    listed = [(part["partNumber"], part["etag"]) for part in _listed(requests, "parts")]
    name_of = request.one("batch")
    parts = [hub.parts.get((name_of, n)) for n in range(1, int(request.one("count")) + 1)]
    local = [
        (number, f'"{hashlib.md5(part, usedforsecurity=False).hexdigest()}"')
        for number, part in enumerate(parts, 1)
        if part is not None
    ]
    if repo is None or requests.get("oid") != oid or len(local) != len(parts) or listed != local:
        raise Refusal(400, "InvalidPart: one or more of the specified parts could not be found")
    _keep(repo, oid, b"".join(part for part in parts if part is not None))
    for number in range(1, len(parts) + 1):
        del hub.parts[name_of, number]
    return reply({"success": True})


def verify(hub: Hub, request: Request, kind: str, owner: str, name: str) -> Answer:
    """Check whether an object has arrived completely."""
    repo = hub.writable(request, kind, f"{owner}/{name}")
    requests = request.json()
    _check_object(requests)
    data = repo.objects.get(requests["oid"])
    if data is None or len(data) != requests["size"]:
        raise Refusal(404, f"{requests['oid']} with {requests['size']} bytes was not uploaded")
    return reply({"success": True})


def duplicate(hub: Hub, request: Request, kind: str, owner: str, name: str) -> Answer:
    """Give another repository large objects of this one."""
    if not hub.xet_hashes:
        raise Refusal(400, "only files on Xet storage can be duplicated")
    source = hub.readable(request, kind, f"{owner}/{name}")
    requests = request.json()
    kinds = {"model": "models", "dataset": "datasets"}
    target = hub.writable(request, kinds[requests["target"]["type"]], requests["target"]["name"])
    if source.name in hub.gated:
        raise Refusal(403, f"Access to {source.name} is restricted", "GatedRepo")
    blobs = [blob for commit in source.commits.values() for blob in commit.files.values()]
    hashes = {blob.sha256: blob.xet for blob in blobs if blob.lfs}
    failed = []
    for expected in _listed(requests, "files"):
        oid = expected["sha256"]
        if hashes.get(oid) != expected["xetHash"] or oid not in source.objects:
            failed.append({"sha256": oid, "error": "no such file in the source repository"})
        else:
            target.objects[oid] = source.objects[oid]
    return reply({"success": not failed, "failed": failed})


def _keep(repo: Repo, oid: str, data: bytes) -> None:
    result = hashlib.sha256(data).hexdigest()
    if result != oid:
        raise Refusal(400, f"BadDigest: the sha256 of what was sent is {result}, not {oid}")
    repo.objects[oid] = data


def _check_object(expected: dict[str, Any]) -> None:
    if not re.fullmatch("[0-9a-f]{64}", str(expected.get("oid"))):
        raise Refusal(422, f"no sha256: {expected.get('oid')!r}")
    if not isinstance(expected.get("size"), int) or expected["size"] < 0:
        raise Refusal(422, f"no size: {expected.get('size')!r}")


def _listed(requests: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = requests.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refusal(400, f'"{key}" must be an array of objects')
    return value
