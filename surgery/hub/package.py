"""The complete contents of a publication, collected before the first byte is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from surgery.checkpoint.folder import INDEX
from surgery.checkpoint.ledger import LEDGER, FileEntry
from surgery.errors import PlanError, PublishError
from surgery.execute.files import CARD, PICTURE, RESULTS
from surgery.hub.bundle import Bundle
from surgery.hub.card import card, published_recipe
from surgery.recipe.dump import to_yaml
from surgery.recipe.load import PUBLISHED

if TYPE_CHECKING:
    from surgery.checkpoint.ledger import Ledger
    from surgery.hub.card import ProvenMerge
    from surgery.plan.model import Plan


_SEARCHED = 16 << 20
"""Bytes of a file that are searched: all of a small one, the header of one with weights."""


@dataclass(frozen=True)
class Package:
    """A merge as it will be on the Hub.

    Attributes:
        bundle: All its files.
        ledger: The ledger among them.
        card: The card among them.
    """

    bundle: Bundle
    ledger: Ledger
    card: str


def pack(out: Path, subject: ProvenMerge, picture: bytes) -> Package:
    """Collect the files of a publication; the merge's folder does not change.

    Weights, configuration, tokenizer and processor go as they are. Card, picture, recipe and scores
    are written again, and the ledger lists them.

    Args:
        out: The merge.
        subject: What its card tells.
        picture: A PNG of which layers come from which model.
    """
    ledger, plan = subject.ledger, subject.plan
    text = card(subject)
    written: dict[str, bytes] = {
        CARD: text.encode(),
        PICTURE: picture,
        PUBLISHED: to_yaml(published_recipe(plan)).encode(),
    }
    if subject.evaluation is not None:
        for name, entries in subject.evaluation.results.items():
            content = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
            written[RESULTS + name] = content.encode()
    copied = [entry for entry in ledger.files if entry.source is not None]
    for entry in copied:
        if entry.name in written:
            raise PlanError(
                f"{out}: {entry.name!r} was copied from a model, and publishing would replace it "
                "with its own file of that name. Remove it from the merge's base."
            )
    listed = [
        FileEntry(name, hashlib.sha256(data).hexdigest(), None) for name, data in written.items()
    ]
    new = replace(
        ledger,
        recipe=to_yaml(plan.recipe),
        models={
            name: replace(
                entry,
                reference=str(plan.recipe.models[name]),
                revision=plan.models[name].revision,
            )
            for name, entry in ledger.models.items()
        },
        files=tuple(sorted([*copied, *listed], key=lambda entry: entry.name)),
    )
    files: dict[str, Path | bytes] = {
        shard: out / shard for shard in dict.fromkeys(t.shard for t in ledger.tensors)
    }
    if (out / INDEX).is_file():
        files[INDEX] = out / INDEX
    files |= {entry.name: out / entry.name for entry in copied}
    files |= written
    files[LEDGER] = new.to_json()
    bundle = Bundle(dict(sorted(files.items())))
    _check_private(out, bundle, plan)
    return Package(bundle, new, text)


def _check_private(out: Path, bundle: Bundle, plan: Plan) -> None:
    """Refuse to publish where, on this machine, something is.

    Raises:
        PublishError: If a path of the user or of a model stands in a file.
    """
    places = {str(Path.home()), str(out.resolve())}
    folders = [folder for info in plan.models.values() for folder in (info.folder, info.adapter)]
    places |= {str(folder.resolve()) for folder in folders if folder is not None}
    hidden = [place.encode() for place in places if place != "/"]
    for name in bundle.files:
        if bundle.size(name) > _SEARCHED and not name.endswith(".safetensors"):
            continue
        data = bundle.head(name, _SEARCHED)
        for place in hidden:
            if place + b"/" in data or place + b'"' in data:
                raise PublishError(
                    f"{out / name}: names {place.decode(errors='replace')!r}, a place on this "
                    f"machine. Remove it from the model it comes from, merge again, and publish "
                    f"that."
                )
