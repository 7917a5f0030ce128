"""The feature store: content-addressed, so that no image is ever pushed through the CNN twice.

Layout: `<root>/<fingerprint>/<name>.npy` (rows x dimensions, float32) and `<name>.json` (the keys of its
rows). A segment is immutable and exists once its `.json` does: the array is renamed into place first, the
index last. So a kill loses at most the segment being written, two processes may append at once without a
lock (at worst both compute the same rows, and both copies are right), and arrays are memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, write_json
from irp_core.errors import InputError

__all__ = ["FeatureStore", "Key", "StoreUse"]

Key = tuple[str, int]
"""(md5 of the image's bytes, index of the view in the bank)."""


@dataclass(frozen=True)
class StoreUse:
    """How many images a request found complete, and how many went through the network."""

    hits: int
    misses: int


class FeatureStore:
    """Rows of one extractor, addressed by (md5, view).

    Args:
        root: directory shared by all runs, detectors and processes.
        spec: everything that the numbers depend on (weights, layers, scales, views, precision); its
            digest is the `fingerprint`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store = FeatureStore(Path(root), {"backbone": "bundled"})
        ...     store.append([("md5 of a.png", 0)], np.zeros((1, 256), dtype=np.float32))
        ...     store.missing(["md5 of a.png", "md5 of b.png"], views=1)
        [('md5 of b.png', 0)]
    """

    def __init__(self, root: Path, spec: dict[str, object]) -> None:
        canonical = json.dumps(spec, sort_keys=True)
        self.fingerprint = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        self.directory = root / self.fingerprint
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "spec.json").exists():
            write_json(self.directory / "spec.json", spec)
        self._rows: dict[Key, tuple[str, int]] = {}
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._known: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in the segments that this or another process has finished since."""
        for index in sorted(self.directory.glob("*.json")):
            name = index.stem
            if name == "spec" or name in self._known:
                continue
            for row, (md5, view) in enumerate(json.loads(index.read_text(encoding="utf-8"))):
                self._rows.setdefault((md5, view), (name, row))
            self._known.add(name)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, keys: Sequence[Key], rows: NDArray[np.float32], name: str | None = None) -> None:
        """Add one segment: `rows` (len(keys), dimensions). All of it becomes visible at once, or none.

        `name` is the segment's (None: one that no other process takes).
        """
        if rows.ndim != 2 or len(rows) != len(keys):
            raise ValueError(f"append expects one row per key. Got {len(keys)} keys, rows of shape {rows.shape}.")
        if not np.isfinite(rows).all():
            bad = keys[int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])]
            raise ValueError(f"append expects finite features. Got NaN or infinity for image {bad[0]}.")
        name = name or uuid.uuid4().hex
        with atomic_path(self.directory / f"{name}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, np.ascontiguousarray(rows, dtype=np.float32))
        write_json(self.directory / f"{name}.json", [list(key) for key in keys])
        for row, key in enumerate(keys):
            self._rows.setdefault(key, (name, row))
        self._known.add(name)

    def missing(self, md5s: Iterable[str], views: int) -> list[Key]:
        """Keys of the first `views` views of each image that the store does not hold, each once, in order."""
        return [(md5, v) for md5 in dict.fromkeys(md5s) for v in range(views) if (md5, v) not in self._rows]

    def get(self, md5s: Sequence[str], views: int) -> NDArray[np.float32]:
        """Features of the first `views` views: array (images, views, dimensions).

        Raises:
            InputError: a row is absent.
        """
        result: NDArray[np.float32] | None = None
        wanted: dict[str, tuple[list[tuple[int, int]], list[int]]] = {}
        for image, md5 in enumerate(md5s):
            for view in range(views):
                try:
                    name, row = self._rows[(md5, view)]
                except KeyError:
                    raise InputError(f"{self.directory}: holds no features of image {md5}, view {view}.") from None
                places, rows = wanted.setdefault(name, ([], []))
                places.append((image, view))
                rows.append(row)
        for name, (places, rows) in wanted.items():
            array = self._array(name)
            if result is None:
                result = np.empty((len(md5s), views, array.shape[1]), dtype=np.float32)
            images, at = zip(*places, strict=True)
            result[list(images), list(at)] = array[rows]
        if result is None:
            return np.empty((0, views, 0), dtype=np.float32)
        return result

    def _array(self, name: str) -> NDArray[np.float32]:
        if name not in self._arrays:
            path = self.directory / f"{name}.npy"
            try:
                self._arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: is not a readable segment ({error}); delete it and its .json.") from None
        return self._arrays[name]
