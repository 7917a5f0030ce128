"""One check of a comparison: a row of its table."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Literal

import pandas as pd

__all__ = ["Check", "Verdict", "check_table", "counted"]

Verdict = Literal["pass", "veto", "open"]


@dataclass(frozen=True)
class Check:
    """`pass`: nothing speaks against the challenger; `veto`: it is refused; `open`: this check cannot tell.

    `value` is compared with `bound` (both null where nothing could be measured); `labelled` checks rest on labels.
    """

    check: str
    verdict: Verdict
    value: float | None
    bound: float | None
    sentence: str
    labelled: bool = False


def check_table(checks: list[Check]) -> pd.DataFrame:
    """A row per check."""
    table = pd.DataFrame([astuple(check) for check in checks], columns=[field.name for field in fields(Check)])
    return table.astype({"value": "float64", "bound": "float64", "labelled": bool})


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "image"), counted(0, "image")
        ('1 image', '0 images')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
