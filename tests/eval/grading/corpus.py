"""Answers as models write them, with what a person who marks them would say.

Every line is a response, whether it is right, and whether its answer has to be guessed because
nothing in the response marks it.
"""

from __future__ import annotations

from dataclasses import dataclass

from eval.records import AnswerKind, Sample

RIGHT, WRONG = True, False
STATED, GUESS = False, True


@dataclass(frozen=True)
class Case:
    """One response.

    Attributes:
        sample: The question it answers.
        text: The response.
        right: What a person would say.
        guessed: Whether nothing marks the answer.
    """

    sample: Sample
    text: str
    right: bool
    guessed: bool


def _sample(kind: AnswerKind, answer: str, choices: tuple[str, ...] = (), **more: object) -> Sample:
    return Sample("s", "t", "?", answer, kind, choices, **more)  # type: ignore[arg-type]


def number(answer: str, tolerance: float = 0.0) -> Sample:
    return _sample(AnswerKind.NUMBER, answer, tolerance=tolerance)


def maths(answer: str) -> Sample:
    return _sample(AnswerKind.MATH, answer)


def option(answer: str, *choices: str) -> Sample:
    return _sample(AnswerKind.OPTION, answer, choices)


def words(answer: str) -> Sample:
    return _sample(AnswerKind.TEXT, answer)


NUMBERS = ("10", "14", "22", "31")
ANIMALS = ("a dog", "a cat", "a horse", "none of these")
CARS = ("car", "red car", "blue car", "truck")
LENGTHS = ("5 cm", "5 m", "50 cm", "500 cm")
LETTERS = ("A", "B", "C", "D")
SIGNS = ("greater than", "less than", "equal to")

_TABLE = [
    (number("42"), [
        ("<think>6 times 7</think><answer>42</answer>", RIGHT, STATED),
        ("<answer>42</answer>", RIGHT, STATED),
        ("<answer> 42. </answer>", RIGHT, STATED),
        ("<answer>The answer is 42.</answer>", RIGHT, STATED),
        ("<answer>\\boxed{42}</answer>", RIGHT, STATED),
        ("<answer>41</answer> no, wait: <answer>42</answer>", RIGHT, STATED),
        ("<answer>42</answer> no, wait: <answer>41</answer>", WRONG, STATED),
        ("<answer>42", RIGHT, STATED),
        ("so it is 41 <answer>42 apples</answer>", RIGHT, STATED),
        ("\\boxed{42}", RIGHT, STATED),
        ("$\\boxed{42}$.", RIGHT, STATED),
        ("We get \\boxed{41}. Correction: \\boxed{42}", RIGHT, STATED),
        ("We get \\boxed{42}. Correction: \\boxed{41}", WRONG, STATED),
        ("\\boxed{\\boxed{42}}", RIGHT, STATED),
        ("\\boxed{\\text{42}}", RIGHT, STATED),
        ("\\boxed{x = 42}", RIGHT, STATED),
        ("\\boxed{\\textbf{42}\\text{ apples}}", RIGHT, STATED),
        ("\\fbox{42}", RIGHT, STATED),
        ("The answer is 42.", RIGHT, STATED),
        ("The final answer is **42**.", RIGHT, STATED),
        ("Answer: 42", RIGHT, STATED),
        ("**Answer:** 42", RIGHT, STATED),
        ("Final Answer: $42$", RIGHT, STATED),
        ("The answer is forty-two.", RIGHT, STATED),
        ("### Answer\n42", RIGHT, STATED),
        ("The answer is not 41, it is 42.", RIGHT, STATED),
        ("The answer is not 42.", WRONG, STATED),
        ("42", RIGHT, STATED),
        ("42.0", RIGHT, STATED),
        ("There are 40 and 2 more, so there are 42 apples in all.", RIGHT, GUESS),
        ("40 + 2 = 42", RIGHT, STATED),
        ("42 is what I get, out of 50.", RIGHT, GUESS),
        ("I cannot see the picture.", WRONG, STATED),
        ("", WRONG, STATED),
        ("<think>it must be 42", RIGHT, GUESS),
        ("<think>maybe 42</think><answer>43</answer>", WRONG, STATED),
        ("<think>the answer is 43</think>The answer is 42", RIGHT, STATED),
        ("<answer>4 2</answer>", WRONG, STATED),
        ("<answer>420</answer>", WRONG, STATED),
        ("<answer>-42</answer>", WRONG, STATED),
        ("答案是 42", RIGHT, STATED),
    ]),
    (number("-3.5"), [
        ("<answer>-3.5</answer>", RIGHT, STATED),
        ("<answer>\u22123.5</answer>", RIGHT, STATED),
        ("<answer>\u20133.50</answer>", RIGHT, STATED),
        ("\\boxed{-\\frac{7}{2}}", RIGHT, STATED),
        ("\\boxed{-7/2}", RIGHT, STATED),
        ("The answer is -3 1/2.", RIGHT, STATED),
        ("The answer is 3.5.", WRONG, STATED),
        ("x = \u22123.5", RIGHT, STATED),
    ]),
    (number("1234.5"), [
        ("\\boxed{1,234.5}", RIGHT, STATED),
        ("\\boxed{1{,}234.5}", RIGHT, STATED),
        ("\\boxed{1\\,234.5}", RIGHT, STATED),
        ("\\boxed{1.2345 \\times 10^3}", RIGHT, STATED),
        ("\\boxed{1.2345e3}", RIGHT, STATED),
        ("The total is $1,234.50.", RIGHT, GUESS),
        ("The answer is $1,234.50", RIGHT, STATED),
        ("<answer>1234.5 dollars</answer>", RIGHT, STATED),
        ("<answer>12345</answer>", WRONG, STATED),
    ]),
    (number("25"), [
        ("\\boxed{25^\\circ}", RIGHT, STATED),
        ("\\boxed{25°}", RIGHT, STATED),
        ("\\boxed{25\\text{ cm}^2}", RIGHT, STATED),
        ("\\boxed{25 \\mathrm{~m/s}}", RIGHT, STATED),
        ("\\boxed{25\\%}", RIGHT, STATED),
        ("The answer is 25%.", RIGHT, STATED),
        ("\\boxed{5^2}", RIGHT, STATED),
        ("\\boxed{\\sqrt{625}}", RIGHT, STATED),
        ("\\boxed{20+5}", RIGHT, STATED),
        ("\\boxed{25, 26}", WRONG, STATED),
        ("\\boxed{25 \\text{ or } 26}", WRONG, STATED),
        ("The answer is between 24 and 26.", WRONG, GUESS),
        ("\\boxed{x=25}", RIGHT, STATED),
    ]),
    (number("0.5"), [
        ("\\boxed{1/2}", RIGHT, STATED),
        ("\\boxed{\\dfrac12}", RIGHT, STATED),
        ("\\boxed{50\\%}", RIGHT, STATED),
        ("\\boxed{.5}", RIGHT, STATED),
        ("\\boxed{0,5}", RIGHT, STATED),
        ("\\boxed{50}", WRONG, STATED),
    ]),
    (number("3.14", 0.005), [
        ("<answer>3.1416</answer>", RIGHT, STATED),
        ("<answer>3.15</answer>", WRONG, STATED),
        ("<answer>\\pi</answer>", RIGHT, STATED),
        ("<answer>about 3.14</answer>", RIGHT, STATED),
        ("<answer>3.1</answer>", WRONG, STATED),
    ]),
    (option("B", *NUMBERS), [
        ("B", RIGHT, STATED),
        ("(B)", RIGHT, STATED),
        ("B.", RIGHT, STATED),
        ("B. 14", RIGHT, STATED),
        ("(B) 14", RIGHT, STATED),
        ("b", RIGHT, STATED),
        ("**B**", RIGHT, STATED),
        ("14", RIGHT, STATED),
        ("$14$", RIGHT, STATED),
        ("B. 22", WRONG, GUESS),
        ("<answer>B</answer>", RIGHT, STATED),
        ("<answer>(B)</answer>", RIGHT, STATED),
        ("<answer>B. 14</answer>", RIGHT, STATED),
        ("<answer>14</answer>", RIGHT, STATED),
        ("<answer>Option B</answer>", RIGHT, STATED),
        ("<answer>A</answer>", WRONG, STATED),
        ("<answer>A and B</answer>", WRONG, STATED),
        ("<answer>A</answer>, or rather <answer>B</answer>", RIGHT, STATED),
        ("\\boxed{B}", RIGHT, STATED),
        ("\\boxed{\\text{B}}", RIGHT, STATED),
        ("\\boxed{\\textbf{(B) }14}", RIGHT, STATED),
        ("\\boxed{14}", RIGHT, STATED),
        ("\\boxed{22}", WRONG, STATED),
        ("The answer is B.", RIGHT, STATED),
        ("The answer is (B).", RIGHT, STATED),
        ("The correct option is B because 7 + 7 = 14.", RIGHT, STATED),
        ("Option B is correct.", RIGHT, STATED),
        ("I choose B.", RIGHT, STATED),
        ("Answer: B", RIGHT, STATED),
        ("The answer is 14.", RIGHT, STATED),
        ("The answer is not A but B.", RIGHT, STATED),
        ("The answer is C, not B.", WRONG, STATED),
        ("A is wrong, C is too large, so it must be option B", RIGHT, STATED),
        ("Looking at the chart, the bar for Bob is at 14.", RIGHT, GUESS),
        ("A dog has 4 legs.", WRONG, STATED),
        ("E", WRONG, STATED),
        ("<think>A or B?</think>B", RIGHT, STATED),
        ("Let me see. 3 + 4 = 7, doubled is 14.\n\nB", RIGHT, STATED),
        ("The answer is B.\n\nExplanation: A would be 10, C would be 22.", RIGHT, STATED),
        ("\\boxed{A}, hence \\boxed{B}", RIGHT, STATED),
    ]),
    (option("D", *ANIMALS), [
        ("D", RIGHT, STATED),
        ("none of these", RIGHT, STATED),
        ("<answer>None of these.</answer>", RIGHT, STATED),
        ("It is a cat.", WRONG, GUESS),
        ("The answer is a dog.", WRONG, STATED),
        ("The animal is not a dog, not a cat and not a horse: none of these.", RIGHT, GUESS),
    ]),
    (option("A", *CARS), [
        ("car", RIGHT, STATED),
        ("red car", WRONG, STATED),
        ("The answer is the red car.", WRONG, STATED),
        ("The answer is car.", RIGHT, STATED),
        ("A car can be seen.", RIGHT, GUESS),
    ]),
    (option("A", *LENGTHS), [
        ("5 cm", RIGHT, STATED),
        ("5 m", WRONG, STATED),
        ("<answer>5cm</answer>", RIGHT, STATED),
        ("\\boxed{5\\text{ cm}}", RIGHT, STATED),
        ("\\boxed{50 cm}", WRONG, STATED),
    ]),
    (option("C", *LETTERS), [
        ("C", RIGHT, STATED),
        ("Point C is closest, so the answer is C.", RIGHT, STATED),
        ("The answer is A.", WRONG, STATED),
    ]),
    (option("B", *SIGNS), [
        ("less than", RIGHT, STATED),
        ("It is less than.", RIGHT, GUESS),
        ("<answer>less than</answer>", RIGHT, STATED),
        ("<answer>not less than</answer>", WRONG, STATED),
    ]),
    (option("C"), [
        ("C", RIGHT, STATED),
        ("The correct answer is C.", RIGHT, STATED),
        ("\\boxed{C}", RIGHT, STATED),
        ("\\boxed{D}", WRONG, STATED),
    ]),
    (maths("\\frac{3}{4}"), [
        ("\\boxed{\\frac{3}{4}}", RIGHT, STATED),
        ("\\boxed{\\dfrac{3}{4}}", RIGHT, STATED),
        ("\\boxed{\\frac34}", RIGHT, STATED),
        ("\\boxed{0.75}", RIGHT, STATED),
        ("\\boxed{\\frac{6}{8}}", RIGHT, STATED),
        ("\\boxed{3/4}", RIGHT, STATED),
        ("The answer is $\\frac{3}{4}$.", RIGHT, STATED),
        ("Therefore $$p = \\frac{3}{4}.$$", RIGHT, GUESS),
        ("\\boxed{\\frac{4}{3}}", WRONG, STATED),
        ("<answer>$\\frac{3}{4}$</answer>", RIGHT, STATED),
    ]),
    (maths("2\\sqrt{3}"), [
        ("\\boxed{2\\sqrt{3}}", RIGHT, STATED),
        ("\\boxed{2\\sqrt3}", RIGHT, STATED),
        ("\\boxed{\\sqrt{12}}", RIGHT, STATED),
        ("\\boxed{3.4641}", WRONG, STATED),
        ("\\boxed{3\\sqrt{2}}", WRONG, STATED),
        ("\\boxed{x = 2\\sqrt{3}}", RIGHT, STATED),
    ]),
    (maths("(1, 2)"), [
        ("\\boxed{(1,2)}", RIGHT, STATED),
        ("\\boxed{\\left( 1, 2 \\right)}", RIGHT, STATED),
        ("\\boxed{(2, 1)}", WRONG, STATED),
        ("The answer is (1, 2).", RIGHT, STATED),
    ]),
    (maths("x^2 + 2x + 1"), [
        ("\\boxed{x^2+2x+1}", RIGHT, STATED),
        ("\\boxed{(x+1)^2}", RIGHT, STATED),
        ("\\boxed{x^2 + 2x}", WRONG, STATED),
    ]),
    (maths("\\{1, 2, 3\\}"), [
        ("\\boxed{\\{3, 2, 1\\}}", RIGHT, STATED),
        ("\\boxed{1, 2, 3}", RIGHT, STATED),
        ("\\boxed{1, 2}", WRONG, STATED),
    ]),
    (maths("[0, \\infty)"), [
        ("\\boxed{[0,\\infty)}", RIGHT, STATED),
        ("\\boxed{(0,\\infty)}", WRONG, STATED),
    ]),
    (maths("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"), [
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", RIGHT, STATED),
        ("\\boxed{\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}}", WRONG, STATED),
    ]),
    (maths("\\text{Evelyn}"), [
        ("\\boxed{\\text{Evelyn}}", RIGHT, STATED),
        ("\\boxed{Evelyn}", RIGHT, STATED),
        ("\\boxed{\\text{Briana}}", WRONG, STATED),
    ]),
    (words("Yes"), [
        ("Yes", RIGHT, STATED),
        ("yes.", RIGHT, STATED),
        ("Yes, there are two of them.", RIGHT, STATED),
        ("No", WRONG, STATED),
        ("No, there is no dog.", WRONG, STATED),
        ("<answer>Yes</answer>", RIGHT, STATED),
        ("The answer is yes.", RIGHT, STATED),
        ("The answer is no.", WRONG, STATED),
    ]),
    (words("Eiffel Tower"), [
        ("The Eiffel Tower", RIGHT, STATED),
        ("eiffel tower.", RIGHT, STATED),
        ("<answer>the Eiffel Tower!</answer>", RIGHT, STATED),
        ("<answer>Big Ben</answer>", WRONG, STATED),
        ("The answer is the Eiffel Tower.", RIGHT, STATED),
        ("Answer: Eiffel\u00a0Tower", RIGHT, STATED),
    ]),
    (words("[0, 2, 0, 2, 1]"), [
        ("[0, 2, 0, 2, 1]", RIGHT, STATED),
        ("<answer>[0,2,0,2,1]</answer>", RIGHT, STATED),
        ("<answer>[0, 2, 0, 2]</answer>", WRONG, STATED),
    ]),
]  # fmt: skip

CASES = [
    Case(sample, text, right, guessed) for sample, rows in _TABLE for text, right, guessed in rows
]
