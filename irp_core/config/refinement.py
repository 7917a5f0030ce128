"""How a training set is cleaned, by rule and by review, and the final threshold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from irp_core.config.base import DetectorName, Fraction, MethodName, Positive, RuleName, Section, Share

__all__ = ["Operating", "Refinement", "Review"]

Start = Literal["all", "ordinary"]
"""Of the first decision round: all images, or those that a local detector finds ordinary."""


class Refinement(Section):
    """Where a key is null the method's own setting holds (`irp_core.methods.METHODS`)."""

    method: MethodName = "careful"
    detector: DetectorName | None = None
    score_on: Literal["in_sample", "out_of_fold"] | None = None
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    repeats: Annotated[int, Field(ge=1, le=20)] = 2
    reversible: bool | None = None
    rule: RuleName | None = None
    # `lambda` is a word of Python's own; in files, overrides and dumps the key is the paper's.
    lambda_: Annotated[float, Field(gt=1.0, alias="lambda")] = 1.25
    k: Annotated[float, Field(gt=0.0)] | None = None
    fdr: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    confidence: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    start: Start | None = None
    members: Annotated[tuple[DetectorName, ...], Field(min_length=1)] = ("gaussian", "patch_knn", "kurtosis")
    expected: Share | tuple[Share, Share] | None = None
    answers: Annotated[int, Field(ge=0)] = 30
    removal: Literal["max_one", "all_above"] = "all_above"
    retrain: Literal["scratch", "warm_start"] | None = None
    max_iterations: Annotated[int, Field(ge=0)] = 10
    max_one_iterations: Positive = 15
    max_removed_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    @property
    def expected_range(self) -> tuple[float, float] | None:
        """The expected share of defective images, as a range."""
        if self.expected is None or isinstance(self.expected, tuple):
            return self.expected
        return self.expected, self.expected

    @model_validator(mode="after")
    def _range_is_in_order(self) -> Refinement:
        if isinstance(self.expected, tuple) and self.expected[0] > self.expected[1]:
            raise ValueError(f"expected must be a share or a range from low to high. Got {list(self.expected)}.")
        return self


class Operating(Section):
    false_alarm_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    folds: Annotated[int, Field(ge=2, le=50)] = 5


class Review(Section):
    decisions: str | None = "decisions.csv"
    required: bool = False
    borderline: Fraction = 0.1
    timeout: Positive = 86400

    @model_validator(mode="after")
    def _decisions_have_a_place(self) -> Review:
        if self.required and self.decisions is None:
            raise ValueError("decisions must name a file where review.required is true. Got None.")
        return self
