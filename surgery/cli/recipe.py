"""`surgery recipe`: find, start, check and translate recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgery.cli.console import print_json, print_text, stderr, stdout
from surgery.cli.options import Json, Models, RecipeArgument, bindings

if TYPE_CHECKING:
    from surgery.recipe import Recipe

app = typer.Typer(
    help="List, show, start and translate recipes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_SCAFFOLD = """\
# A recipe says which tensors of which models make a new one.
# Show what it would do:   surgery plan {file}
# Make the model:          surgery merge {file} OUT
name: {name}
description: RL's middle third in the IN model

models:                        # a folder, org/name@revision, or specimen:STAGE
  in: specimen:in
  rl: specimen:rl
base: in                       # every tensor comes from here unless a step says otherwise

# regions: {{cuts: [3, 6]}}      # first layer of mid and of late; thirds when absent

# A selector is component[layers].module.leaf; every part but the component is optional.
#   components  vision, projector, embedding, language, norm, head, or "*" for everything
#   layers      9:18 (without 18), 5, -4:, early, mid, late, or several: [early, 20:24]
#   modules     attention, mlp, mixer, norm
#   leaf        a tensor's name, with * as wildcard: language[:].attention.q_proj
# A comma unites; a leading ! takes away: "language[mid], !language[:].norm"
steps:
  - transplant: language[mid]  # these tensors come from rl, bit for bit
    from: rl

  # - interpolate: language[late].mlp
  #   from: rl
  #   method: slerp            # linear or slerp
  #   t: [0.2, 0.8]            # 0 is the base, 1 is rl; anchors are spread over the layers

  # - add: language[early].attention   # base + weight * (plus - minus)
  #   plus: rl
  #   minus: in
  #   weight: 0.5

  # - merge: vision            # any of mergekit's methods, by its own name and parameters
  #   method: ties
  #   models: {{in: {{weight: 0.5, density: 0.8}}, rl: {{weight: 0.5, density: 0.8}}}}

# output: {{dtype: bfloat16, max_shard_size: 5GB}}   # as the base has them when absent
"""


@app.command("list")
def list_(json: Json = False) -> None:
    """List the bundled recipes."""
    from surgery.recipe import bundled_recipes

    recipes = bundled_recipes()
    if json:
        print_json([_entry(name, recipe) for name, recipe in recipes.items()])
        return
    from rich.table import Table

    console = stdout()
    for group, members in _groups(recipes).items():
        table = Table(box=None, show_header=False, padding=(0, 3, 0, 2), pad_edge=True)
        table.add_column(no_wrap=True)
        table.add_column()
        for name in members:
            table.add_row(name, _described(recipes[name]))
        console.print(group, style="bold")
        console.print(table)
    console.print("\nShow one: surgery plan specimen/in-rl-in")


def _groups(names: dict[str, Recipe]) -> dict[str, list[str]]:
    """Names by their first folder; the specimen first, since it runs as it is."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0], []).append(name)
    return dict(sorted(groups.items(), key=lambda item: (item[0] != "specimen", item[0])))


def _described(recipe: Recipe) -> str:
    need = ""
    if recipe.unbound:
        need = f" (needs {' '.join(f'--model {name}=REF' for name in recipe.unbound)})"
    return " ".join(recipe.description.split()) + need


def _entry(name: str, recipe: Recipe) -> dict[str, Any]:
    return {
        "name": name,
        "description": " ".join(recipe.description.split()),
        "models": {
            model: None if ref is None else str(ref) for model, ref in recipe.models.items()
        },
        "unbound": list(recipe.unbound),
        "file": str(recipe.path),
    }


@app.command()
def show(
    recipe: RecipeArgument,
    resolved: Annotated[
        bool,
        typer.Option("--resolved", help="Write out all recipes that it extends."),
    ] = False,
    model: Models = None,
) -> None:
    """Print a recipe's text."""
    from surgery.recipe import find_recipe, load_recipe
    from surgery.recipe.extend import read_text

    if resolved or model:
        from surgery.recipe.dump import to_yaml

        print_text(to_yaml(load_recipe(recipe, models=bindings(model))))
    else:
        text = read_text(find_recipe(recipe))
        print_text(text)
        if text.startswith("extends:"):
            stderr().print(
                "this recipe extends other recipes; --resolved writes them out", style="dim"
            )


@app.command()
def new(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Output file; stdout by default.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a commented recipe template."""
    text = _SCAFFOLD.format(file=file or "my-recipe.yaml", name=file.stem if file else "my-recipe")
    if file is None:
        print_text(text)
        return
    from surgery.errors import ExecutionError

    try:
        with file.open("x", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except FileExistsError:
        raise ExecutionError(f"{file} already exists and was not changed.") from None
    except OSError as error:
        raise ExecutionError(f"cannot write {file}: {error.strerror}.") from error
    stdout().print(f"wrote {file}; next: surgery plan {file}", soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for completion and checks in an editor."""
    from surgery.recipe.jsonschema import recipe_schema

    print_json(recipe_schema())


@app.command("from-mergekit")
def from_mergekit_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="mergekit YAML file, or - for stdin.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="[NAME=]REF",
            help="Model that defines the architecture, as a folder or org/name; NAME=REF "
            "also binds NAME.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Translate a mergekit configuration into a recipe, on stdout."""
    from surgery.recipe.dump import to_yaml
    from surgery.recipe.mergekit import architecture_of, bound, from_mergekit, local_model

    text = _read(file)
    references = [_binding(item) for item in model or ()]
    reference = references[0][1] if references else local_model(text, file)
    architecture = None if reference is None else architecture_of(reference)
    recipe = from_mergekit(text, file=file, architecture=architecture)
    print_text(to_yaml(bound(recipe, references)))


def _binding(text: str) -> tuple[str, str]:
    """Return name and reference of `NAME=REF`, no name where there is only a reference."""
    name, equals, reference = text.partition("=")
    return (name, reference) if equals and not Path(text).exists() else ("", text)


@app.command("to-mergekit")
def to_mergekit_(recipe: RecipeArgument, model: Models = None) -> None:
    """Translate a recipe into a mergekit configuration, on stdout. Reads headers only."""
    from surgery.plan import make_plan
    from surgery.recipe import load_recipe, opened
    from surgery.recipe.mergekit import to_mergekit

    loaded = load_recipe(recipe, models=bindings(model))
    with opened(loaded) as checkpoints:
        plan = make_plan(loaded, checkpoints)
    print_text(to_mergekit(loaded, plan.architecture))


def _read(file: str) -> str:
    from surgery.errors import RecipeError
    from surgery.reading import decode
    from surgery.recipe.extend import read_text
    from surgery.recipe.nodes import MAX_BYTES

    if file != "-":
        return read_text(Path(file))
    try:
        return decode(sys.stdin.buffer.read(MAX_BYTES + 1))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read standard input: {error}.") from None
