"""What a line adds to the parameters: when a new detector takes the place of the one in service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from irp_core.config.base import Positive, Section, Seed, Share

__all__ = ["PromotionPolicy"]


class PromotionPolicy(Section):
    """The bounds that a challenger is compared by, and who promotes it (`irp_core.promotion`).

    `mode`: `manual` asks a person about every challenger that no check refuses; `golden` promotes by itself what the
    labelled images speak for; `always` promotes what no check refuses.
    """

    mode: Literal["manual", "golden", "always"] = "manual"
    margin: Share = 0.03  # AUROC that may be lost at most
    margin_misses: Share = 0.1  # share of the golden defects that may be missed in addition
    margin_alarms: Share = 0.05  # share of the golden good images that may be alarms in addition
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95  # of a bound, one-sided
    resamples: Annotated[int, Field(ge=200, le=100_000)] = 2000  # of the paired bootstrap
    seed: Seed = 0  # of the resamples
    min_defects: Positive = 20  # golden defects below which nothing is promoted without a person
    min_good: Positive = 50  # golden good images below which nothing is promoted without a person
    significance: Share = 0.01  # of the tests of the alarm share and of the drift
    max_rise: Share = 0.2  # share removed, and contamination, above the highest of all versions before
    max_contamination: Share = 0.3  # whatever the versions before had
    max_flips: Share = 0.1  # share of decisions that differ from the champion's, before a person should look
    max_drift: Share = 0.3  # Kolmogorov-Smirnov distance of the champion's scores of new and of known images
