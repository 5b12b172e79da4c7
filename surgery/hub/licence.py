"""How the licences of a merge's parents combine.

This is a first reading by rule, for people who publish a merge; it is not legal advice. Whatever
the rules below do not settle becomes a doubt, and a doubt is for a person to settle.

One relation carries everything: a work under licence A *may go into* a whole under licence B. It is
reflexive, antisymmetric and transitive. A merge may carry the licence of that parent into which all
the others may go; where no parent's licence is such, there is a conflict. Sources of the relation:

- Dedications to the public domain and licences that ask for their notice alone go into any licence
  that allows derivatives. Among themselves they are ordered by what they ask for.
- CC BY 4.0 goes into Apache 2.0, and both into community and non-commercial licences (CC BY 4.0,
  section 3(a)(4); Apache 2.0, section 4). Earlier versions of CC BY are left to a person.
- GNU licences, and what goes into them: Free Software Foundation, "Various Licenses and Comments
  about Them". Apache 2.0 goes into GPL 3.0 and not into GPL 2.0, and so, for the same clause, not
  into LGPL 2.1. LGPL 2.1 goes into every later GPL (its section 3), LGPL 3.0 into GPL 3.0, and
  GPL 3.0 into AGPL 3.0 (its section 13).
- MPL 2.0, section 3.3 ("Secondary License"), and EUPL 1.2, appendix: into LGPL 3.0 and above. Both
  texts name GPL 2.0 too; that is left out, as Apache 2.0 would come to GPL 2.0 by that way.
- CC BY-SA 3.0 goes into 4.0 (its section 4(b)), and 4.0 into GPL 3.0 and not back (Creative
  Commons, "Compatible Licenses"). CC BY-NC goes into CC BY-NC-SA of its version, and that into
  later versions (Creative Commons FAQ, "Can I combine material under different licenses?").
- Llama, Gemma and RAIL licences name no licence but themselves for what is derived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING

from surgery.errors import PublishError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Kind(StrEnum):
    """What sort of licence an id stands for."""

    PERMISSIVE = "permissive"
    COPYLEFT = "copyleft"
    COMMUNITY = "community"
    NON_COMMERCIAL = "non-commercial"
    NO_DERIVATIVES = "no derivatives"
    UNCLEAR = "unclear"


# Each goes into all that follow, from the least demanding on.
_NOTICES = (
    "unlicense", "cc0-1.0", "pddl", "wtfpl",
    "isc", "mit", "bsl-1.0", "zlib", "postgresql", "bsd-2-clause", "ncsa", "bsd-3-clause",
    "bsd-3-clause-clear", "cdla-permissive-2.0",
)  # fmt: skip
_PERMISSIVE = (
    *_NOTICES, "bsd", "afl-3.0", "ecl-2.0", "cdla-permissive-1.0", "odc-by", "openmdw-1.0",
    "apple-ascl", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "etalab-2.0", "cc-by-4.0", "apache-2.0",
)  # fmt: skip
_COPYLEFT = (
    "artistic-2.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cdla-sharing-1.0", "epl-1.0", "epl-2.0",
    "eupl-1.1", "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "lgpl-lr", "agpl-3.0", "lppl-1.3c", "ms-pl", "mpl-2.0", "odbl", "ofl-1.1", "osl-3.0",
)  # fmt: skip
_NO_DERIVATIVES = ("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0")
_UNCLEAR = ("cc", "unknown", "other")

_BUILT = 'the name must begin with "Llama" and the page say "Built with Llama"'
_EUROPE = "those domiciled in the European Union have no right to its multimodal models"
_RAILS = (
    "bigcode-openrail-m", "bigscience-bloom-rail-1.0", "bigscience-openrail-m",
    "creativeml-openrail-m", "openrail", "openrail++",
)  # fmt: skip
_COMMUNITY = {
    "llama2": "Meta's notice must go with it, and it may improve no other language model",
    "llama3": 'the name must begin with "Llama 3" and the page say "Built with Meta Llama 3"',
    "llama3.1": _BUILT,
    "llama3.2": f"{_BUILT}; {_EUROPE}",
    "llama3.3": _BUILT,
    "llama4": f"{_BUILT}; {_EUROPE}",
    "gemma": "Gemma's terms and prohibited uses must be passed on, and changed files marked",
    "c-uda": "it may be used and passed on for computation only",
    **dict.fromkeys(_RAILS, "its limits on use must be passed on with the model"),
}
_CC_NON_COMMERCIAL = (
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
)  # fmt: skip
_RESEARCH_ONLY = (
    "apple-amlr", "deepfloyd-if-license", "fair-noncommercial-research-license", "h-research",
    "intel-research",
)  # fmt: skip
_RESEARCH = "allows research only, and no commercial use"
_NON_COMMERCIAL = {
    **dict.fromkeys(_CC_NON_COMMERCIAL, "allows no commercial use"),
    **dict.fromkeys(_RESEARCH_ONLY, _RESEARCH),
    "grok2-community": "limits commercial use, and may train or improve no other model",
}
# What is known of licences that cards name beside `other`.
_NAMED = {
    "qwen-research": _RESEARCH,
    "qwen": 'asks for a notice "Built with Qwen" or "Improved using Qwen", and for a separate '
    "licence above 100 million monthly users",
    "deepseek": "has limits on use that must be passed on",
}
_WORD = re.compile(r"[\w.+\-:/#%?=&@~() ]{1,200}", re.ASCII)
_FAMILIES = ("bsd", "cc", "gfdl", "gpl", "lgpl", "odbl", "odc-by", "openrail")

KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(_PERMISSIVE, Kind.PERMISSIVE),
    **dict.fromkeys(_COPYLEFT, Kind.COPYLEFT),
    **dict.fromkeys(_COMMUNITY, Kind.COMMUNITY),
    **dict.fromkeys(_NON_COMMERCIAL, Kind.NON_COMMERCIAL),
    **dict.fromkeys(_NO_DERIVATIVES, Kind.NO_DERIVATIVES),
    **dict.fromkeys(_UNCLEAR, Kind.UNCLEAR),
}
"""Every licence id of the Hub, as its documentation lists them under "Licenses"."""

_INTO: Mapping[str, tuple[str, ...]] = {
    "etalab-2.0": ("cc-by-4.0",),
    "cc-by-4.0": ("apache-2.0", "lgpl-2.1", "gpl-2.0"),
    "apache-2.0": (
        "mpl-2.0", "epl-2.0", "eupl-1.2", "other", *_COMMUNITY, *_NON_COMMERCIAL,
    ),
    "ecl-2.0": ("gpl-3.0",),
    "artistic-2.0": ("gpl-2.0", "gpl-3.0"),
    "eupl-1.2": ("mpl-2.0",),
    "mpl-2.0": ("lgpl-3.0",),
    "lgpl-2.1": ("gpl-2.0", "gpl-3.0"),
    "lgpl-3.0": ("gpl-3.0",),
    "gpl-3.0": ("agpl-3.0",),
    "cc-by-sa-3.0": ("cc-by-sa-4.0",),
    "cc-by-sa-4.0": ("gpl-3.0",),
    **{part: (f"cc-by-nc-sa-{part[-3:]}",) for part in _CC_NON_COMMERCIAL[:3]},
    "cc-by-nc-sa-2.0": ("cc-by-nc-sa-3.0",),
    "cc-by-nc-sa-3.0": ("cc-by-nc-sa-4.0",),
}  # fmt: skip


def _word(said: object) -> str:
    """What a card says, if it is a name or an address; what strangers wrote goes into our card."""
    text = said.strip() if isinstance(said, str) else ""
    return text if _WORD.fullmatch(text) else ""


@dataclass(frozen=True, order=True)
class StatedLicence:
    """A licence as a model card states it.

    Attributes:
        license: The Hub's id, in lower case.
        name: `license_name`, which cards give beside `other`; otherwise empty.
        link: `license_link`, likewise.
    """

    license: str
    name: str = ""
    link: str = ""

    @classmethod
    def of(cls, card: Mapping[str, object]) -> StatedLicence | None:
        """What a card's metadata states; None where it states nothing.

        A list of one licence counts as that one; a list of several as one that no rule knows.
        """
        said = card.get("license")
        each = [_word(one) for one in (said if isinstance(said, list) else [said])[:5]]
        told = ", ".join(each).lower()
        if said in (None, []) or (isinstance(said, str) and not said.strip()):
            return None
        if not all(each):
            return cls("unknown")
        own = told == "other"
        name, link = (_word(card.get(f"license_{key}")) if own else "" for key in ("name", "link"))
        return cls(told, name, link)

    def __str__(self) -> str:
        if self.license != "other" or not self.name:
            return self.license
        return f"{self.name} ({self.link})" if self.link else self.name

    @property
    def option(self) -> str:
        """What `--license` takes for it."""
        return f"other:{self.name}:{self.link}" if self.license == "other" else self.license


@dataclass(frozen=True)
class MergeLicence:
    """What a merge may carry.

    Attributes:
        license: The Hub's id, or None where nothing can be proposed.
        name: `license_name`, where the licence is `other`.
        link: `license_link`, likewise.
        doubts: What a person has to settle first, a sentence each; with none the merge may be
            published without asking.
    """

    license: str | None
    name: str | None
    link: str | None
    doubts: tuple[str, ...]


def may_go_into(part: str, whole: str) -> bool:
    """Whether a work under licence `part` may go into one that carries licence `whole`.

    Args:
        part: An id of the Hub.
        whole: Another.

    Returns:
        False too where the rules do not know.
    """
    if part == whole:
        return True
    if part in _NOTICES:
        if whole in _NOTICES:
            return _NOTICES.index(part) < _NOTICES.index(whole)
        allows = KINDS.get(whole, Kind.NO_DERIVATIVES) is not Kind.NO_DERIVATIVES
        return allows and whole not in ("cc", "unknown")
    return any(may_go_into(step, whole) for step in _INTO.get(part, ()))


def combine(parents: Mapping[str, StatedLicence | None]) -> MergeLicence:
    """What licence a merge of these models may carry, and what is doubtful about it.

    Args:
        parents: A model's name, for example `rl (org/rl)`, to what its card states; None where it
            states nothing. Their order does not matter.

    Returns:
        The licence of the parent into which all others may go, where there is one, and the doubts.

    Raises:
        ValueError: If there are no parents.
    """
    if not parents:
        raise ValueError("a merge has parents")
    groups: dict[StatedLicence | None, list[str]] = {}
    for name in sorted(parents):
        groups.setdefault(parents[name], []).append(name)
    clear = sorted(stated for stated in groups if stated is not None and _is_clear(stated))
    top = next((s for s in clear if all(_goes(other, s) for other in clear)), None)
    doubts = [_doubt(stated, names) for stated, names in groups.items()]
    doubts += _conflicts(clear, groups) if top is None else []
    told = tuple(doubt for doubt in doubts if doubt)
    if top is None or len(clear) < len(groups):
        return MergeLicence(None, None, None, told)
    return MergeLicence(top.license, top.name or None, top.link or None, told)


def confirm(combined: MergeLicence, chosen: str) -> MergeLicence:
    """Take the licence that a user names with `--license`.

    A user may hold leave that no card tells of. So a choice that asks less than the parents do is
    not refused; the doubts stay with it, for the model card to list.

    Args:
        combined: What the rules say.
        chosen: An id of the Hub, or `other:NAME:LINK`.

    Returns:
        The choice, with all doubts and, where it asks less than what was proposed, that one too.

    Raises:
        PublishError: If the id is none of the Hub's, or `other` comes without name and link.
    """
    choice = _parse(chosen)
    doubts = combined.doubts
    if combined.license is not None:
        proposed = StatedLicence(combined.license, combined.name or "", combined.link or "")
        if not _goes(proposed, choice):
            doubts += (
                f"The merge is published under {choice}, though its parents lead to {proposed}, "
                f"which is not known to go into {choice}.",
            )
    return MergeLicence(choice.license, choice.name or None, choice.link or None, doubts)


def _parse(chosen: str) -> StatedLicence:
    """An id, or `other:NAME:LINK`; links hold colons too."""
    identifier, *rest = chosen.strip().split(":", 2)
    known = identifier.lower()
    if known == "other":
        if len(rest) < 2 or not all(part.strip() for part in rest):
            raise PublishError(
                f"--license {chosen}: a licence without an id needs a name and a link. "
                "Expected other:NAME:LINK, for example other:qwen-research:LICENSE."
            )
        return StatedLicence(known, rest[0].strip(), rest[1].strip())
    if rest or known not in KINDS or known == "unknown":
        hint = _near(known) or " Expected an id of the Hub or other:NAME:LINK."
        raise PublishError(f"--license {chosen}: not an id that a licence can be stated by.{hint}")
    return StatedLicence(known)


def _near(word: str) -> str:
    """The nearest id, if one is near; the whole list would help nobody."""
    hint = did_you_mean(word, (known for known in KINDS if known != "unknown"))
    return hint if hint.startswith(" Did") else ""


def _is_clear(stated: StatedLicence) -> bool:
    """Whether one knows which licence is meant, and that it lets a merge be made."""
    if stated.license == "other":
        return bool(stated.name and stated.link)
    return KINDS.get(stated.license) not in (None, Kind.UNCLEAR, Kind.NO_DERIVATIVES)


def _goes(part: StatedLicence, whole: StatedLicence) -> bool:
    """As `may_go_into`; licences of one's own go nowhere but into themselves."""
    if part.license == whole.license:
        return part == whole
    return may_go_into(part.license, whole.license)


def _doubt(stated: StatedLicence | None, names: list[str]) -> str:
    """What is doubtful about one licence, whoever else is there; empty where nothing is."""
    who = _listed(names)
    are, state = ("is", "states") if len(names) == 1 else ("are", "state")
    if stated is None or stated.license == "unknown":
        what = "no licence" if stated is None else "an unknown licence"
        return (
            f"{who} {state} {what}, which means all rights reserved: ask the authors, and confirm "
            "what they allow with --license ID."
        )
    if stated.license not in KINDS:
        return (
            f"{who} {state} the licence {stated.license!r}, which is no id of the Hub."
            f"{_near(stated.license)} Read its terms, then confirm with --license ID."
        )
    return _of_kind(stated, f"{who} {are} under {stated}")


def _of_kind(stated: StatedLicence, under: str) -> str:
    """The doubt about a licence that the Hub knows."""
    then = f"confirm with --license {stated.option}."
    match KINDS[stated.license]:
        case Kind.UNCLEAR:
            return _unclear(stated, under)
        case Kind.NO_DERIVATIVES:
            return (
                f"{under}, which forbids passing on what is derived, and a merge is: ask the "
                "authors for leave, and confirm what they allow with --license ID."
            )
        case Kind.NON_COMMERCIAL:
            return f"{under}, which {_NON_COMMERCIAL[stated.license]}; this binds the merge: {then}"
        case Kind.COMMUNITY:
            told = _COMMUNITY[stated.license]
            return f"{under}, whose conditions bind all of it ({told}): meet them, then {then}"
    return ""


def _unclear(stated: StatedLicence, under: str) -> str:
    """The doubt about `cc` and `other`."""
    if stated.license == "cc":
        return (
            f"{under}, a family whose members may forbid commerce or derivatives: find out which "
            "is meant, and confirm it with --license ID."
        )
    if not _is_clear(stated):
        missing = "a link" if stated.name else "a name"
        return (
            f"{under}, a licence of its own without {missing}: look for its text, then confirm "
            "with --license other:NAME:LINK."
        )
    told = f", which {_NAMED[stated.name]}" if stated.name in _NAMED else ", a licence of its own"
    return f"{under}{told}: read it, then confirm with --license {stated.option}."


def _conflicts(
    clear: list[StatedLicence], groups: Mapping[StatedLicence | None, list[str]]
) -> Iterable[str]:
    """A sentence for every two licences that no parent's licence reconciles."""
    for one, two in combinations(clear, 2):
        if any(_goes(one, whole) and _goes(two, whole) for whole in clear):
            continue
        yield (
            f"{_listed(groups[one])} under {one} and {_listed(groups[two])} under {two} are in "
            f"conflict: {_reason(one, two)}. Leave one of them out, or ask the authors and confirm "
            "what they allow with --license ID."
        )


def _reason(one: StatedLicence, two: StatedLicence) -> str:
    ids = {one.license, two.license}
    if one.name and one.name == two.name:
        return "two links may lead to two texts"
    if "apache-2.0" in ids and ids & {"gpl-2.0", "lgpl-2.1"}:
        return "the patent clause of Apache 2.0 is a restriction that version 2 of the GPL forbids"
    families = sorted(ids & set(_FAMILIES))
    if families:
        return f"{families[0]} names a family of licences, not one of them"
    if all(KINDS[each] is not Kind.PERMISSIVE for each in ids):
        return "each wants the whole merge under its own terms"
    return "no rule known here lets one go into a work under the other"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
