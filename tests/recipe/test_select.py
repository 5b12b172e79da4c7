"""Sites that selectors match, by brute force."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.arch import Component, Module, Region, Site
from surgery.arch.site import Architecture
from surgery.errors import Place, RecipeError
from surgery.recipe import Selector, parse_selector
from surgery.recipe.select import Index, Range, Term
from tests.recipe.models import architecture

BIG = architecture("7b")
TIED = architecture("3b")
SMALL = architecture("specimen")
ALL = set(BIG.sites.values())


def picks(text: str, arch: Architecture = BIG, cuts=None) -> set[Site]:
    return set(parse_selector(text).match(arch, cuts))


def layers(text: str, arch: Architecture = BIG, cuts=None) -> tuple[int, ...]:
    result = parse_selector(text).layers(arch, cuts)
    assert list(result) == [Component.LANGUAGE]
    return result[Component.LANGUAGE]


def sites_where(rule) -> set[Site]:
    return {site for site in ALL if rule(site)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("language[9:18]", range(9, 18)),
        ("language[:]", range(28)),
        ("language[-4:]", range(24, 28)),
        ("language[:-4]", range(24)),
        ("language[-1]", [27]),
        ("language[5]", [5]),
        ("language[1]", [1]),
        ("language[17]", [17]),
        ("language[0:28]", range(28)),
        ("language[early]", range(9)),
        ("language[mid]", range(9, 18)),
        ("language[late]", range(18, 28)),
        ("language[early, 20:24]", [*range(9), *range(20, 24)]),
        ("language[mid,late]", range(9, 28)),
        ("language[ 3 , 1 , 2 : 4 ]", [1, 2, 3]),
    ],
)
def test_layers(text: str, expected) -> None:
    assert layers(text) == tuple(expected)
    assert picks(text) == sites_where(
        lambda s: s.component == "language" and s.layer in set(expected)
    )


def test_cuts_move_the_regions() -> None:
    cuts = {Component.LANGUAGE: (8, 20)}
    assert layers("language[early]", cuts=cuts) == tuple(range(8))
    assert layers("language[mid]", cuts=cuts) == tuple(range(8, 20))
    assert layers("language[late]", cuts=cuts) == tuple(range(20, 28))
    vision = parse_selector("vision[mid]").layers(BIG, cuts)
    assert vision == {Component.VISION: tuple(range(32 // 3, 64 // 3))}


def test_regions_are_a_partition() -> None:
    parts = [picks(f"language[{region}]") for region in Region]
    assert set.union(*parts) == picks("language[:]")
    assert sum(map(len, parts)) == len(picks("language[:]"))


def test_layer_1_is_not_layer_17() -> None:
    assert {s.layer for s in picks("language[1]")} == {1}
    assert not picks("language[1]") & picks("language[17]")


def test_a_component_without_brackets_is_all_of_it() -> None:
    assert picks("vision") == sites_where(lambda s: s.component is Component.VISION)
    outside = picks("vision") - picks("vision[:]")
    assert {s.leaf for s in outside} == {"patch_embed.proj.weight"}
    assert picks("embedding") | picks("norm") | picks("head") == sites_where(
        lambda s: s.component in {"embedding", "norm", "head"}
    )


def test_modules_and_leaves() -> None:
    assert picks("language[9:18].mlp") == sites_where(
        lambda s: s.component == "language" and s.layer in range(9, 18) and s.module == "mlp"
    )
    assert {s.leaf for s in picks("language[:].attention.q_proj")} == {
        "q_proj.weight",
        "q_proj.bias",
    }
    assert {s.leaf for s in picks("language[0].attention.*.bias")} == {
        "q_proj.bias",
        "k_proj.bias",
        "v_proj.bias",
    }
    assert {s.leaf for s in picks("language.*_proj.weight")} == {
        f"{n}_proj.weight" for n in ("q", "k", "v", "o", "gate", "up", "down")
    }
    assert picks("language.q_proj") == picks("language.attention.q_proj")
    assert {s.leaf for s in picks("language[3].norm")} == {
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
    }
    assert picks("*.norm") == sites_where(lambda s: s.module is Module.NORM)


def test_wildcards_never_cross_a_dot() -> None:
    sites = {
        f"layers.{i}.{e}.{n}": Site(
            Component.LANGUAGE, i, Module.MLP, f"experts.{e}.{n}_proj.weight"
        )
        for i in range(4)
        for e in range(12)
        for n in ("up", "down")
    }
    arch = Architecture("moe", sites, {Component.LANGUAGE: 4}, tied_head=False)
    up = parse_selector("language[3].mlp.experts.*.up_proj").match(arch)
    assert [s.leaf for s in up] == [f"experts.{e}.up_proj.weight" for e in range(12)]
    match = parse_selector("language[3].mlp.experts.1").match(arch)
    assert {s.leaf for s in match} == {"experts.1.up_proj.weight", "experts.1.down_proj.weight"}
    with pytest.raises(RecipeError, match="matches no tensor"):
        parse_selector("language.*_proj").match(arch)


def test_union_and_exclusion_do_not_depend_on_order() -> None:
    want = picks("language") - picks("language.norm")
    assert picks("language, !language.norm") == want
    assert picks("!language.norm, language") == want
    assert picks("!vision") == ALL - picks("vision")
    assert picks("*, !vision, !projector") == ALL - picks("vision") - picks("projector")
    assert picks("*") == ALL


def test_matches_come_in_the_checkpoints_order() -> None:
    order = {site: i for i, site in enumerate(BIG.sites.values())}
    results = [
        order[s] for s in parse_selector("head, language[20], vision, language[3]").match(BIG)
    ]
    assert results == sorted(results)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("language[20:40]", "'20:40' in 'language[20:40]' is out of range: language has 28 layers"),
        ("language[28]", "0..27"),
        ("language[-29]", "out of range"),
        ("language[18:9]", "holds no layer"),
        ("language[9:9]", "holds no layer"),
        ("head[3]", "head of this qwen2_5_vl model has none. Layers are in: "),
        ("other", "has no other. It has: vision, projector, embedding, language, norm, head"),
        ("language.atention", "Did you mean 'attention'?"),
        ("language[3].attention.q_prj", "matches no tensor of language; it has 28 layers, 0..27"),
        ("language[3].attention.q_prj", "Did you mean 'q_proj'?"),
        ("language.embedding", "Its modules: "),
        ("language, !language.q_prox", "Did you mean 'q_proj'?"),
        ("language[3], !language", "excludes everything that it picks"),
    ],
)
def test_what_matches_nothing_says_what_there_is(text: str, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_selector(text, Place("r.yaml", 9, 17)).match(BIG)
    assert says in str(error.value)
    assert str(error.value).startswith("r.yaml:9:")


def test_a_wrong_term_is_pointed_at() -> None:
    with pytest.raises(RecipeError) as error:
        parse_selector("vision, language[20:40]", Place("r.yaml", 9, 17)).match(BIG)
    assert error.value.place == Place("r.yaml", 9, 25)


def test_a_tied_model_has_no_head() -> None:
    with pytest.raises(RecipeError, match="has no head"):
        parse_selector("head").match(TIED)


def test_cuts_beyond_the_stack() -> None:
    with pytest.raises(RecipeError, match="do not cut 9 layers"):
        parse_selector("language[mid]").match(SMALL, {Component.LANGUAGE: (8, 20)})


@pytest.mark.parametrize(
    ("text", "plain", "resolved"),
    [
        ("language[9:18].mlp", "language layers 9-17, mlp", "language layers 9-17, mlp"),
        ("language[mid]", "language mid layers", "language layers 9-17"),
        ("language[5]", "language layer 5", "language layer 5"),
        ("language[-4:]", "language last 4 layers", "language layers 24-27"),
        (
            "language[early, 20:24].attention.q_proj",
            "language early layers and layers 20-23, attention, q_proj",
            "language layers 0-8, 20-23, attention, q_proj",
        ),
        ("vision", "vision", "vision"),
        ("*, !head", "everything without head", "everything without head"),
        ("!head", "everything without head", "everything without head"),
        ("language[:]", "language all layers", "language layers 0-27"),
        ("language[3:]", "language layers 3 to the last", "language layers 3-27"),
    ],
)
def test_describe(text: str, plain: str, resolved: str) -> None:
    assert parse_selector(text).describe() == plain
    assert parse_selector(text).describe(BIG) == resolved


# --- laws ---------------------------------------------------------------------------------------

spans = st.one_of(
    st.builds(Index, st.integers(-30, 30)),
    st.builds(
        Range,
        st.one_of(st.none(), st.integers(-30, 30)),
        st.one_of(st.none(), st.integers(-30, 30)),
    ),
    st.sampled_from(Region),
)
leaves = st.sampled_from(
    [None, "q_proj", "*_proj", "*.bias", "gate_proj.weight", "input_layernorm"]
)
terms = st.one_of(
    st.builds(
        Term,
        st.none(),
        st.none(),
        st.one_of(st.none(), st.sampled_from(Module)),
        leaves,
        st.booleans(),
    ),
    st.builds(
        Term,
        st.sampled_from(Component),
        st.one_of(st.none(), st.lists(spans, min_size=1, max_size=3).map(tuple)),
        st.one_of(st.none(), st.sampled_from(Module)),
        leaves,
        st.booleans(),
    ),
)
selectors = st.builds(Selector, st.lists(terms, min_size=1, max_size=4).map(tuple))


@given(selectors)
@settings(max_examples=300, deadline=None)
def test_str_reads_back(selector: Selector) -> None:
    assert parse_selector(str(selector)) == selector


@given(selectors)
@settings(max_examples=300, deadline=None)
def test_union_and_exclusion_by_brute_force(selector: Selector) -> None:
    stored: set[Site] = set()
    dropped: set[Site] = set()
    try:
        match = set(selector.match(SMALL))
    except RecipeError:
        return
    for term in selector.terms:
        sites = Selector((Term(term.component, term.spans, term.module, term.leaf),)).match(SMALL)
        (dropped if term.exclude else stored).update(sites)
    if all(term.exclude for term in selector.terms):
        stored = set(SMALL.sites.values())
    assert match == stored - dropped


@given(
    st.one_of(st.none(), st.integers(-28, 28)),
    st.one_of(st.none(), st.integers(-28, 28)),
)
@settings(max_examples=200, deadline=None)
def test_ranges_are_pythons(start: int | None, stop: int | None) -> None:
    expected = list(range(28))[start:stop]
    text = f"language[{'' if start is None else start}:{'' if stop is None else stop}]"
    if expected:
        assert list(layers(text)) == expected
    else:
        with pytest.raises(RecipeError):
            parse_selector(text).match(BIG)


@given(st.text(alphabet="language[]midatery0123456789:.,!*_- visonprjh\t", max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_selector_or_an_error_with_its_place(text: str) -> None:
    try:
        selector = parse_selector(text, Place("r.yaml", 2, 3))
    except RecipeError as error:
        assert error.place is not None
        assert 3 <= error.place.column <= 3 + len(text)
    else:
        assert parse_selector(str(selector)) == selector
