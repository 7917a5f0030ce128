"""Files that were looked at before: what was found then holds while a file's size, time and inode are the same.

As git's and DVC's own records of files: (path, size, modification time in nanoseconds, inode). A file that was changed
less than two seconds before it was looked at is not remembered: it may change again without its time telling.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from irp_core.config import Images
from irp_core.data.look import THUMBNAIL, Facts
from irp_core.features.store import FeatureStore
from irp_core.packed.images import image_state

__all__ = ["KnownFiles", "Recalled"]

_VERSION = 1  # to be raised when `look` finds other facts
_SETTLED = 2_000_000_000  # nanoseconds
_AT_ONCE = 1024  # files
_RECORD = np.dtype(
    [
        ("md5", np.uint8, 16), ("thumbnail", np.uint8, (THUMBNAIL, THUMBNAIL)), ("width", np.uint32),
        ("height", np.uint32), ("near_binary", np.uint8), ("bits", np.uint16), ("lowest", np.float64),
        ("highest", np.float64), ("white", np.float64), ("pages", np.uint32),
    ]
)  # fmt: skip


class KnownFiles:
    """A store of what was found in files, shared by all data sets, runs and processes.

    Args:
        store: directory of the feature store, in which it has a folder of its own.
        images: which images are read, and how: what is found depends on it.
    """

    def __init__(self, store: Path, images: Images) -> None:
        spec = {"looks": _VERSION, "images": images.set_keys(), "side": THUMBNAIL, "dtype": "uint8"}
        # Two views of one store: what is written meanwhile would have the index of what is read sorted again and again.
        self._before, self._store = FeatureStore(store, spec), FeatureStore(store, spec)
        self._new: list[tuple[str, Facts]] = []

    def recall(self, files: Iterable[Path]) -> Recalled:
        """What is known of files that did not change since."""
        now = time.time_ns()
        keys = [_key(file, now) for file in files]
        unknown = {key for key, _ in self._before.missing([key for key in keys if key], 1)}
        return Recalled(self._before, keys, unknown)

    def remember(self, key: str, facts: Facts) -> None:
        """Keep what was found in a file; on disk from a thousand files on, or after `keep`."""
        self._new.append((key, facts))
        if len(self._new) >= _AT_ONCE:
            self.keep()

    def keep(self) -> None:
        """Write what was remembered."""
        if self._new:
            rows = np.stack([_record(facts) for _, facts in self._new])
            self._store.append([(key, 0) for key, _ in self._new], rows)
            self._store.compact()
            self._new = []


class Recalled:
    """What was found in files, in their order: read some at a time, as the pictures of all take much memory.

    Attributes:
        keys: under which each is remembered; None of one that may not be.
    """

    def __init__(self, store: FeatureStore, keys: list[str | None], unknown: set[str]) -> None:
        self.keys, self._store, self._unknown = keys, store, unknown

    def facts(self, start: int, stop: int) -> list[Facts | None]:
        """Of the files from one place to another; None of those that must be looked at."""
        keys = self.keys[start:stop]
        held = [key for key in keys if key and key not in self._unknown]
        if not held:
            return [None] * len(keys)
        rows = self._store.get(held, 1)[:, 0].view(_RECORD)[:, 0]
        found = dict(zip(held, rows, strict=True))
        return [_facts(found[key]) if key in found else None for key in keys]


def _key(file: Path, now: int) -> str | None:
    """Of a file as it is now; None of one that changed so lately that it may change again without its time telling."""
    try:
        size, changed, *place = image_state(file)
    except (OSError, ValueError):  # whoever looks at it says why
        return None
    if now - changed < _SETTLED:
        return None
    named = "".join(f"\0{part}" for part in (size, changed, *place)).encode()
    return hashlib.md5(os.fsencode(file.absolute()) + named, usedforsecurity=False).hexdigest()


def _record(facts: Facts) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    record = np.zeros(1, dtype=_RECORD)
    for name in _RECORD.names or ():
        record[name] = np.frombuffer(bytes.fromhex(facts.md5), np.uint8) if name == "md5" else getattr(facts, name)
    return record.view(np.uint8)


def _facts(record: np.void) -> Facts:
    return Facts(
        md5=record["md5"].tobytes().hex(),
        width=int(record["width"]),
        height=int(record["height"]),
        near_binary=bool(record["near_binary"]),
        thumbnail=record["thumbnail"],
        bits=int(record["bits"]),
        lowest=float(record["lowest"]),
        highest=float(record["highest"]),
        white=float(record["white"]),
        pages=int(record["pages"]),
    )
