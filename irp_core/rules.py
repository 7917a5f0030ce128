"""Rules: from scores to the threshold above which an image stands out. Each rule is a small value with its own number.

The list of rules stands once, in `RULES`; settings, help and `irp whatif` read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from irp_core.config import Refinement  # the settings name the rules, so they import this file

    Scores = NDArray[np.float64]

__all__ = ["RULES", "Iqr", "Mad", "MedianMultiple", "Mixture", "Rule"]


class Rule(Protocol):
    """A threshold rule with its number."""

    name: ClassVar[str]
    """As in `refinement.rule`."""
    setting: ClassVar[str]
    """The key of section `refinement` that holds its number."""

    @property
    def label(self) -> str:
        """The rule with its number as tables show it, such as `median_multiple(1.25)`."""
        ...

    def threshold(self, scores: Scores, *, lower_bound: float | None = None, seed: int = 0) -> float:
        """The score that an image must exceed to stand out.

        Args:
            scores: (n,), n ≥ 1, finite.
            lower_bound: a detector's lower confidence bound on the share of defective images, None where it has none;
                only a rule that counts images reads it.
            seed: of the resamples of a rule that draws some.

        Raises:
            ValueError: no scores, or scores that are not finite.
        """
        ...

    def for_return(self) -> Rule:
        """The rule below which a removed image comes back: without a bound on how many are removed."""
        ...


@dataclass(frozen=True)
class _Multiple:
    """A multiple of some spread or level of the scores."""

    factor: float
    name: ClassVar[str]

    @property
    def label(self) -> str:
        return f"{self.name}({self.factor:g})"

    def for_return(self) -> Self:
        return self


@dataclass(frozen=True)
class MedianMultiple(_Multiple):
    """λ · median (IRP, eq. 5); needs positive scores.

    Example:
        >>> import numpy as np
        >>> MedianMultiple(2.0).threshold(np.array([1.0, 2.0, 9.0]))
        4.0
    """

    name = "median_multiple"
    setting: ClassVar[str] = "lambda"

    @classmethod
    def of(cls, refinement: Refinement, confidence: float) -> Self:
        return cls(refinement.lambda_)

    def threshold(self, scores: Scores, *, lower_bound: float | None = None, seed: int = 0) -> float:
        import numpy as np  # not earlier: the command line names the rules, and is to start at once

        return self.factor * float(np.median(_checked(scores)))


@dataclass(frozen=True)
class Iqr(_Multiple):
    """Q3 + k · (Q3 - Q1), Tukey's fence; k = 1.5 in the authors' later work."""

    factor: float = 1.5
    name = "iqr"
    setting: ClassVar[str] = "k"

    @classmethod
    def of(cls, refinement: Refinement, confidence: float) -> Self:
        return cls() if refinement.k is None else cls(refinement.k)

    def threshold(self, scores: Scores, *, lower_bound: float | None = None, seed: int = 0) -> float:
        import numpy as np

        first, third = np.percentile(_checked(scores), [25, 75])
        return float(third + self.factor * (third - first))


@dataclass(frozen=True)
class Mad(_Multiple):
    """median + k · 1.4826 · MAD: k standard deviations where the bulk is normal."""

    factor: float = 3.0
    name = "mad"
    setting: ClassVar[str] = "k"

    @classmethod
    def of(cls, refinement: Refinement, confidence: float) -> Self:
        return cls() if refinement.k is None else cls(refinement.k)

    def threshold(self, scores: Scores, *, lower_bound: float | None = None, seed: int = 0) -> float:
        import numpy as np
        from scipy import stats

        spread = stats.median_abs_deviation(_checked(scores), scale="normal")
        return float(np.median(scores) + self.factor * spread)


@dataclass(frozen=True)
class Mixture:
    """The false discovery rate of a mixture of two normal distributions (`irp_core.statistics.mixture`).

    `fdr` is the expected share of good images among the removed; with a `confidence` no more images are removed than a
    lower confidence bound allows.
    """

    fdr: float
    confidence: float = 0.0
    name: ClassVar[str] = "mixture"
    setting: ClassVar[str] = "fdr"

    @classmethod
    def of(cls, refinement: Refinement, confidence: float) -> Self:
        return cls(refinement.fdr, confidence)

    @property
    def label(self) -> str:
        return f"{self.name}({self.fdr:g})"

    def threshold(self, scores: Scores, *, lower_bound: float | None = None, seed: int = 0) -> float:
        from irp_core.statistics.mixture import mixture_threshold

        return mixture_threshold(
            _checked(scores), self.fdr, confidence=self.confidence, lower_bound=lower_bound, seed=seed
        )

    def for_return(self) -> Mixture:
        return Mixture(self.fdr)


RULES: dict[str, type[MedianMultiple | Iqr | Mad | Mixture]] = {
    kind.name: kind for kind in (MedianMultiple, Iqr, Mad, Mixture)
}
"""By name; `RULES[name].of(refinement, confidence)` is the rule with the number that the settings give it."""


def _checked(scores: Scores) -> Scores:
    import numpy as np

    if scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"threshold expects at least one score, all finite. Got {scores.size} scores.")
    return scores
