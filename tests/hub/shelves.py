"""Collections of models and datasets."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from tests.hub.store import now
from tests.hub.wire import Answer, Refusal, Request, reply

if TYPE_CHECKING:
    from tests.hub.hub import Hub

_KINDS = {"model": "models", "dataset": "datasets"}

_FIELDS = ("title", "description", "private", "position", "theme")


def create(hub: Hub, request: Request) -> Answer:
    """Create a collection; 409 with the existing slug if the title is taken."""
    requests = request.json()
    namespace = requests.get("namespace") or hub.identify(request)
    hub.may_write(request, namespace)
    title = requests.get("title", "")
    _check(requests | {"title": title})
    for old in hub.collections.values():
        if (old["title"], old["owner"]["name"]) == (title, namespace):
            text = {"error": "This collection already exists", "slug": old["slug"]}
            return reply(text, 409, {"X-Error-Message": text["error"]})
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    slug = f"{namespace}/{name}-{secrets.token_hex(12)}"
    hub.collections[slug] = {
        "slug": slug,
        "title": title,
        "description": requests.get("description"),
        "owner": {"type": "user" if namespace == hub.user else "org", "name": namespace},
        "private": requests.get("private", False),
        "position": len(hub.collections),
        "theme": "blue",
        "upvotes": 0,
        "lastUpdated": now(),
        "items": [],
    }
    return reply(hub.collections[slug])


def get(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """A collection with all its items."""
    return reply(_find_collection(hub, request, owner, slug))


def listing(hub: Hub, request: Request) -> Answer:
    """Collections, with four items of each at most."""
    owners, expected = request.query.get("owner", []), request.query.get("item", [])
    results = []
    for shelf in hub.collections.values():
        items = {f"{item['type']}s/{item['id']}" for item in shelf["items"]}
        owner = shelf["owner"]["name"]
        calls = not shelf["private"] or hub.role_in(hub.name_of(request.token), owner)
        if calls and (not owners or owner in owners) and items.issuperset(expected):
            displayed = {key: value for key, value in shelf.items() if key != "position"}
            results.append({**displayed, "items": shelf["items"][:4]})
    return reply(results)


def update(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """Change a collection's metadata."""
    shelf = _list_collections(hub, request, owner, slug)
    requests = request.json()
    if unknown := sorted(set(requests) - set(_FIELDS)):
        raise Refusal(400, f'"{unknown[0]}" is not allowed')
    _check({"title": shelf["title"], **requests})
    shelf.update(requests, lastUpdated=now())
    return reply({"success": True, "data": shelf})


def delete(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """Take a collection away; what it lists stays."""
    del hub.collections[_list_collections(hub, request, owner, slug)["slug"]]
    return reply({"success": True})


def add_item(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """Put a repository on the shelf, last."""
    shelf = _list_collections(hub, request, owner, slug)
    requests = request.json()
    item = requests.get("item", {})
    if item.get("type") not in _KINDS:
        raise Refusal(400, '"item.type" must be one of [model, dataset]')
    _check_note(requests.get("note"))
    hub.readable(request, _KINDS[item["type"]], item["id"])
    if any((old["type"], old["id"]) == (item["type"], item["id"]) for old in shelf["items"]):
        raise Refusal(409, f"{item['id']} is in this collection already")
    output = {"_id": secrets.token_hex(12), **item, "position": len(shelf["items"])}
    if requests.get("note"):
        output["note"] = {"text": requests["note"], "html": requests["note"]}
    shelf["items"].append(output)
    shelf["lastUpdated"] = now()
    return reply(shelf)


def update_item(hub: Hub, request: Request, owner: str, slug: str, item: str) -> Answer:
    """Change the note of an item, or where it stands."""
    shelf = _list_collections(hub, request, owner, slug)
    result = _item(shelf, item)
    requests = request.json()
    if "note" in requests:
        _check_note(requests["note"])
        result["note"] = {"text": requests["note"], "html": requests["note"]}
    if "position" in requests:
        shelf["items"].remove(result)
        shelf["items"].insert(requests["position"], result)
    _number(shelf)
    return reply({"success": True})


def delete_item(hub: Hub, request: Request, owner: str, slug: str, item: str) -> Answer:
    """Take an item off the shelf."""
    shelf = _list_collections(hub, request, owner, slug)
    shelf["items"].remove(_item(shelf, item))
    _number(shelf)
    return reply({"success": True})


def _find_collection(hub: Hub, request: Request, owner: str, slug: str) -> dict[str, Any]:
    shelf = hub.collections.get(f"{owner}/{slug}")
    user = hub.name_of(request.token)
    if shelf is None or (shelf["private"] and not hub.role_in(user, owner)):
        raise Refusal(404, "Collection not found")
    return shelf


def _list_collections(hub: Hub, request: Request, owner: str, slug: str) -> dict[str, Any]:
    shelf = _find_collection(hub, request, owner, slug)
    hub.may_write(request, owner)
    return shelf


def _item(shelf: dict[str, Any], item: str) -> dict[str, Any]:
    items: list[dict[str, Any]] = shelf["items"]
    for result in items:
        if result["_id"] == item:
            return result
    raise Refusal(404, "Collection item not found")


def _number(shelf: dict[str, Any]) -> None:
    for position, item in enumerate(shelf["items"]):
        item["position"] = position
    shelf["lastUpdated"] = now()


def _check(requests: dict[str, Any]) -> None:
    if not 0 < len(requests["title"]) < 60:
        raise Refusal(400, '"title" must have 1 to 59 characters')
    if len(requests.get("description") or "") > 150:
        raise Refusal(400, '"description" must have at most 150 characters')


def _check_note(note: str | None) -> None:
    if len(note or "") > 500:
        raise Refusal(400, '"note" must have at most 500 characters')
