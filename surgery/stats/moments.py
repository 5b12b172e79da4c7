"""Sums over the elements of two or three tensors, and the measures they give.

Sums add: those of a tensor's chunks give the tensor's, those of a layer's tensors the layer's, as
if all were one long vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from math import nan
from typing import TypeVar

TOLERANCE = 1e-5
"""Change beyond which an element counts as updated (arXiv 2505.11711, section 2)."""

ETA = 1e-3
"""The same relative to the larger of the two magnitudes (arXiv 2511.08567)."""


@dataclass(frozen=True)
class PairMoments:
    """Sums over the elements of a tensor before and after, with d = after - before.

    Elements that are infinite or not a number on either side are counted and excluded from sums.

    Attributes:
        numel: Number of elements.
        before_squares: Sum of before^2.
        after_squares: Sum of after^2.
        delta_squares: Sum of d^2.
        before_dot_delta: Sum of before d.
        delta_sum: Sum of d.
        delta_max: Largest |d|.
        changed: Elements with d != 0.
        changed_1e5: Elements with |d| > 1e-5.
        changed_bf16: Elements with |d| > 1e-3 max(|before|, |after|).
        before_spacing: Sum of the squared spacings of bf16 at before.
        after_spacing: The same at after.
        nonfinite_before: Elements before that are infinite or not a number.
        nonfinite_after: The same, after.
    """

    numel: int = 0
    before_squares: float = 0.0
    after_squares: float = 0.0
    delta_squares: float = 0.0
    before_dot_delta: float = 0.0
    delta_sum: float = 0.0
    delta_max: float = 0.0
    changed: int = 0
    changed_1e5: int = 0
    changed_bf16: int = 0
    before_spacing: float = 0.0
    after_spacing: float = 0.0
    nonfinite_before: int = 0
    nonfinite_after: int = 0

    def __add__(self, other: PairMoments) -> PairMoments:
        largest = max(self.delta_max, other.delta_max)
        return replace(_added(self, other), delta_max=largest)

    @property
    def finite(self) -> bool:
        """True if every element is finite on both sides."""
        return not (self.nonfinite_before or self.nonfinite_after)

    def reversed(self) -> PairMoments:
        """Return the sums with before and after exchanged."""
        return replace(
            self,
            before_squares=self.after_squares,
            after_squares=self.before_squares,
            before_spacing=self.after_spacing,
            after_spacing=self.before_spacing,
            before_dot_delta=-(self.before_dot_delta + self.delta_squares),
            delta_sum=-self.delta_sum,
            nonfinite_before=self.nonfinite_after,
            nonfinite_after=self.nonfinite_before,
        )

    def metrics(self) -> dict[str, float]:
        """Return the columns of `tensors.csv` from `norm_before` to `nonfinite_after`.

        Shares are 0 to 1, the angle is in degrees. `rounding_norm` is the norm of the error that
        storing after in bf16 adds to the delta, where before is what training started from: an
        error spread evenly over a spacing u has the variance u^2/12 (Widrow, Kollar and Liu 1996,
        IEEE Trans. Instrum. Meas. 45(2)). It holds for changes that are not much smaller than u.
        `random_angle` is what a random delta of the same norm, at a right angle to the weights as
        nearly all directions are, would give. Where an element is not finite, all but the counts
        are NaN; where a measure is 0/0, it is NaN.
        """
        before, after = math.sqrt(self.before_squares), math.sqrt(self.after_squares)
        delta = math.sqrt(self.delta_squares)
        rounding = math.sqrt(self.after_spacing / 12)
        cosine, angle = self._direction()
        mean = _ratio(self.delta_sum, self.numel)
        result = {
            "norm_before": before,
            "norm_after": after,
            "delta_norm": delta,
            "relative_delta": _ratio(delta, before),
            "cosine": cosine,
            "angle": angle,
            "random_angle": math.degrees(math.atan2(delta, before)) if before else nan,
            "max_abs_delta": self.delta_max,
            "mean_delta": mean,
            "std_delta": _root(_ratio(self.delta_squares, self.numel) - mean * mean),
            "changed": _ratio(self.changed, self.numel),
            "changed_1e5": _ratio(self.changed_1e5, self.numel),
            "changed_bf16": _ratio(self.changed_bf16, self.numel),
            "rounding_norm": rounding,
            "rounding_ratio": _ratio(delta, rounding),
        }
        counts = {
            "nonfinite_before": self.nonfinite_before,
            "nonfinite_after": self.nonfinite_after,
        }
        return (result if self.finite else dict.fromkeys(result, nan)) | counts

    def _direction(self) -> tuple[float, float]:
        """Cosine and angle in degrees between before and after, exact for tiny angles.

        Where the delta is short, 1 - cos = (|d|^2 - (|after| - |before|)^2) / (2 |before| |after|),
        the law of cosines, with |after| - |before| = (2 before d + |d|^2) / (|after| + |before|):
        no two nearly equal numbers are subtracted, so a relative delta of 1e-6 gives its angle.
        """
        before, after = math.sqrt(self.before_squares), math.sqrt(self.after_squares)
        if not before or not after:
            return nan, nan
        if self.delta_squares < before * after:
            longer = (2 * self.before_dot_delta + self.delta_squares) / (before + after)
            versed = (self.delta_squares - longer * longer) / before / after / 2
        else:
            versed = 1 - (self.before_squares + self.before_dot_delta) / before / after
        versed = min(max(versed, 0.0), 2.0)
        return 1 - versed, math.degrees(2 * math.asin(math.sqrt(versed / 2)))


@dataclass(frozen=True)
class UpdateMoments:
    """Sums over the elements of two deltas.

    Elements that are infinite or not a number in one of the models are counted and excluded.

    Attributes:
        numel: Number of elements.
        first_squares: Sum of squares of the first delta.
        second_squares: Of the second.
        dot: Sum of their products.
        changed_first: Elements that the first changes.
        changed_second: That the second changes.
        changed_both: That both change.
        agreeing: That both change in the same direction.
        shared_spacing: Sum of the squared spacings of bf16 at the tensor that both deltas have in
            common; negative where it stands at the end of one and at the start of the other.
        nonfinite: Elements that are not finite in at least one model.
    """

    numel: int = 0
    first_squares: float = 0.0
    second_squares: float = 0.0
    dot: float = 0.0
    changed_first: int = 0
    changed_second: int = 0
    changed_both: int = 0
    agreeing: int = 0
    shared_spacing: float = 0.0
    nonfinite: int = 0

    def __add__(self, other: UpdateMoments) -> UpdateMoments:
        return _added(self, other)

    @property
    def finite(self) -> bool:
        """True if every element is finite in every model."""
        return not self.nonfinite

    def turned(self, sign: int) -> UpdateMoments:
        """Return the sums with one of the two deltas reversed, if `sign` is -1."""
        if sign > 0:
            return self
        return replace(
            self,
            dot=-self.dot,
            agreeing=self.changed_both - self.agreeing,
            shared_spacing=-self.shared_spacing,
        )

    def metrics(self) -> dict[str, float]:
        """Return the columns of `updates.csv` from `cosine` to `cosine_rounding`.

        `overlap` is the Jaccard index of the two changed sets and `overlap_chance` what it would
        be if they were drawn independently; `overlap_ratio` is 1 there. `cosine_chance` is the
        standard deviation of the cosine of two random directions, 1/sqrt(n). `cosine_rounding` is
        the effect on the cosine of rounding the shared tensor to bf16, if training continued from
        unrounded weights: its error, of variance u^2/12, then is in both deltas. All are NaN
        where an element is not finite.
        """
        first, second, both = (
            _ratio(count, self.numel)
            for count in (self.changed_first, self.changed_second, self.changed_both)
        )
        norms = math.sqrt(self.first_squares) * math.sqrt(self.second_squares)
        result = {
            "cosine": min(max(self.dot / norms, -1.0), 1.0) if norms else nan,
            "sign_agreement": _ratio(self.agreeing, self.changed_both),
            "changed_first": first,
            "changed_second": second,
            "changed_both": both,
            "overlap": _ratio(both, first + second - both),
            "overlap_chance": _ratio(first * second, first + second - first * second),
            "overlap_ratio": _ratio(both, first * second),
            "cosine_chance": 1 / math.sqrt(self.numel) if self.numel else nan,
            "cosine_rounding": self.shared_spacing / 12 / norms if norms else nan,
        }
        return result if self.finite else dict.fromkeys(result, nan)


_Sums = TypeVar("_Sums", PairMoments, UpdateMoments)


def _added(first: _Sums, other: _Sums) -> _Sums:
    names = [field.name for field in fields(first)]
    return replace(first, **{name: getattr(first, name) + getattr(other, name) for name in names})


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.inf if part else nan


def _root(square: float) -> float:
    # Rounding may leave a variance of zero just below it.
    return nan if math.isnan(square) else math.sqrt(max(square, 0.0))
