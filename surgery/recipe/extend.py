"""Read recipe files and apply them over the recipes that they extend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from surgery import reading
from surgery.errors import Place, RecipeError, did_you_mean
from surgery.recipe.nodes import MAX_BYTES, Node, compose

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILES = 32
_LONGEST = 250  # characters of a path; some of its parts would be longer than names can be
SUFFIXES = (".yaml", ".yml")
_BY_KEY = ("models", "output", "regions")


def bundled_folder() -> Path:
    """Folder of the bundled recipes."""
    import merge_recipes

    return merge_recipes.folder()


def bundled_names() -> list[str]:
    """Names of all bundled files, such as `specimen/in-rl-in`, in alphabetical order."""
    folder = bundled_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


def read_text(path: Path, place: Place | None = None) -> str:
    """Return a recipe file's text.

    Args:
        path: The file.
        place: Where it was asked for.

    Raises:
        RecipeError: If it cannot be read, is too large, or is not UTF-8.
    """
    try:
        return reading.read_text(path, MAX_BYTES)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}.", place) from None
    except ValueError as error:
        raise RecipeError(f"cannot read {path}: {error}.", place) from None


@dataclass
class Extender:
    """Follows `extends:` from one recipe.

    Attributes:
        roots: Folders that files may come from: the recipe's own (with its siblings) and the
            bundled one.
        files: How many have been read.
    """

    roots: tuple[Path, ...]
    files: int = 0

    @classmethod
    def around(cls, folder: Path | None) -> Extender:
        """For a recipe in `folder`, or in none: bundled recipes are always in reach."""
        bundle = bundled_folder().resolve()
        if folder is None:
            return cls((bundle,))
        folder_path = folder.resolve()
        return cls(
            (bundle,) if folder_path.is_relative_to(bundle) else (folder_path.parent, bundle)
        )

    def extended(self, node: Node, folder: Path | None, chain: tuple[Path, ...] = ()) -> Node:
        """`node` laid over all that it extends.

        Args:
            node: A recipe's root.
            folder: Where its relative paths start; None when it is not in a file.
            chain: The files that led here.

        Raises:
            RecipeError: If a file is missing, out of bounds, or extends itself.
        """
        extends = node.get("extends")
        if extends is None or not isinstance(node.value, dict):
            return node
        rest = {key: value for key, value in node.value.items() if key != "extends"}
        plain_node = replace(node, value=rest)
        below: Node | None = None
        for item in _texts(extends):
            path = self.find(str(item.value), item.place, folder)
            layer = self.read(path, item.place, chain)
            below = layer if below is None else overlay(below, layer)
        return plain_node if below is None else overlay(below, plain_node)

    def read(self, path: Path, place: Place, chain: tuple[Path, ...]) -> Node:
        """One extended file with all that it extends."""
        self.files += 1
        if self.files > MAX_FILES:
            raise RecipeError(f"extends leads to more than {MAX_FILES} files.", place)
        if path in chain:
            loop = " -> ".join(file.name for file in (*chain[chain.index(path) :], path))
            raise RecipeError(f"extends forms a cycle: {loop}.", place)
        node = compose(read_text(path, place), str(path))
        if not isinstance(node.value, dict):
            raise RecipeError("expected a mapping with keys such as models and steps.", node.place)
        return self.extended(node, path.parent, (*chain, path))

    def find(self, name: str, place: Place, folder: Path | None) -> Path:
        """Return the file that `name` means."""
        pure = PurePosixPath(name)
        if not name.isprintable() or len(name) > _LONGEST:
            raise RecipeError(f"extends: {name[:60]!r} is no path that a file can have.", place)
        if pure.is_absolute() or "\\" in name or ":" in name or not name.strip():
            raise RecipeError(
                f"extends: {name!r} is not a relative path such as '../splices/in-rl-in.yaml'.",
                place,
            )
        file = pure if pure.suffix in SUFFIXES else PurePosixPath(f"{pure}.yaml")
        for start in filter(None, (folder, self.roots[-1])):
            path = reading.resolve(start / file)
            if not any(path.is_relative_to(root) for root in self.roots):
                if start == folder and ".." in pure.parts:
                    raise RecipeError(
                        f"extends: {name!r} points outside {self.roots[0]}. A recipe may extend "
                        f"files in its own folder, in sibling folders, and bundled recipes.",
                        place,
                    )
                continue
            if reading.is_file(path):
                return path
        beside = sorted(path.name for path in folder.glob("*.y*ml")) if folder else []
        near = did_you_mean(str(file), [*beside, *(f"{n}.yaml" for n in bundled_names())])
        near = near if near.startswith(" Did") else ""
        raise RecipeError(f"extends: there is no recipe {name!r}.{near}", place)


def overlay(below: Node, above: Node) -> Node:
    """`above` laid over `below`: models, output and regions key by key, the rest as a whole.

    A model that is null above keeps what it has below: null only says that there must be one.
    """
    assert isinstance(below.value, dict) and isinstance(above.value, dict)  # callers look
    merged, keys = dict(below.value), {**below.keys, **above.keys}
    for key, node in above.value.items():
        old = merged.get(key)
        if (
            key in _BY_KEY
            and old is not None
            and isinstance(old.value, dict)
            and isinstance(node.value, dict)
        ):
            overridden = {
                name: value
                for name, value in node.value.items()
                if not (key == "models" and value.value is None and name in old.value)
            }
            both = replace(node, value={**old.value, **overridden}, keys={**old.keys, **node.keys})
        else:
            both = node
        merged[key] = both
    return replace(above, value=merged, keys=keys)


def _texts(node: Node) -> Iterator[Node]:
    """Yield the items of `extends`: one text or a list of texts."""
    items = node.value if isinstance(node.value, list) else [node]
    for item in items:
        if not isinstance(item.value, str):
            raise RecipeError("extends: expected a path, or a list of paths.", item.place)
        yield item
