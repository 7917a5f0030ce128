"""What may be deleted: a plan over an inventory, which nothing here reads and nothing here touches.

Runs, weights, and the images and rounds of a line go by their age, images in the cache and features by a bound in
bytes, the oldest first. What is needed stays, whatever its age and whatever the bound.

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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from irp_core.config import Retention

__all__ = ["Item", "Kind", "plan"]

Kind = Literal["run", "weights", "cache", "features", "image", "round"]
_LATEST_ROUNDS = 10  # of each line: `irp line status` shows them
_DAY = 86400.0  # seconds
_COLUMNS = ["kind", "name", "bytes", "delete", "reason"]


@dataclass(frozen=True)
class Item:
    """Something that takes room.

    Attributes:
        kind: `run` (a folder), `weights` (of a run, in the tracking store), `cache` (an image in DVC's cache),
            `features` (of one extractor, in the feature store), `image` (that a line took in), `round` (a line's folder
            of one).
        bytes: that its deletion frees.
        since: when it was last used, in seconds since the epoch.
        group: runs and weights: the data set; images and rounds: the line.
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
    latest = _latest(everything, {"run": retention.keep_runs, "round": _LATEST_ROUNDS})
    lasting = {"run": retention.run_days, "round": retention.run_days, "image": retention.line_days}
    bounds = {"cache": retention.cache_bytes, "features": retention.store_bytes}
    over = {
        kind: sum(item.bytes for item in everything if item.kind == kind) - bound if bound is not None else 0
        for kind, bound in bounds.items()
    }
    rows = []
    for item in everything:
        delete = False
        days = lasting.get(item.kind, retention.weights_days)
        if item.needed is not None:
            reason = item.needed
        elif item.kind in bounds:
            delete = over[item.kind] > 0
            reason = "the oldest, above the bound" if delete else "within the bound"
            over[item.kind] -= item.bytes if delete else 0
        elif days is None:
            reason = "it may be the only copy (retention.line_days)"
        elif now - item.since <= days * _DAY:
            reason = f"not older than {days} days"
        elif (item.kind, item.name) in latest:
            reason = "one of the latest of its line" if item.kind == "round" else "one of the latest of its data set"
        else:
            delete, reason = True, f"older than {days} days"
        rows.append((item.kind, item.name, item.bytes, delete, reason))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"bytes": "int64", "delete": bool})


def _latest(items: list[Item], counts: Mapping[str, int]) -> set[tuple[str, str]]:
    """The latest of each kind (kind → how many) and group."""
    by_group: dict[tuple[str, str], list[str]] = {}
    for item in items:  # the oldest first
        by_group.setdefault((item.kind, item.group), []).append(item.name)
    latest = {key: names[-counts[key[0]] :] for key, names in by_group.items() if key[0] in counts}
    return {(kind, name) for (kind, _), names in latest.items() for name in names}
