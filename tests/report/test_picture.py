# ruff: noqa: E501 - pictures are as wide as they are
from __future__ import annotations

import io
from dataclasses import replace
from textwrap import dedent

from rich.console import Console

from surgery.arch.site import Component
from surgery.recipe.recipe import Add
from surgery.report.overview import overview
from surgery.report.picture import picture
from surgery.report.stack import letters, rows
from tests.cli.plans import add, interpolate, merge, plan, transplant


def _picture_text(kind: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(kind)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return dedent("\n".join(lines))


def test_a_splice() -> None:
    assert _picture_text(picture(plan(transplant("language[mid]")))) == dedent("""\
          vision         0     3
                         I I I I
          vision (rest)  I
          projector      I
          embedding      I
          language       0     3     6   8
                         I I I R R R I I I
          norm           I
          head           I

          I   in (base)  org/cold-start  49 tensors   100 kB
          R   rl         org/rl          18 tensors  36.9 kB""")


def test_parts_of_a_layer_stand_apart_only_where_they_differ() -> None:
    output = plan(
        transplant("language[mid].mlp"),
        interpolate("language[late].attention", 0.2, 0.8),
        add("language[early].attention.q_proj", 0.5),
        merge("vision"),
    )
    assert (
        _picture_text(picture(output))
        == dedent("""\
          vision         0     3
                         # # # #
          vision (rest)  #
          projector      I
          embedding      I
          language       0     3     6 7 8
            attention
              q_proj     + + + I I I 2 5 8
              o_proj     I I I I I I 2 5 8
            mlp          I I I R R R I I I
            norm         I I I I I I I I I
          norm           I
          head           I

          I    in (base)  org/cold-start                                              37 tensors  75.8 kB
          R    rl         org/rl                                                       6 tensors  12.3 kB
          2-8  slerp      from in (0) to rl (1), t = 0.2 to 0.8; the digit is tenths   9 tensors  18.4 kB
          +    add        in + 0.5 x (rl - in)                                         6 tensors  12.3 kB
          #    ties       of in, rl                                                    9 tensors  18.4 kB""")
    )


def test_a_narrow_terminal_folds_the_layers_into_bands() -> None:
    sampled = _picture_text(
        picture(plan(transplant("language[20:30]"), layers=64), legend=False), width=60
    )
    lines = [line for line in sampled.splitlines() if line.endswith(("I", "R"))]
    bands = [line.split()[-1] for line in lines if len(line.split()[-1]) > 10]
    assert "".join(bands) == "I" * 20 + "R" * 10 + "I" * 34
    assert all(len(line) <= 60 for line in sampled.splitlines())


def test_parts_outside_the_layers_have_a_heading() -> None:
    output = plan(transplant("language[0].mlp"))
    ops = tuple(
        replace(op, site=replace(op.site, component=Component.PROJECTOR, layer=None))
        if op.site.layer == 0
        else op
        for op in output.ops
    )
    assert "projector\n  attention    I\n  mlp\n" in _picture_text(
        picture(replace(output, ops=ops))
    )


def test_layers_without_a_module_leave_a_gap() -> None:
    output = plan(transplant("language[4].mlp"))
    ops = tuple(op for op in output.ops if ".o_proj" in op.name or ".up_proj" in op.name)
    stored = tuple(op for op in ops if ".up_proj" in op.name or op.site.layer in (4, 7))
    sampled = _picture_text(picture(replace(output, ops=stored)))
    assert "attention          I     I\n" in sampled
    assert "mlp        I I I I R I I I I" in sampled


def test_weights_and_biases_of_one_projection_that_differ_are_marked() -> None:
    output = plan(transplant("language[1].attention.q_proj.bias"))
    sampled = _picture_text(picture(output))
    assert "q_proj     I ~ I I I I I I I" in sampled
    assert "more than one source in one block" in sampled


def test_a_tied_head_is_what_the_embedding_is() -> None:
    output = plan(transplant("embedding, head"))
    tied = replace(
        output,
        ops=tuple(op for op in output.ops if op.site.component != "head"),
        architectures={
            name: replace(architecture, tied_head=True)
            for name, architecture in output.architectures.items()
        },
    )
    last = rows(tied)[-1]
    assert (last.label, last.cells[0].models) == ("head (tied)", ("rl",))


def test_letters_are_told_apart() -> None:
    assert letters(["in", "rl"]) == {"in": "I", "rl": "R"}
    assert letters(["in", "instruct", "in2", "i"]) == {
        "in": "I",
        "instruct": "N",
        "in2": "A",
        "i": "B",
    }
    assert set(letters(["42", "43"]).values()) == {"A", "B"}


def test_an_addition_names_its_three_models() -> None:
    selector = transplant("language[0]").selector
    output = plan(Add(selector, "in", "rl", (0.25,)))
    assert "in + 0.25 x (in - rl)" in _picture_text(picture(output))


def test_the_overview_tells_steps_fates_and_needs() -> None:
    sampled = _picture_text(
        overview(plan(transplant("language[mid], !language[:].norm")), 190_000_000)
    )
    assert "1  transplant  language layers 3-5 without language layers 0-8, norm" in sampled
    assert "in  52 used, 15 replaced" in sampled
    assert "rl  15 used, 52 unused" in sampled
    assert "137 kB in 1 file, bfloat16; all moved byte for byte; memory at most 190 MB" in sampled
    assert "none: the output is the base, rewritten" in _picture_text(overview(plan(), 0))
