"""The feature store: content-addressed, so that no image is ever pushed through the CNN twice.

Layout: `<root>/<fingerprint>/<name>.npy` (rows x dimensions; float32, or what `dtype` of the spec says) and
`<name>.json`, its index: the keys of its rows, and a digest of both. A segment is immutable and exists once its
`.json` does: the array is renamed into place first, the index last. So a kill loses at most the segment being
written, two processes may append at once without a lock (at worst both compute the same rows, and both copies are
right), and arrays are memory-mapped.

No byte is used unseen: a segment is held against its digest before a process first reads it. One that differs is
deleted, the log says so, and its images are extracted again. (Indexes of irp up to 0.7 are a list of keys without a
digest: of these only the form is checked.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, read_json, write_json
from irp_core.errors import InputError
from irp_core.hashing import file_sha256

__all__ = ["FeatureStore", "Key", "StoreUse"]

Key = tuple[str, int]
"""(md5 of the image's bytes, index of the view in the bank)."""


_LOG = logging.getLogger(__name__)
# Segments that this process has held against their digest, as they were then: a run opens its store many times.
_SEEN: set[tuple[str, int, int, int]] = set()


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
        self.dtype = np.dtype(str(spec.get("dtype", "float32")))
        canonical = json.dumps(spec, sort_keys=True)
        self.fingerprint = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        self.directory = root / self.fingerprint
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "spec.json").exists():
            write_json(self.directory / "spec.json", spec)
        self._rows: dict[Key, tuple[str, int]] = {}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._keys: dict[str, list[Key]] = {}
        self._digests: dict[str, str | None] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in the segments that this or another process has finished since."""
        for index in sorted(self.directory.glob("*.json")):
            name = index.stem
            if name == "spec" or name in self._keys:
                continue
            try:
                keys, digest = _read_index(index)
            except InputError as error:
                if index.exists():  # else another process has dropped it meanwhile
                    self._drop(name, str(error))
                continue
            self._add(name, keys, digest)

    def _add(self, name: str, keys: list[Key], digest: str | None) -> None:
        self._keys[name], self._digests[name] = keys, digest
        for row, key in enumerate(keys):
            self._rows.setdefault(key, (name, row))

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, keys: Sequence[Key], rows: NDArray[Any], name: str | None = None) -> None:
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
            np.save(file, np.ascontiguousarray(rows, dtype=self.dtype))
            digest = _digest(temporary, keys)
        write_json(self.directory / f"{name}.json", {"keys": [list(key) for key in keys], "sha256": digest})
        self._add(name, list(keys), digest)

    def missing(self, md5s: Iterable[str], views: int) -> list[Key]:
        """Keys of the first `views` views of each image that the store does not hold, each once, in order.

        What it does hold of them is sound: damaged segments are dropped, and their rows are missing.
        """
        wanted = [(md5, v) for md5 in dict.fromkeys(md5s) for v in range(views)]
        unseen = {self._rows[key][0] for key in wanted if key in self._rows}
        while unseen:
            damaged = {name: damage for name in sorted(unseen) if (damage := self._damage(name))}
            for name, damage in damaged.items():
                self._drop(name, damage)
            # A row of a dropped segment may stand in another, too, which is yet to be looked at.
            unseen = {self._rows[key][0] for key in wanted if key in self._rows} if damaged else set()
        return [key for key in wanted if key not in self._rows]

    def get(self, md5s: Sequence[str], views: int) -> NDArray[Any]:
        """Features of the first `views` views: array (images, views, dimensions).

        Raises:
            InputError: a row is absent, or damaged (the segment is dropped: `missing` then names its rows).
        """
        result: NDArray[Any] | None = None
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
                result = np.empty((len(md5s), views, array.shape[1]), dtype=self.dtype)
            images, at = zip(*places, strict=True)
            result[list(images), list(at)] = array[rows]
        if result is None:
            return np.empty((0, views, 0), dtype=self.dtype)
        return result

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self._arrays:
            if damage := self._damage(name):
                self._drop(name, damage)
                raise InputError(f"{damage}; the same command again extracts its images anew.")
            self._arrays[name] = np.load(self.directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return self._arrays[name]

    def _damage(self, name: str) -> str | None:
        """What is wrong with a segment; None where nothing is."""
        path, keys, digest = self.directory / f"{name}.npy", self._keys[name], self._digests[name]
        try:
            state = path.stat()
            now = (str(path.resolve()), state.st_mtime_ns, state.st_ino, hash((digest, *keys)))
            if now in _SEEN:
                return None
            if digest is not None and _digest(path, keys) != digest:
                return f"{path}: was changed since it was written (its sha256 differs)"
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return f"{path}: is gone"
        except PermissionError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
        except (OSError, ValueError, EOFError) as error:
            return f"{path}: is not a readable segment ({error})"
        if array.dtype != self.dtype or array.ndim != 2 or len(array) != len(keys):
            return f"{path}: expected {len(keys)} rows of {self.dtype}, found {array.dtype} of shape {array.shape}"
        _SEEN.add(now)
        return None

    def _drop(self, name: str, damage: str) -> None:
        _LOG.warning("%s; what it held is extracted again.", damage)
        # The index first: without it the segment does not exist.
        (self.directory / f"{name}.json").unlink(missing_ok=True)
        (self.directory / f"{name}.npy").unlink(missing_ok=True)
        self._keys.pop(name, None)
        self._arrays.pop(name, None)
        self._rows = {}
        for other, keys in self._keys.items():
            self._add(other, keys, self._digests[other])


def _read_index(index: Path) -> tuple[list[Key], str | None]:
    found = read_json(index)
    old = isinstance(found, list)
    try:
        keys, digest = (found, None) if old else (found["keys"], found["sha256"])
        read = [(str(md5), int(view)) for md5, view in keys]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{index}: expected the keys of a segment, found something else.") from None
    if not old and not isinstance(digest, str):
        raise InputError(f"{index}: expected the digest of a segment, found none.")
    return read, digest


def _digest(array: Path, keys: Sequence[Key]) -> str:
    """sha256 over the array's file and the keys of its rows: neither can change, nor change places, alone."""
    listed = json.dumps([[md5, view] for md5, view in keys])
    return hashlib.sha256(f"{file_sha256(array)}\n{listed}".encode()).hexdigest()
