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
    """A new collection; 409 with the old one's slug where the title is taken."""
    asked = request.json()
    namespace = asked.get("namespace") or hub.identify(request)
    hub.may_write(request, namespace)
    title = asked.get("title", "")
    _check(asked | {"title": title})
    for old in hub.collections.values():
        if (old["title"], old["owner"]["name"]) == (title, namespace):
            told = {"error": "This collection already exists", "slug": old["slug"]}
            return reply(told, 409, {"X-Error-Message": told["error"]})
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    slug = f"{namespace}/{name}-{secrets.token_hex(12)}"
    hub.collections[slug] = {
        "slug": slug,
        "title": title,
        "description": asked.get("description"),
        "owner": {"type": "user" if namespace == hub.user else "org", "name": namespace},
        "private": asked.get("private", False),
        "position": len(hub.collections),
        "theme": "blue",
        "upvotes": 0,
        "lastUpdated": now(),
        "items": [],
    }
    return reply(hub.collections[slug])


def get(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """A collection with all its items."""
    return reply(_found(hub, request, owner, slug))


def listing(hub: Hub, request: Request) -> Answer:
    """Collections, with four items of each at most."""
    owners, wanted = request.query.get("owner", []), request.query.get("item", [])
    found = []
    for shelf in hub.collections.values():
        items = {f"{item['type']}s/{item['id']}" for item in shelf["items"]}
        owner = shelf["owner"]["name"]
        seen = not shelf["private"] or hub.role_in(hub.name_of(request.token), owner)
        if seen and (not owners or owner in owners) and items.issuperset(wanted):
            shown = {key: value for key, value in shelf.items() if key != "position"}
            found.append({**shown, "items": shelf["items"][:4]})
    return reply(found)


def update(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """Change what is said of a collection."""
    shelf = _mine(hub, request, owner, slug)
    asked = request.json()
    if unknown := sorted(set(asked) - set(_FIELDS)):
        raise Refusal(400, f'"{unknown[0]}" is not allowed')
    _check({"title": shelf["title"], **asked})
    shelf.update(asked, lastUpdated=now())
    return reply({"success": True, "data": shelf})


def delete(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """Take a collection away; what it lists stays."""
    del hub.collections[_mine(hub, request, owner, slug)["slug"]]
    return reply({"success": True})


def add_item(hub: Hub, request: Request, owner: str, slug: str) -> Answer:
    """Put a repository on the shelf, last."""
    shelf = _mine(hub, request, owner, slug)
    asked = request.json()
    item = asked.get("item", {})
    if item.get("type") not in _KINDS:
        raise Refusal(400, '"item.type" must be one of [model, dataset]')
    _check_note(asked.get("note"))
    hub.readable(request, _KINDS[item["type"]], item["id"])
    if any((old["type"], old["id"]) == (item["type"], item["id"]) for old in shelf["items"]):
        raise Refusal(409, f"{item['id']} is in this collection already")
    made = {"_id": secrets.token_hex(12), **item, "position": len(shelf["items"])}
    if asked.get("note"):
        made["note"] = {"text": asked["note"], "html": asked["note"]}
    shelf["items"].append(made)
    shelf["lastUpdated"] = now()
    return reply(shelf)


def update_item(hub: Hub, request: Request, owner: str, slug: str, item: str) -> Answer:
    """Change the note of an item, or where it stands."""
    shelf = _mine(hub, request, owner, slug)
    found = _item(shelf, item)
    asked = request.json()
    if "note" in asked:
        _check_note(asked["note"])
        found["note"] = {"text": asked["note"], "html": asked["note"]}
    if "position" in asked:
        shelf["items"].remove(found)
        shelf["items"].insert(asked["position"], found)
    _number(shelf)
    return reply({"success": True})


def delete_item(hub: Hub, request: Request, owner: str, slug: str, item: str) -> Answer:
    """Take an item off the shelf."""
    shelf = _mine(hub, request, owner, slug)
    shelf["items"].remove(_item(shelf, item))
    _number(shelf)
    return reply({"success": True})


def _found(hub: Hub, request: Request, owner: str, slug: str) -> dict[str, Any]:
    shelf = hub.collections.get(f"{owner}/{slug}")
    user = hub.name_of(request.token)
    if shelf is None or (shelf["private"] and not hub.role_in(user, owner)):
        raise Refusal(404, "Collection not found")
    return shelf


def _mine(hub: Hub, request: Request, owner: str, slug: str) -> dict[str, Any]:
    shelf = _found(hub, request, owner, slug)
    hub.may_write(request, owner)
    return shelf


def _item(shelf: dict[str, Any], item: str) -> dict[str, Any]:
    items: list[dict[str, Any]] = shelf["items"]
    for found in items:
        if found["_id"] == item:
            return found
    raise Refusal(404, "Collection item not found")


def _number(shelf: dict[str, Any]) -> None:
    for position, item in enumerate(shelf["items"]):
        item["position"] = position
    shelf["lastUpdated"] = now()


def _check(asked: dict[str, Any]) -> None:
    if not 0 < len(asked["title"]) < 60:
        raise Refusal(400, '"title" must have 1 to 59 characters')
    if len(asked.get("description") or "") > 150:
        raise Refusal(400, '"description" must have at most 150 characters')


def _check_note(note: str | None) -> None:
    if len(note or "") > 500:
        raise Refusal(400, '"note" must have at most 500 characters')
