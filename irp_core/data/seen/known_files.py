"""Files that were looked at before: what was found then holds while a file's size, time and inode are the same.

As git's and DVC's own records of files: (path, size, modification time in nanoseconds, inode). A file that was changed
less than two seconds before it was looked at is not remembered: it may change again without its time telling.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from irp_core.config import Images
from irp_core.data.look import THUMBNAIL, Facts
from irp_core.features.store import FeatureStore
from irp_core.packed.images import image_state

__all__ = ["KnownFiles"]

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
        self._store = FeatureStore(store, spec)
        self._new: list[tuple[str, Facts]] = []

    def recall(self, files: Sequence[Path]) -> tuple[dict[Path, Facts], dict[Path, str]]:
        """What is known of the files that did not change since, and, of the others that may be remembered, the key."""
        now = time.time_ns()
        keys: dict[Path, str] = {}
        for file in files:
            try:
                size, changed, *place = image_state(file)
            except (OSError, ValueError):  # whoever looks at it says why
                continue
            if now - changed >= _SETTLED:
                named = "".join(f"\0{part}" for part in (size, changed, *place)).encode()
                keys[file] = hashlib.md5(os.fsencode(file.absolute()) + named, usedforsecurity=False).hexdigest()
        unknown = {key for key, _ in self._store.missing(keys.values(), 1)}
        old = [file for file, key in keys.items() if key not in unknown]
        found: dict[Path, Facts] = {}
        for start in range(0, len(old), _AT_ONCE):
            part = old[start : start + _AT_ONCE]
            rows = self._store.get([keys[file] for file in part], 1)[:, 0]
            found |= zip(part, map(_facts, rows.view(_RECORD)[:, 0]), strict=True)
        return found, {file: key for file, key in keys.items() if key in unknown}

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
