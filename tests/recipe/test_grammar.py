"""The wording of selector errors."""

from __future__ import annotations

import pytest

from surgery.errors import Place, RecipeError
from surgery.recipe import parse_selector


@pytest.mark.parametrize(
    ("text", "character", "says"),
    [
        ("langauge[mid]", 1, "unknown component 'langauge'. Did you mean 'language'?"),
        ("vision, langauge", 9, "unknown component 'langauge'. Did you mean 'language'?"),
        ("Language", 1, "Names are in lower case: 'language'."),
        ("language[Mid]", 10, "Names are in lower case: 'mid'."),
        ("language[midd]", 10, "unknown region 'midd'. Did you mean 'mid'?"),
        ("language[9:18", 14, "expected ',' or ']' here, found 'the end'"),
        ("language[9:18:2]", 14, "layer ranges have no step; write 'first:end'"),
        ("language[]", 10, "expected layers here, found ']'"),
        ("language[9;18]", 11, "expected ',' or ']' here, found ';18]'"),
        ("language.", 10, "expected a module (attention, mlp, mixer, norm, embedding, other)"),
        ("language mlp", 10, "did not expect 'mlp' here; separate parts of a selector with ','"),
        ("", 1, "expected a component here, found nothing"),
        ("vision,", 8, "expected a component here, found nothing"),
        ("*[3]", 2, "'*' has no layers of its own"),
        ("!!vision", 2, "expected a component here, found '!vision'"),
        ("language[9999999]", 10, "expected layers here"),
    ],
)
def test_errors_point_and_explain(text: str, character: int, says: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_selector(text, Place("r.yaml", 9, 17))
    assert f"character {character}: " in str(error.value)
    assert says in str(error.value)
    assert error.value.place == Place("r.yaml", 9, 17 + character - 1)


def test_a_very_long_selector_is_refused() -> None:
    with pytest.raises(RecipeError, match="at most 2000"):
        parse_selector("language," * 1000)


def test_columns_are_not_counted_where_they_would_be_wrong() -> None:
    place = Place("r.yaml", 9, 17)
    with pytest.raises(RecipeError) as error:
        parse_selector("vision, x", place, exact=False)
    assert error.value.place == place
