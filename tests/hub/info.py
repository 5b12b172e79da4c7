"""Reading about repositories: who asks, what there is, trees, paths, references, commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tests.hub.cards import card_data
from tests.hub.wire import Answer, Refusal, Request, reply

if TYPE_CHECKING:
    from tests.hub.hub import Hub
    from tests.hub.store import Blob, Commit, Repo


def whoami(hub: Hub, request: Request) -> Answer:
    """The user, the organizations, the token's role."""
    user = hub.identify(request)
    orgs = hub.orgs if user == hub.user else {}
    token = {"displayName": "a test", "role": hub.tokens[request.token or ""]}
    return reply(
        {
            "type": "user",
            "name": user,
            "fullname": user.title(),
            "isPro": False,
            "orgs": [
                {"type": "org", "name": name, "fullname": name.title(), "roleInOrg": role}
                for name, role in orgs.items()
            ],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def info(
    hub: Hub, request: Request, kind: str, owner: str, name: str, revision: str = "main"
) -> Answer:
    """Return the fields of `ModelInfo` and `DatasetInfo`."""
    repo = hub.readable(request, kind, f"{owner}/{name}")
    commit = repo.at(revision)
    full = _described(hub, repo, commit, blobs=request.flag("blobs"))
    expand = request.query.get("expand", [])
    if unknown := sorted(set(expand) - set(full)):
        raise Refusal(400, f'"expand" knows no {unknown[0]} here')
    return reply({key: full[key] for key in ("id", *expand)} if expand else full)


def _described(hub: Hub, repo: Repo, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    card = card_data(commit)
    output = {
        "id": repo.name,
        "author": repo.namespace,
        "sha": commit.id,
        "lastModified": commit.date,
        "createdAt": repo.created,
        "private": repo.private,
        "gated": "manual" if repo.name in hub.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(card),
        "cardData": card,
        "usedStorage": sum(len(data) for data in repo.objects.values()),
        "siblings": [_sibling(path, commit.files[path], blobs) for path in sorted(commit.files)],
    }
    if repo.kind == "models":
        output |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
        output |= {"modelId": repo.name, "model-index": card.get("model-index")}
    return output


def _sibling(path: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    output: dict[str, Any] = {"rfilename": path}
    if blobs:
        output |= {"size": blob.size, "blobId": blob.oid}
        if blob.lfs:
            output["lfs"] = {
                "sha256": blob.sha256,
                "size": blob.size,
                "pointerSize": len(blob.pointer),
            }
    return output


def _tags(card: dict[str, Any]) -> list[str]:
    """The card's tags and those that the Hub makes of its other fields."""
    tags = [tag for key in ("library_name", "pipeline_tag") if (tag := card.get(key))]
    tags += card.get("tags") or []
    for base in _listed(card.get("base_model")):
        tags.append(f"base_model:{base}")
        if relation := card.get("base_model_relation"):
            tags.append(f"base_model:{relation}:{base}")
    tags += [f"dataset:{name}" for name in _listed(card.get("datasets"))]
    tags += [f"license:{name}" for name in _listed(card.get("license"))]
    return list(dict.fromkeys([*tags, "region:us"]))


def _listed(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [value]


def tree(
    hub: Hub,
    request: Request,
    kind: str,
    owner: str,
    name: str,
    revision: str,
    folder: str = "",
) -> Answer:
    """One page of the files and folders of a commit, or of a folder of it."""
    repo = hub.readable(request, kind, f"{owner}/{name}")
    if request.flag("expand"):
        raise Refusal(400, "this hub does not expand trees")
    commit = repo.at(revision)
    paths = {*commit.files, *commit.folders()}
    if folder and folder not in commit.folders():
        raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    start = f"{folder}/" if folder else ""
    below = sorted(path for path in paths if path.startswith(start))
    if not request.flag("recursive"):
        below = [path for path in below if "/" not in path[len(start) :]]
    return _page(hub, request, [entry(hub, commit, path) for path in below])


def _page(hub: Hub, request: Request, entries: list[dict[str, Any]]) -> Answer:
    first = int(request.one("cursor", "0"))
    limit = int(request.one("limit", str(hub.page_size)))
    headers = {}
    if first + limit < len(entries):
        query = {key: values[0] for key, values in request.query.items()}
        text = urlencode({**query, "cursor": first + limit})
        headers["Link"] = f'<{hub.endpoint}{request.path}?{text}>; rel="next"'
    return reply(entries[first : first + limit], headers=headers)


def entry(hub: Hub, commit: Commit, path: str) -> dict[str, Any]:
    """Return the fields of `RepoFile` and `RepoFolder`."""
    blob = commit.files.get(path)
    if blob is None:
        return {"type": "directory", "oid": commit.id, "size": 0, "path": path}
    output = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs:
        output["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
        if hub.xet_hashes:
            output["xetHash"] = blob.xet
    return output


def paths_info(
    hub: Hub, request: Request, kind: str, owner: str, name: str, revision: str
) -> Answer:
    """Return the entries of the requested paths; missing paths are omitted."""
    repo = hub.readable(request, kind, f"{owner}/{name}")
    commit = repo.at(revision)
    form = request.form()
    paths = form.get("paths", [])
    if not paths or len(paths) > 1000:
        raise Refusal(413 if paths else 400, "too many parameters" if paths else '"paths" is empty')
    if form.get("expand", ["false"])[0].lower() == "true":
        raise Refusal(400, "this hub does not expand paths")
    entries = {*commit.files, *commit.folders()}
    return reply([entry(hub, commit, path) for path in paths if path in entries])


def refs(hub: Hub, request: Request, kind: str, owner: str, name: str) -> Answer:
    """Branches and tags."""
    repo = hub.readable(request, kind, f"{owner}/{name}")

    def listed(names: dict[str, str], space: str) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{space}/{name}", "targetCommit": commit}
            for name, commit in sorted(names.items())
        ]

    answer = {"branches": listed(repo.branches, "heads"), "tags": listed(repo.tags, "tags")}
    return reply({**answer, "converts": [], "pullRequests": []})


def commits(hub: Hub, request: Request, kind: str, owner: str, name: str, revision: str) -> Answer:
    """The history of a revision, the newest first."""
    repo = hub.readable(request, kind, f"{owner}/{name}")
    listed = [
        {
            "id": commit.id,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": hub.user}],
        }
        for commit in repo.history(repo.at(revision))
    ]
    return _page(hub, request, listed)


def page_of(hub: Hub, repo: Repo) -> str:
    """The address of a repository's page."""
    return f"{hub.endpoint}/{quote(repo.where)}"
