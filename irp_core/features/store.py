"""The feature store: content-addressed, so that no image is ever pushed through the CNN twice.

`<root>/<fingerprint>/` holds `spec.json` and segments (`irp_core.features.segments`), immutable files that appear whole
or not at all. So a kill loses at most the segment being written, and two processes may append at once without a
lock (at worst both compute the same rows, and both copies are right). A segment is mapped while its rows are read and
closed again: no number of images needs more than one open file.

Extraction appends small segments, so that a kill costs seconds. Many of them are joined into larger ones
(`FeatureStore.compact`), segments of irp up to 0.7 among them: one process at a time does so, the others find a
segment gone, look again, and read the larger one.

No byte is used unseen: a segment is held against its digest before a process first reads it. One that differs is
deleted, the log says so, and its images are extracted again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irp_core.atomic import write_json
from irp_core.errors import InputError
from irp_core.features.segments import Key, Keys, Segment, digests_of, open_segments, write_segment
from irp_core.features.store_index import Places, StoreIndex

__all__ = ["FULL", "MANY", "FeatureStore", "Key", "StoreUse"]

_LOG = logging.getLogger(__name__)
FULL = 64 * 2**20
"""Bytes of a large segment: some thousands of images' pooled features, a twentieth of a second to hash."""
MANY = 256  # small segments, from which they are joined however small they are
_ATTEMPTS = 100  # to list a folder in which other processes join segments


@dataclass(frozen=True)
class StoreUse:
    """How many images a request found complete, and how many went through the network."""

    hits: int
    misses: int


class FeatureStore:
    """Rows of one extractor, addressed by (md5, view).

    Args:
        root: directory shared by all runs, detectors and processes.
        spec: everything that the numbers depend on (weights, layers, scales, views, precision); its digest is the
            `fingerprint`. Its `dtype` is that of the rows (float32 where it says none).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store = FeatureStore(Path(root), {"backbone": "bundled"})
        ...     store.append([("md5 of a.png", 0)], np.zeros((1, 256), dtype=np.float32))
        ...     store.missing(["md5 of a.png", "md5 of b.png"], views=1)
        [('md5 of b.png', 0)]
    """

    def __init__(self, root: Path, spec: dict[str, object]) -> None:
        self.dtype = np.dtype(str(spec.get("dtype", "float32")))
        canonical = json.dumps(spec, sort_keys=True)
        self.fingerprint = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        self.directory = root / self.fingerprint
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "spec.json").exists():
            write_json(self.directory / "spec.json", spec)
        self._segments: dict[str, Segment] = {}
        self._numbers: dict[str, int] = {}  # of the segments, in the index
        self._names: list[str] = []  # by number
        self._index = StoreIndex()
        self.refresh()

    def refresh(self) -> None:
        """Take in the segments that this or another process has finished since, and forget those that are gone."""
        for _ in range(_ATTEMPTS):
            try:
                self._take_in()
                present = self._present()
                gone = [name for name in self._segments if name not in present]
                if gone:
                    self._take_in()  # a joined segment is there before those that it is made of go
            except FileNotFoundError:
                continue
            self._forget(gone)
            return
        raise InputError(f"{self.directory}: its files change faster than they can be read.")

    def _found(self) -> Iterator[tuple[str, tuple[Segment, Keys] | str]]:
        """Segments that are not known yet, as `open_segments` gives them."""
        return open_segments(self.directory, self._segments)

    def _present(self) -> set[str]:
        """The names of the segments that are there, among others."""
        return {path.name for path in self.directory.iterdir()}

    def _take_in(self) -> None:
        for name, found in self._found():
            if isinstance(found, str):
                _LOG.warning("%s; what it held is extracted again.", found)
                _remove(self.directory / name)
            else:
                self._add(name, *found)

    def _add(self, name: str, segment: Segment, keys: Keys) -> None:
        self._segments[name] = segment
        self._numbers[name] = len(self._names)
        self._names.append(name)
        self._index.add(self._numbers[name], keys)

    def _forget(self, names: Sequence[str]) -> None:
        if names:
            self._index.remove({self._numbers.pop(name) for name in names})
            for name in names:
                del self._segments[name]

    def __contains__(self, key: Key) -> bool:
        return bool(self._index.find(digests_of([key[0]]), key[1] + 1).segment[0, key[1]] >= 0)

    def __len__(self) -> int:
        return len(self._index)

    def append(self, keys: Sequence[Key], rows: NDArray[Any]) -> None:
        """Add one segment: `rows` (len(keys), dimensions). All of it becomes visible at once, or none.

        Raises:
            ValueError: another number of rows than of keys, or rows that are not finite.
        """
        if rows.ndim != 2 or len(rows) != len(keys):
            raise ValueError(f"append expects one row per key. Got {len(keys)} keys, rows of shape {rows.shape}.")
        if not np.isfinite(rows).all():
            bad = keys[int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])]
            raise ValueError(f"append expects finite features. Got NaN or infinity for image {bad[0]}.")
        self._write(Keys.of(keys), rows.astype(self.dtype, copy=False))

    def _write(self, keys: Keys, rows: NDArray[Any]) -> str:
        segment = write_segment(self.directory, keys, rows)
        name = segment.path.name
        if name not in self._segments:  # else the same rows were there
            self._add(name, segment, keys)
        return name

    def missing(self, md5s: Iterable[str], views: int) -> list[Key]:
        """Keys of the first `views` views of each image that the store does not hold, each once, in order.

        What it does hold of them is sound: damaged segments are dropped, and their rows are missing.
        """
        different = list(dict.fromkeys(md5s))
        places = self._sound_places(digests_of(different), views)
        return [(different[image], int(view)) for image, view in np.argwhere(places.segment < 0)]

    def _sound_places(self, digests: NDArray[np.uint64], views: int) -> Places:
        while True:
            places = self._index.find(digests, views)
            names = [self._names[number] for number in np.unique(places.segment) if number >= 0]
            # A row of a dropped segment may stand in another, too, which is yet to be looked at.
            if all(self._is_sound(name) for name in names):
                return places

    def _is_sound(self, name: str) -> bool:
        """Whether a segment is whole; one that is damaged is dropped, one that is gone is looked for anew."""
        if name not in self._segments:  # forgotten when another one was looked for anew
            return False
        try:
            damage = self._segments[name].damage(self.dtype)
        except FileNotFoundError:
            self._look_again(name)
            return False
        if damage:
            self._drop(name, damage)
        return damage is None

    def _look_again(self, name: str) -> None:
        """After a segment's file was not there: another process has joined it with others, or it was deleted."""
        self.refresh()
        if name in self._segments:  # of the older form, and its index is left
            self._drop(name, f"{self._segments[name].path}: is gone")

    def _drop(self, name: str, damage: str) -> None:
        _LOG.warning("%s; what it held is extracted again.", damage)
        self._segments[name].remove()
        self._forget([name])

    def get(self, md5s: Sequence[str], views: int) -> NDArray[Any]:
        """Features of the first `views` views: array (images, views, dimensions).

        Raises:
            InputError: a row is absent, or damaged (the segment is dropped: `missing` then names its rows).
        """
        if not len(md5s):
            return np.empty((0, views, 0), dtype=self.dtype)
        digests = digests_of(md5s)
        for _ in range(_ATTEMPTS):
            places = self._index.find(digests, views)
            absent = np.argwhere(places.segment < 0)
            if len(absent):
                image, view = absent[0]
                raise InputError(f"{self.directory}: holds no features of image {md5s[image]}, view {view}.")
            try:
                return self._gather(places)
            except _GoneError as error:
                self._look_again(error.name)
        raise InputError(f"{self.directory}: its files change faster than they can be read.")

    def _gather(self, places: Places) -> NDArray[Any]:
        result: NDArray[Any] | None = None
        segments = places.segment.ravel()
        order = np.argsort(segments, kind="stable")
        numbers, starts = np.unique(segments[order], return_index=True)
        for number, mine in zip(numbers, np.split(order, starts[1:]), strict=True):
            name = self._names[number]
            with self._sound_rows(name) as rows:
                if result is None:
                    result = np.empty((len(order), rows.shape[1]), dtype=self.dtype)
                result[mine] = rows[places.row.ravel()[mine]]
        assert result is not None
        return result.reshape(*places.segment.shape, -1)

    @contextmanager
    def _sound_rows(self, name: str) -> Iterator[NDArray[Any]]:
        segment = self._segments[name]
        try:
            if damage := segment.damage(self.dtype):
                self._drop(name, damage)
                raise InputError(f"{damage}; the same command again extracts its images anew.")
            with segment.rows() as rows:
                yield rows
        except FileNotFoundError:
            raise _GoneError(name) from None

    def publish(self) -> None:
        """Write what is not yet where others find it: nothing, of a store in a folder."""

    def compact(self, *, at_least: int = MANY) -> int:
        """Join small segments, where there are `at_least` so many or they make a large one; returns how many were.

        The larger ones are written first and the small ones deleted then: a kill leaves rows twice, and the next call
        drops the copies. Where another process is about it, or the folder may not be written, nothing is done.
        """
        if not self._is_due(at_least):
            return 0
        with self._alone() as alone:
            if not alone:
                return 0
            self.refresh()  # another process may just have done it
            if not self._is_due(at_least):
                return 0
            joined = 0
            batch: list[str] = []
            try:
                for name in self._small():
                    batch.append(name)
                    if sum(self._segments[one].size for one in batch) >= FULL:
                        joined += self._join(batch)
                        batch = []
                joined += self._join(batch) if len(batch) > 1 else 0
            except FileNotFoundError:  # another process found a segment damaged
                self.refresh()
            return joined

    def _small(self) -> list[str]:
        return sorted(name for name, segment in self._segments.items() if segment.size < FULL // 2)

    def _is_due(self, at_least: int) -> bool:
        small = self._small()
        return len(small) > 1 and (len(small) >= at_least or sum(self._segments[name].size for name in small) >= FULL)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this is the one process that joins segments here; the lock goes with a killed owner."""
        try:
            handle = os.open(self.directory / ".joining", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
        finally:
            os.close(handle)

    def _join(self, names: Sequence[str]) -> int:
        """Write the rows of these segments as one, each row once, and delete them; returns how many there were."""
        sound = [name for name in names if self._is_sound(name)]
        parts = [self._own_rows(name) for name in sound if name in self._segments]
        keys = Keys.joined([keys for keys, _ in parts])
        written = self._write(keys, np.concatenate([rows for _, rows in parts])) if len(keys) else ""
        old = [name for name in sound if name in self._segments and name != written]
        for name in old:
            self._segments[name].remove()
        self._forget(old)
        return len(old)

    def _own_rows(self, name: str) -> tuple[Keys, NDArray[Any]]:
        """Keys and rows of a segment, but those that another one answers for."""
        segment, number = self._segments[name], self._numbers[name]
        keys = segment.keys()
        images, place = np.unique(keys.digests, axis=0, return_inverse=True)
        found = self._index.find(images, int(keys.views.max(initial=0)) + 1)
        at = (place.ravel(), keys.views)
        own = (found.segment[at] == number) & (found.row[at] == np.arange(len(keys)))
        with segment.rows() as rows:
            return keys[own], np.array(rows[own])


class _GoneError(Exception):
    """A segment's file is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _remove(path: Path) -> None:
    """Delete a segment that cannot be opened, by its name in the folder.

    Raises:
        InputError: it is a folder, whatever lies in it.
    """
    if path.is_dir() and not path.is_symlink():
        raise InputError(f"{path}: expected a file of the feature store, found a folder; move it away.")
    path.unlink(missing_ok=True)
    if path.suffix == ".json":
        path.with_suffix(".npy").unlink(missing_ok=True)
