"""A recipe's models, found and opened."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from surgery.checkpoint.open import open_checkpoint, pinned_reference
from surgery.errors import RecipeError
from surgery.specimen import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from surgery.checkpoint.source import AdapterReference, Checkpoint, Remote
    from surgery.recipe.recipe import Recipe


@contextmanager
def opened(recipe: Recipe, remote: Remote | None = None) -> Iterator[dict[str, Checkpoint]]:
    """All of a recipe's models, open for the length of the block.

    Args:
        recipe: Whose models.
        remote: How models on the Hub come here; as for `open_checkpoint`.

    Raises:
        RecipeError: If one has no checkpoint yet.
        CheckpointError: If one cannot be used.
    """
    references = _bound(recipe)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(open_checkpoint(reference, remote))
            for name, reference in references.items()
        }


def pinned(recipe: Recipe, revisions: Mapping[str, str | None]) -> Recipe:
    """Return the same recipe with every repository of the Hub at one commit.

    Args:
        recipe: Any.
        revisions: What `CheckpointInfo.revision` says of each of its models.
    """
    return replace(
        recipe,
        models={
            name: None if reference is None else pinned_reference(reference, revisions.get(name))
            for name, reference in recipe.models.items()
        },
    )


def _bound(recipe: Recipe) -> dict[str, str | AdapterReference]:
    missing = recipe.unbound
    if missing:
        names = " and ".join(repr(name) for name in missing)
        example = " ".join(f"--model {name}=REF" for name in missing)
        raise RecipeError(
            f"recipe {recipe.name!r} does not say which checkpoint {names} "
            f"{'is' if len(missing) == 1 else 'are'}. Add {example}, where REF is a folder, "
            f"org/name@revision, or specimen:{missing[-1] if missing[-1] in STAGES else 'in'}."
        )
    return {name: ref for name, ref in recipe.models.items() if ref is not None}
