"""The licence of a merge: equal parents pass, everything else is listed and asked for."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import PublishError
from surgery.hub.licence import IDS, MergeLicence, StatedLicence, combine, confirm

QWEN = StatedLicence("other", "qwen-research", "https://hub/qwen/LICENSE")

UNCLEAR = [
    (None, "state no licence, which means all rights reserved"),
    ("unknown", "state an unknown licence, which means all rights reserved"),
    ("apache 2.0", "state 'apache 2.0', which is no id of the Hub (did you mean 'apache-2.0'?)"),
    ("zzz", "state 'zzz', which is no id of the Hub: read"),
    ("mit, gpl-3.0", "state 'mit, gpl-3.0', which is no id"),
    (StatedLicence("other"), "state other, a licence of its own without name"),
    (StatedLicence("other", "house"), "state house, a licence of its own without link"),
    ("cc", "state cc, a family whose members may forbid"),
    ("cc-by-nd-4.0", "which forbids passing on what is derived"),
]


def stated(licence: str | StatedLicence | None) -> StatedLicence | None:
    return StatedLicence(licence) if isinstance(licence, str) else licence


def merge(*licences: str | StatedLicence | None) -> MergeLicence:
    return combine({f"m{i}": stated(licence) for i, licence in enumerate(licences)})


@pytest.mark.parametrize("licence", ["mit", "apache-2.0", "cc-by-nc-4.0", "gemma", "llama3.2"])
def test_equal_licences_pass(licence: str) -> None:
    assert merge(licence, licence) == MergeLicence(licence, None, None, ())


def test_equal_licences_of_their_own_keep_name_and_link() -> None:
    assert merge(QWEN, QWEN) == MergeLicence("other", QWEN.name, QWEN.link, ())


@pytest.mark.parametrize(
    ("card_a", "card_b"),
    [
        ("mit", "apache-2.0"),
        ("gpl-2.0", "gpl-3.0"),
        (QWEN, "apache-2.0"),
        (QWEN, StatedLicence("other", "qwen-research", "LICENSE")),  # perhaps another text
    ],
)
def test_different_licences_are_listed_and_asked_for(
    card_a: str | StatedLicence, card_b: str | StatedLicence
) -> None:
    result = merge(card_a, card_b)
    assert (result.license, result.name, result.link) == (None, None, None)
    assert result.issues == (
        f"m0 states {stated(card_a)}; m1 states {stated(card_b)}: read their terms, then choose "
        f"with --license ID or other:NAME:LINK.",
    )


def test_parents_of_one_licence_are_listed_together() -> None:
    (issue,) = merge("mit", "gpl-3.0", "mit", "mit").issues
    assert issue.startswith("m0, m2 and m3 state mit; m1 states gpl-3.0: ")


@pytest.mark.parametrize(("licence", "reason"), UNCLEAR)
def test_licences_that_settle_nothing_are_asked_for(
    licence: str | StatedLicence | None, reason: str
) -> None:
    result = merge(licence, licence)
    assert result.license is None
    (issue,) = result.issues
    assert reason in issue
    assert issue.startswith("m0 and m1 state ")
    assert issue.endswith("choose with --license ID or other:NAME:LINK.")


def test_a_merge_of_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a merge has parents"):
        combine({})


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({}, None),
        ({"license": " "}, None),
        ({"license": []}, None),
        ({"license": ["mit"]}, StatedLicence("mit")),
        ({"license": ["mit", "gpl-3.0"]}, StatedLicence("mit, gpl-3.0")),
        ({"license": "other"}, StatedLicence("other")),
        ({"license": "mit\n\n## Prizes <img src=x>"}, StatedLicence("unknown")),
        ({"license": ["mit", {"a": ["b"] * 9}]}, StatedLicence("unknown")),
    ],
)
def test_statements_of_cards(card: dict[str, object], expected: StatedLicence | None) -> None:
    assert StatedLicence.of(card) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # The shapes that heads of published vision-language models have.
        (
            "license: other\nlicense_name: yi-license\nlicense_link: LICENSE",
            StatedLicence("other", "yi-license", "LICENSE"),
        ),
        (
            "license: other\nlicense_name: research-only\n"
            "license_link: https://example.org/blob/main/Research%20License.docx",
            StatedLicence(
                "other", "research-only", "https://example.org/blob/main/Research%20License.docx"
            ),
        ),
        ("license: mit\nlicense_name: deepseek\nlicense_link: LICENSE", StatedLicence("mit")),
        ("license: Apache-2.0", StatedLicence("apache-2.0")),
        ("license:\n- apache-2.0", StatedLicence("apache-2.0")),
        ("license:  # fill in", None),
        ("library_name: transformers", None),
        ("license: no", StatedLicence("unknown")),  # a truth value in YAML
        ("license: 3.0", StatedLicence("unknown")),
    ],
)
def test_heads_as_people_write_them(head: str, expected: StatedLicence | None) -> None:
    assert StatedLicence.of(yaml.safe_load(head)) == expected


def test_a_choice_is_taken_with_the_doubts() -> None:
    doubtful = merge("mit", "cc-by-nc-4.0")
    selection = confirm(doubtful, "CC-BY-NC-4.0")
    assert selection == MergeLicence("cc-by-nc-4.0", None, None, doubtful.issues)


def test_a_choice_that_no_parent_states_is_told() -> None:
    assert confirm(merge("mit"), "mit") == merge("mit")
    assert confirm(merge("mit"), "gpl-3.0").issues == (
        "The merge is published under gpl-3.0, though its parents state mit.",
    )
    same = f"other:{QWEN.name}:{QWEN.link}"
    assert confirm(merge(QWEN), same) == merge(QWEN)


def test_a_choice_without_an_id() -> None:
    selection = confirm(merge(None), "other:mine:https://here/LICENSE")
    assert (selection.license, selection.name, selection.link) == (
        "other",
        "mine",
        "https://here/LICENSE",
    )
    assert len(selection.issues) == 1


@pytest.mark.parametrize(
    ("choice", "message"),
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
def test_choices_that_the_hub_could_not_show(choice: str, message: str) -> None:
    with pytest.raises(PublishError, match="--license") as caught:
        confirm(merge("mit"), choice)
    assert message in str(caught.value)


_licences = st.one_of(
    st.sampled_from(sorted(IDS)).map(StatedLicence),
    st.sampled_from([None, StatedLicence("zzz"), QWEN, StatedLicence("other", "house")]),
)
_parents = st.dictionaries(st.sampled_from("abcdef"), _licences, min_size=1, max_size=5)


@given(_parents, st.randoms(use_true_random=False))
def test_the_order_of_parents_does_not_matter(
    parents: dict[str, StatedLicence | None], random: object
) -> None:
    shuffled = list(parents.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert combine(dict(shuffled)) == combine(parents)


@given(_parents)
def test_a_licence_is_proposed_only_if_every_parent_states_it(
    parents: dict[str, StatedLicence | None],
) -> None:
    result = combine(parents)
    assert (result.license is None) == bool(result.issues)
    if result.license is not None:
        proposed = StatedLicence(result.license, result.name or "", result.link or "")
        assert set(parents.values()) == {proposed}
    else:
        assert all(name in result.issues[0] for name in parents)
