"""The license of a merge, from the cards of its parents.

Parents that all state one licence give it to the merge. Everything else is for a person to settle:
the parents are listed with their licences, and `--license` names the choice. No rule here says
which licences go together; that depends on their texts and on leave that no card tells of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surgery.errors import PublishError, did_you_mean
from surgery.text import all_names

if TYPE_CHECKING:
    from collections.abc import Mapping

IDS = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m
    bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
    bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2
    fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community h-research
    intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3
    llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++
    osl-3.0 other pddl postgresql unlicense wtfpl zlib
    """.split()  # noqa: SIM905 - eighty quoted words are a page
)
"""The licence ids of the Hub, as its documentation lists them; `unknown` states none."""

# A merge is derived from its parents, which these forbid, or may forbid.
_NEVER_ALONE = {
    "cc": ", a family whose members may forbid commerce or derivatives",
    **dict.fromkeys(
        ("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        ", which forbids passing on what is derived, and a merge is",
    ),
}
_WORD = re.compile(r"[\w.+\-:/#%?=&@~() ]{1,200}", re.ASCII)


@dataclass(frozen=True, order=True)
class StatedLicence:
    """A licence as a model card states it.

    Attributes:
        license: The Hub's id, in lower case.
        name: `license_name`, which cards give together with `other`; otherwise empty.
        link: `license_link`, likewise.
    """

    license: str
    name: str = ""
    link: str = ""

    @classmethod
    def of(cls, card: Mapping[str, object]) -> StatedLicence | None:
        """Return what a card's metadata states; None where it states nothing.

        A list of one licence counts as that one; a list of several is no id of the Hub.
        """
        value = card.get("license")
        if value in (None, []) or (isinstance(value, str) and not value.strip()):
            return None
        words = [_word(item) for item in (value if isinstance(value, list) else [value])[:5]]
        if not all(words):
            return cls("unknown")
        identifier = ", ".join(words).lower()
        if identifier != "other":
            return cls(identifier)
        return cls("other", _word(card.get("license_name")), _word(card.get("license_link")))

    def __str__(self) -> str:
        if self.license != "other" or not self.name:
            return self.license
        return f"{self.name} ({self.link})" if self.link else self.name


@dataclass(frozen=True)
class MergeLicence:
    """The licence that a merge carries.

    Attributes:
        license: The Hub's id, or None where a person has to choose.
        name: `license_name`, where the licence is `other`.
        link: `license_link`, likewise.
        issues: Reasons for a manual choice, a sentence each; the card lists them.
    """

    license: str | None
    name: str | None
    link: str | None
    issues: tuple[str, ...]


def combine(parents: Mapping[str, StatedLicence | None]) -> MergeLicence:
    """Return the licence that all parents state, or the reason why a person has to choose.

    Args:
        parents: A model's name, for example `rl (org/rl)`, to what its card states; None where it
            states nothing. Their order does not matter.

    Raises:
        ValueError: If there are no parents.
    """
    if not parents:
        raise ValueError("a merge has parents")
    groups: dict[StatedLicence | None, list[str]] = {}
    for name in sorted(parents):
        groups.setdefault(parents[name], []).append(name)
    (first, *others_licences) = groups
    if first is not None and not others_licences and _is_clear(first):
        return MergeLicence(first.license, first.name or None, first.link or None, ())
    listing = "; ".join(_statement(stated, names) for stated, names in groups.items())
    issue = f"{listing}: read their terms, then choose with --license ID or other:NAME:LINK."
    return MergeLicence(None, None, None, (issue,))


def confirm(combined: MergeLicence, choice: str) -> MergeLicence:
    """Take the licence that a user names with `--license`.

    A user may have a permission that no card states, so no choice is refused; the reasons remain,
    for the model card to list.

    Args:
        combined: What the parents state.
        choice: An id of the Hub, or `other:NAME:LINK`.

    Raises:
        PublishError: If the id is none of the Hub's, or `other` comes without name and link.
    """
    licence = _parse(choice)
    issues = combined.issues
    if combined.license is not None:
        stated = StatedLicence(combined.license, combined.name or "", combined.link or "")
        if licence != stated:
            issues += (
                f"The merge is published under {licence}, though its parents state {stated}.",
            )
    return MergeLicence(licence.license, licence.name or None, licence.link or None, issues)


def _word(value: object) -> str:
    """Return a card's value if it is a name or an address; strangers wrote it."""
    text = value.strip() if isinstance(value, str) else ""
    return text if _WORD.fullmatch(text) else ""


def _is_clear(stated: StatedLicence) -> bool:
    """Check that the statement names one text, and none that forbids every merge."""
    if stated.license == "other":
        return bool(stated.name and stated.link)
    return stated.license in IDS and stated.license not in _NEVER_ALONE


def _statement(stated: StatedLicence | None, names: list[str]) -> str:
    """List the parents that state one licence, with what it lacks."""
    says = f"{all_names(names)} {'states' if len(names) == 1 else 'state'}"
    if stated is None:
        return f"{says} no licence, which means all rights reserved"
    if stated.license == "unknown":
        return f"{says} an unknown licence, which means all rights reserved"
    if stated.license == "other" and not _is_clear(stated):
        return f"{says} {stated}, a licence of its own without {'link' if stated.name else 'name'}"
    if stated.license not in IDS:
        near = _near(stated.license).strip()
        hint = f" ({near[0].lower()}{near[1:]})" if near else ""
        return f"{says} {stated.license!r}, which is no id of the Hub{hint}"
    return f"{says} {stated}{_NEVER_ALONE.get(stated.license, '')}"


def _parse(choice: str) -> StatedLicence:
    """Read an id or `other:NAME:LINK`, whose link may hold colons."""
    identifier, *rest = choice.strip().split(":", 2)
    lowered = identifier.lower()
    if lowered == "other":
        if len(rest) < 2 or not all(part.strip() for part in rest):
            raise PublishError(
                f"--license {choice}: a licence without an id needs a name and a link. "
                "Expected other:NAME:LINK, for example other:qwen-research:LICENSE."
            )
        return StatedLicence(lowered, rest[0].strip(), rest[1].strip())
    if rest or lowered not in IDS:
        hint = _near(lowered) or " Expected an id of the Hub or other:NAME:LINK."
        raise PublishError(f"--license {choice}: not an id that a licence can be stated by.{hint}")
    return StatedLicence(lowered)


def _near(word: str) -> str:
    """Return a hint at the nearest id, if one is close; the whole list would be too long."""
    hint = did_you_mean(word, IDS)
    return hint if hint.startswith(" Did") else ""
