"""Responses by kind of difficulty, written after published ones, with the option or value they give.

Each one is graded in both directions: right where the gold answer is what it says, wrong for every
other answer. `None` stands for a response that gives no answer.
"""

# ruff: noqa: E501, RUF001 -- responses stand in one line, in their own characters

from __future__ import annotations

from eval.records import AnswerKind, Sample

DEPTH = ("A is closer", "B is closer")
SHADE = ("A is darker", "B is darker", "About the same")
BOXES = ("Box A", "Box B")
POINTS = ("Point A", "Point B", "Point C", "Point D")
PICTURES = ("the second image", "the third image")
PHOTOS = ("the first image", "the second image", "the third image", "the fourth image")
SIDES = ("left", "right")
CLAIM = ("yes", "no")
FIGURES = ("A", "B", "C", "D")
TURN = ("clockwise", "anticlockwise")
ROCKS = ("granite", "basalt", "sandstone", "none of these")
DEGREES = ("35°", "55°", "70°", "110°")
ROOTS = (r"$\frac{\sqrt{3}}{2}$", r"$\sqrt{12}$", r"$3+\sqrt{2}$", r"$\frac{1}{4}$")
RATIOS = ("$2: 3$", "$3: 2$", "$4: 9$", "$9: 4$")
COUNTS = ("2", "3", "4", "5")

OPTIONS: dict[str, list[tuple[tuple[str, ...], str | None, str]]] = {
    "first line": [
        (DEPTH, "A", "(A) A is closer\n\nThe mug at A covers part of the plate at B."),
        (DEPTH, "B", "B is closer.\n\nThe lamp marked A hangs at the far wall of the hall."),
        (SHADE, "C", "(C) About the same\n\nBoth A and B lie on one curtain; only a shadow parts them."),
        (SHADE, "A", "A is darker\n\nPoint B lies on the white part of the sail."),
        (PICTURES, "B", "(B)\n\nThe second image has softer edges and another palette."),
        (PICTURES, "A", "A\n\nThe third image shows a harbour, which does not fit the torn edge."),
        (POINTS, "D", "(D) Point D\n\nPoint A and Point B are on the handle, which has another use."),
        (FIGURES, "C", "C\n\nFigure A repeats a corner and figure B turns the wrong way round."),
        (BOXES, "B", "**B**\n\nBox A cuts off the ears of the rabbit."),
        (ROCKS, "B", "(B) basalt.\n\nIts fine dark grains were not made by slow cooling as in granite."),
        (CLAIM, "B", "(B) no\n\nThe ladder does not touch the shed, although yes, it stands close to it."),
        (SIDES, "A", "left\n\nObjects move to the right from one frame to the next."),
    ],
    "first sentence with a letter": [
        (DEPTH, "A", "Point A is closer to the camera than point B."),
        (DEPTH, "B", "Point B is closer to the viewer. Point A belongs to the hills in the haze."),
        (DEPTH, "A", "A is closer. The bench at A hides the foot of the post at B."),
        (DEPTH, "B", "While point A lies on the roof, point B is closer since it lies on the fence."),
        (BOXES, "A", "Box A more accurately encloses the dog. Box B leaves out its tail."),
        (BOXES, "B", "Box B fits the bottle tightly, whereas Box A includes much of the shelf."),
        (POINTS, "C", "The point labeled \"REF\" corresponds to Point C on the second image."),
        (POINTS, "A", "The reference point corresponds to point A in the second picture."),
        (SHADE, "B", "Point B is darker than point A. The shade of the tree only falls on A."),
        (SHADE, "A", "The point marked A is darker. B is on the bright rim of the cup."),
        (FIGURES, "A", "The part that transmits the force is labeled A."),
        (FIGURES, "B", "The missing piece is B. It has two dots, as the row asks for."),
    ],
    "first sentence with a text": [
        (PICTURES, "A", "The second image shares the style. The third image is a photograph."),
        (PICTURES, "B", "The third image is most similar to the first. The second image, in contrast, "
         "shows a cat."),
        (PICTURES, "B", "The third image fits the missing corner, as its tiles go on in a line. The second "
         "image has another floor."),
        (TURN, "A", "The camera is moving clockwise around the vase. The flowers first stood "
         "anticlockwise of the handle."),
        (TURN, "B", "The camera moves anticlockwise. One sees more of the right wall later on."),
        (SIDES, "B", "The camera turns to the right. The door was on the left at the start."),
        (ROCKS, "A", "The sample is granite. Basalt would have much finer grains."),
        (PHOTOS, "C", "The third image is a real photograph. The first image has a hand with six "
         "fingers."),
    ],
    "conclusion after weighing": [
        (PICTURES, "B", "The second image seems likely at first. Its border is torn elsewhere. Therefore, the "
         "third image fits."),
        (POINTS, "D", "Let us look at each point. Point A is on the lid. Point B is on the spout. Hence the "
         "corresponding point is D."),
        (ROCKS, "C", "Granite has crystals. Basalt is dark. Thus the sample must be sandstone."),
        (FIGURES, "C", "To determine the next figure, note that dots double. This leaves (C)."),
        (SHADE, "C", "Point A is in the shade and point B in the sun. Overall, they are about the same."),
        (BOXES, "A", "Both boxes hold the kite. Based on the tail, Box A is more accurate."),
    ],
    "sentence about the other option": [
        (PICTURES, "B", "To identify the match, we compare colors. The third image has the same tones. "
         "The second image has a distinctly different palette."),
        (DEPTH, None, "Point A is farther away than point B."),
        (PICTURES, "B", "The third image (C) is most similar to the first image (A)."),
    ],
    "options repeated": [
        (PICTURES, None, "Which image shares the style?\n\n(A) the second image\n(B) the third image"),
    ],
    "denial": [
        (PICTURES, "A", "The second image continues the roof line. The third image does not continue it."),
        (PICTURES, "B", "It is not the second image but the third image."),
        (POINTS, "B", "Point A is wrong, and so is Point C. The right one must be Point B."),
        (ROCKS, "B", "The stone cannot be granite; it is basalt."),
        (ROCKS, "A", "The stone is granite, not basalt."),
        (FIGURES, "D", "A is too small, B is incorrect, C is not closed. So it is D."),
        (DEPTH, "A", "Point A is closer, unlike point B."),
        (BOXES, "B", "Rather than Box A, Box B is the accurate one."),
        (ROCKS, "C", "We can eliminate option A, exclude option B and reject option D: (C)"),
        (POINTS, None, "I would eliminate Point C."),
    ],
    "the letter A as an article": [
        (DEPTH, "B", "A bicycle leans on the wall, so point B is closer."),
        (FIGURES, "D", "A pattern of stars turns by a quarter each time. So the next one is D."),
        (PICTURES, "B", "A red boat floats in both. Therefore, the third image matches."),
        (ROCKS, "A", "A rock with such crystals is granite."),
    ],
    "formula letters": [
        (DEGREES, None, "Let angle B = x and C = 2x. Then A + B + C = 180 gives A = 180 - 3x."),
        (DEGREES, None, "Point D lies on the circle, so triangle BCD has a right angle at C."),
        (COUNTS, None, "In the diagram, line A meets line B at the point C."),
        (DEGREES, "B", "In triangle ABC the angles at A and C are given. Thus ∠B = 55°."),
        (DEGREES, "C", "Since D is the midpoint of BC, we get 180° - 110° = 70°."),
    ],
    "option in a formula": [
        (ROOTS, None, r"\boxed{\frac{1}{4(1+\sqrt{2})}}"),
        (ROOTS, "D", r"\boxed{\frac{1}{4}}"),
        (ROOTS, None, r"The area is $\boxed{\frac{3+\sqrt{2}}{5}}$."),
        (ROOTS, "C", r"The area is $\boxed{3+\sqrt{2}}$."),
    ],
    "options as mathematics": [
        (ROOTS, "B", r"so the chord is \boxed{2\sqrt{3}}"),
        (ROOTS, "A", r"so $\sin 60^\circ = \boxed{\dfrac{\sqrt{3}}{2}}$"),
        (ROOTS, "C", r"which gives \boxed{\sqrt{2}+3}"),
        (ROOTS, "D", r"The answer is $0.25$."),
        (RATIOS, "A", "2:3"),
        (RATIOS, "D", r"The areas are in the ratio \boxed{9:4}"),
        (RATIOS, "C", "The answer is 4 : 9."),
    ],
    "refusal": [
        (DEPTH, None, "I'm sorry, but I can't determine which point is closer."),
        (PICTURES, None, "Neither the second image nor the third image shares the style."),
        (POINTS, None, "It is not possible to determine the corresponding point. Please provide the images."),
        (DEGREES, None, "The sum is 145°, so the rest is 35°. However, none of the given options matches."),
        (ROCKS, None, "As an AI, I am unable to see the sample of granite or basalt."),
        (DEGREES, None, "The correct answer is: not enough information."),
        (ROCKS, "D", "The sample is none of these."),
        (("36°", "54°", "Cannot be determined"), "C", "From one angle alone, it cannot be determined."),
        (DEGREES, "B", "I cannot determine it exactly, but the closest option is (B)."),
    ],
    "two options": [
        (PICTURES, None, "The answer is (A) the second image or (B) the third image."),
        (FIGURES, None, "(A) and (D)\n\n(A) turns left\n(D) turns right"),
        (ROCKS, None, "A and B"),
        (FIGURES, None, "(A) and (D)\n\n(D) turns right"),
        (ROCKS, "A", "The answer is (A) granite, not (B) basalt."),
    ],
    "letter, then its text": [
        (("B: 3 m", "A: 4 m", "C: 5 m"), "A", "The best choice is option **A**:\nB: 3 m"),
        (ROCKS, "C", "I would go with option C:\nsandstone"),
    ],
    "end tokens": [
        (CLAIM, "A", "<s> A"), (CLAIM, "B", "<s> (B)</s>"), (DEPTH, "A", "A is closer.</s>"),
        (ROCKS, "B", "basalt<|im_end|>"), (FIGURES, "D", "D<|eot_id|>"),
    ],
    "other languages": [
        (DEGREES, "C", "所以，答案是70°，对应选项是C。"),
        (DEGREES, "A", "由此可知选项A正确。"),
        (DEGREES, "D", "比较四个选项，因此选D。"),
        (DEGREES, "B", "选项A不符合题意，所以答案是B。"),
        (DEGREES, "B", "正确答案为B"),
        (ROCKS, "A", "La respuesta correcta es A."),
        (ROCKS, "B", "Die richtige Antwort ist B."),
        (ROCKS, "C", "La bonne réponse est C."),
        (ROCKS, "D", "A resposta correta é D."),
    ],
    "abbreviations": [
        (("Gate No. 7 east", "East", "Gate", "Exit"), "A", 'The sign reads "Gate No. 7 east".'),
        (("Lock", "Lock no. 2", "River", "Weir"), "B", 'The plate says "Lock no. 2".'),
    ],
}  # fmt: skip
"""Kind -> (options, letter that the response gives, response)."""

NUMBERS: dict[str, list[tuple[str | None, str]]] = {
    "count first, bound later": [
        ("4", "There are 4 bars with values below 40."),
        ("7", "7 students passed the test in the first 30 minutes."),
        ("6", "There are a total of 6 lines that stay under 25."),
        ("3", "Only 3 columns exceed 80."),
        ("9", "There are 9 boats at the pier. Each is longer than 12 m."),
        ("5", "Exactly 5 people think horse #11 will win."),
        ("12", "Fewer than 20 people came; the list has 12 names."),
    ],
    "bold": [
        ("2016", "The share was highest in **2016**, with 41.5%.\n\nIn 2017 it was 39.2%."),
        ("8", "So there are **8** jars that hold less than 15 sweets.\n\nThe table has 21 rows."),
        ("14", "The rod is **14 cm** long. It was cut from one of 50 cm."),
    ],
    "number words": [
        ("3", "There are three groups with at least one value over 60."),
        ("2", "There are two bars that are larger than 5."),
        ("6", "Six boxes will be needed to carry 75 books."),
        ("4", "After removing the cubes, there are four objects left."),
        ("18", "One can see 18 dots."),
    ],
    "no number": [
        (None, "The answer is undefined."),
        (None, "We would need the height h. It is not given, so the area cannot be determined."),
        (None, "I'm sorry, I cannot see the chart. The legend has 3 entries."),
        (None, "Please provide the figure. It should have 2 axes."),
    ],
    "currency": [
        ("45", "The answer is $\\$45$."), ("18.5", "She pays \\$18.50."), ("31", "S14 + S17 = S31"),
        ("56", "S7 times 8 jars is S56."), ("1250", "The total comes to $1,250."),
    ],
    "marks": [
        ("31", "3 boxes of 12, less 5.\n#### 31\nThat uses 2 facts."),
        ("72", "48/2 = 24, and 48 + 24 = 72\n#### 72"),
        ("9", "#### 9"),
    ],
    "calculation": [
        ("42", "The boxes hold 12 and 30 pins, and 12 + 30 = 42."),
        ("13", "There are 20 seats. 20 - 7 = 13 seats are free."),
        ("7.2", "Ilse pays $7.2 for 2+2/5 litres of paint."),
    ],
    "part of something else": [
        (None, "The ratio of boys to girls is 3:1."),
        (None, "The sum is 158 + LK."),
    ],
}  # fmt: skip
"""Kind -> (number that the response gives, response)."""

FORMULAS: dict[str, list[tuple[str | None, str]]] = {
    "final point": [
        ("7", "7."), ("238", r"\boxed{238.}"), ("52", r"$\boxed{52.}$"), ("4.5", r"\boxed{4.5}"),
        ("60", "The answer is $60$."), ("3/4", r"$$\frac{3}{4}.$$"),
    ],
    "variable between dollar signs": [
        ("34", "Final Answer: The largest $n$ is 34."),
        ("48", "So the greatest value of $k$ is **48**."),
        ("19", "The perimeter of $R$ comes to 19 units."),
        (r"25\pi", r"25 $\pi$"), (r"81\pi", r"The area is $81\pi$."), (r"\pi", r"The answer is $\pi$."),
        ("12", "We find $x = 12$ and $y = 5$, so the largest is $12$."),
    ],
    "part of a product": [
        (r"$2(\sqrt{2}-1)$", r"\boxed{2\sqrt{2}-2}"), ("2", "2"),
        ("3", "The answer is 3.\n\n**Step-by-step solution:**\n\nThere are 6 children before her."),
    ],
    "several boxes": [
        (r"\{4,6,9\}", r"\boxed{4},\boxed{6},\boxed{9}"),
        ("(5, 3), (12, 140)", r"$\boxed{(5, 3)} \quad \text{and} \quad \boxed{(12, 140)}$"),
        ("19", r"I first got \boxed{17}. That misses a case; the result is \boxed{19}."),
        ("2, 3", r"\boxed{2} and \boxed{3}"),
    ],
    "units and words": [
        (r"Area $=16 \pi \mathrm{cm}^{2}$", r"The answer is $16\pi$."),
        (r"Area $=9 \pi \mathrm{m}^{2}$", r"\boxed{9\pi}"),
        ("36", r"\boxed{36\text{ cm}}"), ("3500", "3 500"), ("2400.75", "that makes it 2,400.75m²"),
    ],
}  # fmt: skip
"""Kind -> (gold answer that the response gives, response)."""

WORDS: dict[str, list[tuple[str, str]]] = {
    "yes or no": [
        ("Yes", "Correct."), ("No", "Incorrect. Both bars are equal."), ("Yes", "Yes, it is lit."),
        ("No", "No, the shelf is empty."), ("No", "no</s>"), ("Yes", "The statement is correct."),
        ("No", "That statement is not true, as the lines meet."), ("Yes", "**Yes**"),
    ],
    "sentence around a word": [
        ("Porto", "Porto, Portugal"), ("CaS", "The compound is CaS."),
        ("Vienna", "The clock was made in Vienna."), ("teal", "teal</s>"), ("teal", "It is teal."),
    ],
}  # fmt: skip
"""Kind -> (gold answer that the response gives, response)."""


def option_sample(choices: tuple[str, ...], gold: str) -> Sample:
    return Sample("s", "t", "?", gold, AnswerKind.OPTION, choices)


def sample(kind: AnswerKind, gold: str) -> Sample:
    return Sample("s", "t", "?", gold, kind)
