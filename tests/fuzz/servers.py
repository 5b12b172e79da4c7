"""Servers on loopback that answer soundly until a case damages what they say."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import tests.hub.server
from surgery import specimen
from tests.eval.scripted import Script, said, serving
from tests.fuzz import mutate
from tests.hub import Hub, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

REPO = "org/model"
STATUSES = (200, 200, 200, 204, 301, 302, 400, 401, 404, 409, 416, 429, 500, 503, 599)


@dataclass
class Servers:
    """One chat server and one hub.

    Attributes:
        url: Address of the chat server.
        rng: What damages answers; they are sound where it is None.
        share: Which share of the answers is damaged.
    """

    url: str = ""
    rng: Random | None = None
    share: float = 0.5

    def damage(self, status: int, headers: dict[str, str], body: bytes) -> Any:
        """Return an answer, damaged as the case says."""
        rng = self.rng
        if rng is None or rng.random() > self.share:
            return status, headers, body
        act = rng.randrange(8)
        if act == 0:
            return rng.choice(STATUSES), headers, body
        if act == 1:
            return status, headers, mutate.data(rng, body)
        if act == 2:
            name = rng.choice((*headers, "Location", "Retry-After", "X-Repo-Commit", "Link", "ETag",
                               "X-Linked-Size", "Content-Type", "Content-Range"))  # fmt: skip
            value = str(rng.choice(mutate.VALUES))[:200].encode("ascii", "replace").decode()
            return status, {**headers, name: "".join(c for c in value if c.isprintable())}, body
        try:
            return status, headers, mutate.dumped(rng, mutate.tree(rng, json.loads(body)))
        except ValueError:
            return status, headers, mutate.data(rng, body)

    def reply(self, *_: Any) -> tuple[int, dict[str, str], str]:
        """Return the chat server's answer."""
        status, headers, body = self.damage(200, {}, json.dumps(said("2")).encode())
        stored = {k: v for k, v in headers.items() if k.lower() != "content-length"}
        return status, stored, body.decode("latin-1") if self.rng else body.decode()


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Start both servers, point the Hub's client to one of them, and remove its pauses."""
    from huggingface_hub import constants, hf_api

    result, hub, sleep = Servers(), Hub(), time.sleep
    hub.add(REPO, specimen.path("rl"))
    send = tests.hub.server._Handler._send

    def damaged(handler: Any, answer: Any, fault: Any) -> None:
        status, headers, body = result.damage(answer.status, answer.headers, answer.body)
        send(handler, type(answer)(status, headers, body, answer.counted), fault)

    with (
        serving(Script(result.reply)) as script,
        serve(hub) as address,
        mock.patch.object(tests.hub.server._Handler, "_send", damaged),
        mock.patch.object(time, "sleep", lambda seconds: sleep(min(seconds, 0.01))),
        mock.patch.multiple(
            constants, ENDPOINT=address, HF_HUB_CACHE=str(folder / "hub"),
            HF_ASSETS_CACHE=str(folder / "assets"), HF_HUB_DISABLE_XET=True,
            HUGGINGFACE_CO_URL_TEMPLATE=address + "/{repo_id}/resolve/{revision}/{filename}",
        ),
        mock.patch.object(hf_api.api, "endpoint", address),
    ):  # fmt: skip
        result.url = script.url
        yield result
