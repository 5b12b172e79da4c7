from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import SurgeryError
from surgery.hub.licence import (
    KINDS,
    Kind,
    MergeLicence,
    PublishError,
    StatedLicence,
    combine,
    confirm,
    may_go_into,
)

_QWEN = StatedLicence("other", "qwen-research", "https://hub/qwen/LICENSE")
_OTHER = StatedLicence("other", "house-licence", "LICENSE")

_CLEAR = [
    ("mit", "mit", "mit"),
    ("apache-2.0", "apache-2.0", "apache-2.0"),
    ("mit", "apache-2.0", "apache-2.0"),
    ("cc0-1.0", "mit", "mit"),
    ("unlicense", "cc0-1.0", "cc0-1.0"),
    ("wtfpl", "zlib", "zlib"),
    ("isc", "bsd-3-clause", "bsd-3-clause"),
    ("mit", "bsd-3-clause", "bsd-3-clause"),
    ("bsd-2-clause", "apache-2.0", "apache-2.0"),
    ("cc-by-4.0", "mit", "cc-by-4.0"),
    ("cc-by-4.0", "apache-2.0", "apache-2.0"),
    ("etalab-2.0", "cc-by-4.0", "cc-by-4.0"),
    ("openmdw-1.0", "mit", "openmdw-1.0"),
    ("mit", "gpl-2.0", "gpl-2.0"),
    ("mit", "gpl", "gpl"),
    ("gpl", "gpl", "gpl"),
    ("cc-by-4.0", "gpl-2.0", "gpl-2.0"),
    ("apache-2.0", "gpl-3.0", "gpl-3.0"),
    ("apache-2.0", "agpl-3.0", "agpl-3.0"),
    ("apache-2.0", "lgpl-3.0", "lgpl-3.0"),
    ("apache-2.0", "mpl-2.0", "mpl-2.0"),
    ("gpl-3.0", "agpl-3.0", "agpl-3.0"),
    ("lgpl-3.0", "gpl-3.0", "gpl-3.0"),
    ("lgpl-2.1", "gpl-2.0", "gpl-2.0"),
    ("mpl-2.0", "gpl-3.0", "gpl-3.0"),
    ("eupl-1.2", "agpl-3.0", "agpl-3.0"),
    ("cc-by-sa-4.0", "gpl-3.0", "gpl-3.0"),
    ("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-sa-4.0"),
]

_DOUBTFUL = [
    ("apache-2.0", "gpl-2.0", None, "the patent clause of Apache 2.0"),
    ("apache-2.0", "lgpl-2.1", None, "the patent clause of Apache 2.0"),
    ("gpl-2.0", "gpl-3.0", None, "each wants the whole merge under its own terms"),
    ("mpl-2.0", "epl-2.0", None, "each wants"),
    ("cc-by-sa-4.0", "mpl-2.0", None, "each wants"),
    ("apache-2.0", "gpl", None, "gpl names a family"),
    ("apache-2.0", "afl-3.0", None, "no rule known here"),
    ("cc-by-3.0", "cc-by-4.0", None, "no rule known here"),
    ("cc-by-nc-4.0", "cc-by-nc-4.0", "cc-by-nc-4.0", "allows no commercial use"),
    ("mit", "cc-by-nc-4.0", "cc-by-nc-4.0", "confirm with --license cc-by-nc-4.0"),
    ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", "allows no commercial use"),
    ("gpl-3.0", "cc-by-nc-sa-4.0", None, "in conflict"),
    ("apache-2.0", "apple-amlr", "apple-amlr", "allows research only"),
    ("grok2-community", "mit", "grok2-community", "improve no other model"),
    ("cc-by-nd-4.0", "cc-by-nd-4.0", None, "forbids passing on what is derived"),
    ("mit", "cc-by-nc-nd-4.0", None, "forbids passing on what is derived"),
    ("llama3.2", "apache-2.0", "llama3.2", 'must begin with "Llama"'),
    ("llama3.2", "apache-2.0", "llama3.2", "European Union"),
    ("llama3", "mit", "llama3", "Built with Meta Llama 3"),
    ("gemma", "cc-by-4.0", "gemma", "prohibited uses"),
    ("llama3.1", "llama3.2", None, "in conflict"),
    ("gemma", "llama4", None, "in conflict"),
    ("llama3.2", "gpl-3.0", None, "in conflict"),
    ("creativeml-openrail-m", "mit", "creativeml-openrail-m", "limits on use"),
    ("llama3.2", "llama3.2", "llama3.2", "Built with Llama"),
    ("gemma", "gemma", "gemma", "must be passed on"),
    ("openrail", "openrail", "openrail", "limits on use"),
    (_QWEN, _QWEN, "other", "allows research only"),
    (_QWEN, "apache-2.0", "other", "https://hub/qwen/LICENSE"),
    (_OTHER, _OTHER, "other", "a licence of its own: read it"),
    (_OTHER, _QWEN, None, "each wants"),
    (_OTHER, "gpl-3.0", None, "each wants"),
    (
        _QWEN,
        StatedLicence("other", "qwen-research", "LICENSE"),
        None,
        "two links may lead to two texts",
    ),
    (StatedLicence("other"), StatedLicence("other"), None, "without a name"),
    (StatedLicence("other", "house"), "mit", None, "without a link"),
    ("mit", None, None, "m1 states no licence, which means all rights reserved"),
    (None, None, None, "m0 and m1 state no licence"),
    ("unknown", "mit", None, "m0 states an unknown licence"),
    ("llama-3.2", "mit", None, "Did you mean 'llama3.2'?"),
    ("zzz", "mit", None, "no id of the Hub. Read its terms"),
    ("cc", "cc", None, "a family whose members may forbid"),
]


def _stated(licence: str | StatedLicence | None) -> StatedLicence | None:
    return StatedLicence(licence) if isinstance(licence, str) else licence


def _merge(*licences: str | StatedLicence | None) -> MergeLicence:
    return combine({f"m{i}": _stated(each) for i, each in enumerate(licences)})


@pytest.mark.parametrize(("one", "two", "merged"), _CLEAR)
def test_licences_that_go_together(one: str, two: str, merged: str) -> None:
    for result in (_merge(one, two), _merge(two, one)):
        assert result == MergeLicence(merged, None, None, ())


@pytest.mark.parametrize(("one", "two", "merged", "told"), _DOUBTFUL)
def test_licences_that_a_person_must_look_at(
    one: str | StatedLicence | None, two: str | StatedLicence | None, merged: str | None, told: str
) -> None:
    result = _merge(one, two)
    assert result.license == merged
    assert told in " ".join(result.doubts)
    assert all("m0" in doubt or "m1" in doubt for doubt in result.doubts)
    assert all("--license" in doubt and doubt.endswith(".") for doubt in result.doubts)


def test_a_conflict_is_told_in_full() -> None:
    told = combine(
        {"rl (org/rl)": StatedLicence("gpl-2.0"), "in (org/in)": StatedLicence("apache-2.0")}
    )
    assert told.doubts == (
        "in (org/in) under apache-2.0 and rl (org/rl) under gpl-2.0 are in conflict: the patent "
        "clause of Apache 2.0 is a restriction that version 2 of the GPL forbids. Leave one of "
        "them out, or ask the authors and confirm what they allow with --license ID.",
    )


def test_a_third_parent_can_settle_a_conflict() -> None:
    assert _merge("apache-2.0", "lgpl-2.1", "gpl-3.0") == MergeLicence("gpl-3.0", None, None, ())


def test_a_licence_of_its_own_keeps_name_and_link() -> None:
    result = _merge(_QWEN, "mit")
    assert (result.name, result.link) == (_QWEN.name, _QWEN.link)
    assert f"--license other:{_QWEN.name}:{_QWEN.link}." in result.doubts[0]


def test_a_merge_of_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a merge has parents"):
        combine({})


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ({}, None),
        ({"license": None}, None),
        ({"license": " "}, None),
        ({"license": []}, None),
        ({"license": "Apache-2.0", "license_name": "mine"}, StatedLicence("apache-2.0")),
        ({"license": ["mit"]}, StatedLicence("mit")),
        ({"license": ["mit", "gpl-3.0"]}, StatedLicence("mit, gpl-3.0")),
        (
            {"license": "other", "license_name": "q", "license_link": "L"},
            StatedLicence("other", "q", "L"),
        ),
        ({"license": "other"}, StatedLicence("other")),
        ({"license": "mit\n\n## Prizes <img src=x>"}, StatedLicence("unknown")),
        ({"license": ["mit", {"a": ["b"] * 9}]}, StatedLicence("unknown")),
    ],
)
def test_what_cards_state(card: dict[str, object], stated: StatedLicence | None) -> None:
    assert StatedLicence.of(card) == stated


def test_a_choice_is_taken_with_the_doubts() -> None:
    doubtful = _merge("mit", "cc-by-nc-4.0")
    assert confirm(doubtful, "CC-BY-NC-4.0") == doubtful
    lax = confirm(doubtful, "mit")
    assert lax.license == "mit"
    assert lax.doubts[:-1] == doubtful.doubts
    assert lax.doubts[-1] == (
        "The merge is published under mit, though its parents lead to cc-by-nc-4.0, which is not "
        "known to go into mit."
    )


def test_a_stricter_choice_brings_no_doubt() -> None:
    assert confirm(_merge("mit"), "gpl-3.0") == MergeLicence("gpl-3.0", None, None, ())


def test_a_choice_without_an_id() -> None:
    taken = confirm(_merge(None), "other:mine:https://here/LICENSE")
    assert (taken.license, taken.name, taken.link) == ("other", "mine", "https://here/LICENSE")
    assert len(taken.doubts) == 1


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("apache2", "Did you mean 'apache-2.0'?"),
        ("zzz", "Expected an id of the Hub or other:NAME:LINK"),
        ("", "Expected an id"),
        ("unknown", "not an id that a licence can be stated by"),
        ("mit:x", "Did you mean 'mit'?"),
        ("other", "needs a name and a link"),
        ("other:mine", "needs a name and a link"),
        ("other::LICENSE", "Expected other:NAME:LINK"),
    ],
)
def test_choices_that_the_hub_could_not_show(chosen: str, told: str) -> None:
    with pytest.raises(PublishError, match="--license") as caught:
        confirm(_merge("mit"), chosen)
    assert told in str(caught.value)
    assert isinstance(caught.value, SurgeryError)


def test_may_go_into_is_a_partial_order() -> None:
    above = {part: {whole for whole in KINDS if may_go_into(part, whole)} for part in KINDS}
    for part, wholes in above.items():
        assert part in wholes
        for whole in wholes - {part}:
            assert part not in above[whole]
            assert above[whole] <= wholes
    assert not any(may_go_into(part, "no-such-id") for part in KINDS)


def test_nothing_goes_into_a_licence_that_forbids_derivatives() -> None:
    for whole, kind in KINDS.items():
        if kind is Kind.NO_DERIVATIVES:
            assert [part for part in KINDS if may_go_into(part, whole)] == [whole]


# Laws. The well-known ids come up often, so that many combinations are free of doubt.
_known = st.sampled_from(sorted(KINDS)).map(StatedLicence)
_open = st.sampled_from(
    ["cc0-1.0", "mit", "bsd-3-clause", "cc-by-4.0", "apache-2.0", "mpl-2.0", "lgpl-2.1",
     "lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0", "cc-by-sa-4.0", "llama3.2"]
).map(StatedLicence)  # fmt: skip
_rare = st.sampled_from(
    [None, StatedLicence("zzz"), _QWEN, _OTHER, StatedLicence("other", "house")]
)
_any = st.one_of(_open, _known, _rare)
_parents = st.dictionaries(st.sampled_from("abcdef"), _any, min_size=1, max_size=5)
_open_parents = st.dictionaries(st.sampled_from("abcdef"), _open, min_size=1, max_size=3)
_Parents = dict[str, StatedLicence | None]


def _what(combined: MergeLicence) -> tuple[str | None, str | None, str | None, int]:
    return combined.license, combined.name, combined.link, len(combined.doubts)


@given(_parents, st.randoms(use_true_random=False))
def test_the_order_of_parents_does_not_matter(parents: _Parents, random: object) -> None:
    shuffled = list(parents.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert combine(dict(shuffled)) == combine(parents)


@given(_parents)
def test_a_parent_added_twice_changes_nothing(parents: _Parents) -> None:
    twice = parents | {"z": next(iter(parents.values()))}
    assert _what(combine(twice)) == _what(combine(parents))


@given(_parents, st.sampled_from([i for i, k in KINDS.items() if k is Kind.NON_COMMERCIAL]))
def test_a_non_commercial_parent_leaves_a_doubt(parents: _Parents, licence: str) -> None:
    assert any("z is under" in doubt or " and z are under" in doubt
               for doubt in combine(parents | {"z": StatedLicence(licence)}).doubts)  # fmt: skip


@given(st.one_of(_parents, _open_parents))
def test_what_is_free_of_doubt_is_never_laxer_than_a_parent(parents: _Parents) -> None:
    result = combine(parents)
    if result.doubts:
        return
    assert result.license is not None
    for stated in parents.values():
        assert stated is not None
        assert may_go_into(stated.license, result.license)


@given(_open_parents, _open_parents)
def test_merging_a_merge_is_merging_its_parents(one: _Parents, two: _Parents) -> None:
    first = combine(one)
    if first.doubts or first.license is None:
        return
    second = {f"2{name}": stated for name, stated in two.items()}
    step = combine({"merge": StatedLicence(first.license), **second})
    once = combine({**one, **second})
    assert (step.license, bool(step.doubts)) == (once.license, bool(once.doubts))
