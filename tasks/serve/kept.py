"""Alarms and images near the threshold that a service keeps, so that a person can say what they are.

A folder: of each image its bytes (`MD5.image`), what the detector saw in it (`MD5.npy`: the mean of its pooled
features), and last `MD5.json`, without which the others are a kill's left-overs. Its size is bounded: the oldest images
that nobody answered for go first.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, read_json_object, write_json
from irp_core.errors import InputError
from tasks.serve.model import LoadedModel

__all__ = ["Kept"]

_LOG = logging.getLogger(__name__)
_WAITING = 64  # images; more than are written meanwhile are not kept: a service scores first


class Kept:
    """The images that are kept in a folder.

    Args:
        folder: made where it is missing.
        images, size: at most so many images, and bytes of them together.
        near: share of the threshold below it at which an image is worth a look, too.

    Raises:
        InputError: a folder that cannot be written to.
    """

    def __init__(self, folder: Path, *, images: int = 500, size: int = 1_000_000_000, near: float = 0.1) -> None:
        self.folder, self._images, self._size, self._near = folder, images, size, near
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--keep {folder}: expected a folder, found none ({error.strerror}).") from None
        self._lock = threading.Lock()
        self._known = {row["md5"]: row for row in self._read()}
        self._queue: queue.Queue[tuple[str | None, bytes, LoadedModel, dict[str, Any]] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="irp-keep", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._known)

    def consider(self, name: str | None, content: bytes, model: LoadedModel, row: dict[str, Any]) -> None:
        """Keep an image, in the background, if it is an alarm or near one."""
        if row["score"] is None or row["score"] <= (1.0 - self._near) * row["threshold"] or row["md5"] in self._known:
            return
        try:
            self._queue.put_nowait((name, content, model, row))
        except queue.Full:
            _LOG.warning("an image was not kept: too many wait")

    def rows(self) -> list[dict[str, Any]]:
        """What is kept, the latest first: `md5, name, model, score, threshold, decision, at, size, answered`."""
        with self._lock:
            return sorted(self._known.values(), key=lambda row: (-row["at"], row["md5"]))

    def row(self, md5: str) -> dict[str, Any]:
        """One of `rows`.

        Raises:
            KeyError: it is not kept.
        """
        with self._lock:
            return self._known[md5]

    def features(self, md5: str) -> NDArray[np.float32]:
        """What the detector saw in an image (d,)."""
        found: NDArray[np.float32] = np.load(self.folder / f"{md5}.npy", allow_pickle=False)
        return found

    def answer(self, md5: str) -> dict[str, Any]:
        """Note that a person answered for an image: it goes last. Its row.

        Raises:
            KeyError: it is not kept.
        """
        with self._lock:
            row = self._known[md5] = {**self._known[md5], "answered": True}
            write_json(self.folder / f"{md5}.json", row)
        return row

    def close(self) -> None:
        """Keep what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._keep(*job)
            except (OSError, InputError) as error:  # a full disk is no reason not to score
                _LOG.warning("an image was not kept: %s", error)

    def _keep(self, name: str | None, content: bytes, model: LoadedModel, row: dict[str, Any]) -> None:
        md5 = row["md5"]
        if md5 in self._known or len(content) > self._size:
            return
        seen = model.inspector.see(content)
        features = model.inspector.features([seen.views]).pooled[0].mean(axis=0)
        with atomic_path(self.folder / f"{md5}.image") as temporary:
            temporary.write_bytes(content)
        with atomic_path(self.folder / f"{md5}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, features, allow_pickle=False)
        facts = {key: row[key] for key in ("md5", "score", "threshold", "decision")}
        facts |= {"name": name, "model": model.name, "at": time.time(), "size": len(content), "answered": False}
        with self._lock:
            write_json(self.folder / f"{md5}.json", facts)
            self._known[md5] = facts
            self._shrink()

    def _shrink(self) -> None:
        total = sum(row["size"] for row in self._known.values())
        for row in sorted(self._known.values(), key=lambda row: (row["answered"], row["at"])):
            if len(self._known) <= self._images and total <= self._size:
                return
            for ending in ("json", "npy", "image"):
                (self.folder / f"{row['md5']}.{ending}").unlink(missing_ok=True)
            total -= self._known.pop(row["md5"])["size"]

    def _read(self) -> list[dict[str, Any]]:
        rows = []
        for file in sorted(self.folder.glob("*.json")):
            try:
                rows.append(read_json_object(file, "md5", "score", "threshold", "at", "size", "answered", "model"))
            except InputError as error:
                _LOG.warning("%s", error)
        return rows
