"""What may be deleted: a plan over an inventory, which nothing here reads and nothing here touches.

Runs and weights go by their age, images in the cache and features by a bound in bytes, the oldest first. What is needed
stays, whatever its age and whatever the bound.

Example:
    >>> from dataclasses import replace
    >>> day = 86400.0
    >>> items = [Item("run", f"night-{k}", 10, k * day, group="line3") for k in range(40)]
    >>> items[3] = replace(items[3], needed="line3/1@champion was made of it")
    >>> made = plan(items, Retention(run_days=30, keep_runs=5), now=40 * day)
    >>> made.loc[made["delete"], "name"].tolist()[:4], int(made["delete"].sum())
    (['night-0', 'night-1', 'night-2', 'night-4'], 9)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from irp_core.config import Retention

__all__ = ["Item", "Kind", "plan"]

Kind = Literal["run", "weights", "cache", "features"]
_DAY = 86400.0  # seconds
_COLUMNS = ["kind", "name", "bytes", "delete", "reason"]


@dataclass(frozen=True)
class Item:
    """Something that takes room.

    Attributes:
        kind: `run` (a folder), `weights` (of a run, in the tracking store), `cache` (an image in DVC's cache),
            `features` (of one extractor, in the feature store).
        bytes: that its deletion frees.
        since: when it was last used, in seconds since the epoch.
        group: runs and weights: the data set.
        needed: why it has to stay; None where nothing needs it.
    """

    kind: Kind
    name: str
    bytes: int
    since: float
    group: str = ""
    needed: str | None = None


def plan(items: Iterable[Item], retention: Retention, now: float) -> pd.DataFrame:
    """What becomes of each item: columns `kind`, `name`, `bytes`, `delete` (bool), `reason`; the oldest first.

    Args:
        now: seconds since the epoch.
    """
    everything = sorted(items, key=lambda item: (item.kind, item.since, item.name))
    latest = _latest(everything, retention.keep_runs)
    bounds = {"cache": retention.cache_bytes, "features": retention.store_bytes}
    over = {
        kind: sum(item.bytes for item in everything if item.kind == kind) - bound if bound is not None else 0
        for kind, bound in bounds.items()
    }
    rows = []
    for item in everything:
        delete = False
        days = retention.run_days if item.kind == "run" else retention.weights_days
        if item.needed is not None:
            reason = item.needed
        elif item.kind in bounds:
            delete = over[item.kind] > 0
            reason = "the oldest, above the bound" if delete else "within the bound"
            over[item.kind] -= item.bytes if delete else 0
        elif now - item.since <= days * _DAY:
            reason = f"not older than {days} days"
        elif item.kind == "run" and item.name in latest:
            reason = f"one of the latest {retention.keep_runs} of its data set"
        else:
            delete, reason = True, f"older than {days} days"
        rows.append((item.kind, item.name, item.bytes, delete, reason))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"bytes": "int64", "delete": bool})


def _latest(items: list[Item], count: int) -> set[str]:
    """The names of the latest runs of each data set."""
    by_group: dict[str, list[str]] = {}
    for item in items:  # the oldest first
        if item.kind == "run":
            by_group.setdefault(item.group, []).append(item.name)
    return {name for names in by_group.values() for name in names[-count:]}
