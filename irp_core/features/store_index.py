"""Where the feature store holds what: sorted digests, looked up all at once.

An entry is a run: consecutive views of one image in consecutive rows of one segment. An image whose views were
extracted together is one entry of 28 bytes, so a million images take 28 MB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irp_core.features.segments import Keys

__all__ = ["Places", "StoreIndex"]


@dataclass(frozen=True, eq=False)
class Places:
    """Of n images and v views: the `segment` (n, v) by its number, -1 where none holds it, and the `row` (n, v)."""

    segment: NDArray[np.int32]
    row: NDArray[np.int32]


class StoreIndex:
    """(digest, view) → (segment, row).

    Example:
        >>> index = StoreIndex()
        >>> index.add(7, Keys.of([("a", 0), ("a", 1), ("b", 0)]))
        >>> places = index.find(Keys.of([("b", 0), ("a", 0)]).digests, views=2)
        >>> places.segment.tolist(), places.row.tolist()
        ([[7, -1], [7, 7]], [[2, 0], [0, 1]])
    """

    def __init__(self) -> None:
        self._runs = _Runs.none()
        self._new: list[_Runs] = []

    def add(self, segment: int, keys: Keys) -> None:
        """Take a segment in. Of rows that two segments hold, the one that was taken in first is found."""
        self._new.append(_Runs.of(segment, keys))

    def remove(self, segments: set[int]) -> None:
        """Forget these segments."""
        runs = self._sorted()
        gone = np.isin(runs.segment, list(segments))
        self._runs = runs[~gone]

    def find(self, digests: NDArray[np.uint64], views: int) -> Places:
        """The places of the first `views` views of the images with these digests (n, 2)."""
        runs = self._sorted()
        shape = (len(digests), views)
        places = Places(np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=np.int32))
        order = _order(digests[:, 0])  # sorted queries, nearly so at least, are found several times faster
        at = np.empty(len(digests), dtype=np.intp)
        at[order] = np.searchsorted(runs.high, digests[order, 0])
        images = np.arange(len(digests))
        while (
            True
        ):  # nearly always once: more where views were added later, or two processes extracted an image at once
            there = at < len(runs)
            images, at = images[there], at[there]
            there = runs.high[at] == digests[images, 0]
            images, at = images[there], at[there]
            if not len(images):
                break
            same = runs.low[at] == digests[images, 1]
            self._place(places, runs, images[same], at[same])
            at = at + 1
        return places

    @staticmethod
    def _place(places: Places, runs: _Runs, images: NDArray[np.intp], at: NDArray[np.intp]) -> None:
        """Enter what the runs at `at` hold of `images`, where nothing is entered yet."""
        for view in range(places.segment.shape[1]):
            offset = view - runs.first[at].astype(np.int64)
            held = (offset >= 0) & (offset < runs.count[at]) & (places.segment[images, view] < 0)
            places.segment[images[held], view] = runs.segment[at[held]]
            places.row[images[held], view] = runs.row[at[held]] + offset[held]

    def __len__(self) -> int:
        """How many different (digest, view) it holds."""
        runs = self._sorted()
        rows = np.repeat(np.arange(len(runs)), runs.count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(runs.count, dtype=np.int64) - runs.count, runs.count)
        keys = np.column_stack([runs.high[rows], runs.low[rows], (runs.first[rows] + within).astype(np.uint64)])
        return len(np.unique(keys, axis=0))

    def _sorted(self) -> _Runs:
        if self._new:
            runs = _Runs.joined([self._runs, *self._new])
            order = _order(runs.high)
            high = runs.high[order]
            if (high[1:] < high[:-1]).any():  # two digests that agree in their upper bits
                order = np.argsort(runs.high, kind="stable")
            self._runs, self._new = runs[order], []
        return self._runs


def _order(values: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Indices that sort `values` by all but their lowest bits, equal ones in their order.

    The index takes the place of those bits, so that numbers are sorted, not references to them: half of argsort's time.
    """
    bits = np.uint64(max(1, (len(values) - 1).bit_length()))
    mixed = (values >> bits << bits) | np.arange(len(values), dtype=np.uint64)
    mixed.sort()
    return (mixed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.intp)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Columns (r,): the digest's halves, the first view and how many follow, the segment and its first row."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    first: NDArray[np.uint16]
    count: NDArray[np.uint16]
    segment: NDArray[np.int32]
    row: NDArray[np.int32]

    @classmethod
    def none(cls) -> _Runs:
        return cls.of(0, Keys(np.zeros((0, 2), dtype=np.uint64), np.zeros(0, dtype=np.uint16)))

    @classmethod
    def of(cls, segment: int, keys: Keys) -> _Runs:
        starts = np.ones(len(keys), dtype=bool)
        high, low, views = keys.digests[:, 0], keys.digests[:, 1], keys.views
        starts[1:] = ~((high[1:] == high[:-1]) & (low[1:] == low[:-1]) & (views[1:] == views[:-1] + np.uint16(1)))
        rows = np.flatnonzero(starts)
        return cls(
            high=keys.digests[rows, 0].copy(),
            low=keys.digests[rows, 1].copy(),
            first=keys.views[rows],
            count=np.diff(np.append(rows, len(keys))).astype(np.uint16),
            segment=np.full(len(rows), segment, dtype=np.int32),
            row=rows.astype(np.int32),
        )

    @classmethod
    def joined(cls, parts: list[_Runs]) -> _Runs:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> _Runs:
        return _Runs(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))
