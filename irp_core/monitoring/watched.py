"""What watching a detector finds: the commissioning window, the new images, and a row per window of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from irp_core.monitoring.drift import COLUMNS, WINDOW, drift
from irp_core.monitoring.health import MEASURES, health_drift

__all__ = ["MEASURED", "Watched", "alarm_began", "alarm_reason", "not_yet", "watched"]

MEASURED = ("image", "path", "score", "threshold", "decision", *MEASURES, "difference")
"""The columns of `Watched.reference` and `Watched.new`."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A detector in service, as it is seen now.

    Attributes:
        model: which detector scored.
        reference: the commissioning window: `image` (its name), `path`, `score`, `threshold`, `decision` and the
            `MEASURES` of its health, and `difference` (`irp_core.monitoring.repeats`), a row per image that could be
            scored.
        new: the same of the images that came after it, in their order.
        windows: a row per full window of new images: `drift`'s, `first` (the name of its first image) and `changed`
            (what `health_drift` says of its images).
        size: images per window.
    """

    model: str
    reference: pd.DataFrame
    new: pd.DataFrame
    windows: pd.DataFrame
    size: int = WINDOW

    def rows(self, window: int) -> pd.DataFrame:
        """The images of a window, by its number (1 is the first)."""
        return self.new.iloc[(window - 1) * self.size : window * self.size]

    @property
    def verdict(self) -> str:
        """What there is to say, in one to three sentences."""
        if not len(self.windows):
            return f"Fewer than {self.size} new images can be scored: too few to tell."
        began = alarm_began(self.windows)
        if began is None:
            return f"No drift in {len(self.windows)} windows of {self.size} images."
        alarms = int(self.windows["alarm"].sum())
        changed = f"The images: {began['changed']}." if began["changed"] else "The images' figures have not changed."
        count = f"{alarms} of {len(self.windows)} windows alarm."
        return f"{count} Since {began['first']}: {began['reason']}. {changed}"


def watched(model: str, reference: pd.DataFrame, new: pd.DataFrame, *, size: int = WINDOW) -> Watched:
    """Hold new images against the commissioning window.

    Args:
        model: a name.
        reference, new: see `Watched`.
        size: images per window.

    Raises:
        InputError: as `drift`.
    """
    windows = drift(reference, new, window=size)
    firsts, changes = [], []
    for number in range(len(windows)):
        rows = new.iloc[number * size : (number + 1) * size]
        firsts.append(str(rows["image"].iloc[0]))
        changes.append("; ".join(health_drift(reference, rows)["says"]))
    return Watched(model, reference, new, windows.assign(first=firsts, changed=changes), size)


def not_yet(model: str, reference: pd.DataFrame, *, size: int = WINDOW) -> Watched:
    """A detector whose commissioning window is not full: there is nothing to hold images against."""
    new = reference.iloc[:0]
    windows = pd.DataFrame(columns=[*COLUMNS, "first", "changed"]).astype({"alarm": bool})
    return Watched(model, reference, new, windows, size)


def alarm_began(windows: pd.DataFrame, after: int = 0) -> Mapping[str, Any] | None:
    """The first window of the alarm that stands, or of the last one: `window, first, reason, changed`; None: no alarm.

    Args:
        after: only alarms that began after this window.

    Example:
        >>> windows = pd.DataFrame({"window": [1, 2, 3, 4], "alarm": [True, False, True, True], "first": list("abcd")})
        >>> alarm_began(windows)["first"], alarm_began(windows, after=3)
        ('c', None)
    """
    begins = windows["alarm"] & ~windows["alarm"].shift(fill_value=False) & (windows["window"] > after)
    found = windows[begins].to_dict("records")
    return {str(key): value for key, value in found[-1].items()} if found else None


def alarm_reason(began: Mapping[str, Any]) -> str:
    """Why an alarm began, as people are told.

    Example:
        >>> alarm_reason({"reason": "the scores are higher than in the reference", "changed": "30 % darker"})
        'The scores are higher than in the reference; 30 % darker.'
    """
    return f"{began['reason'].capitalize()}; {began['changed'] or 'the images themselves look as before'}."
