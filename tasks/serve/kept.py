"""A service keeps alarms and images near the threshold, so that a person can say what they are."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irp_core.errors import InputError
from tasks.feedback.kept_folder import KeptFolder
from tasks.serve.model import LoadedModel

__all__ = ["Kept"]

_Job = tuple[str | None, bytes, str, dict[str, Any], NDArray[np.float32]]
_LOG = logging.getLogger(__name__)
_WAITING = 64  # images; more than are written meanwhile are not kept: a service scores first


class Kept(KeptFolder):
    """A folder of kept images that is filled in the background.

    Args:
        folder: made where it is missing.
        images, size: as `KeptFolder`.
        near: share of the threshold below it at which an image is worth a look, too.

    Raises:
        InputError: a folder that cannot be written to.
    """

    def __init__(self, folder: Path, *, images: int = 500, size: int = 1_000_000_000, near: float = 0.1) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--keep {folder}: expected a folder, found none ({error.strerror}).") from None
        super().__init__(folder, images=images, size=size)
        self._near = near
        self._queue: queue.Queue[_Job | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="irp-keep", daemon=True)
        self._thread.start()

    def consider(
        self,
        name: str | None,
        content: bytes,
        model: LoadedModel,
        row: dict[str, Any],
        features: NDArray[np.float32] | None,
    ) -> None:
        """Keep an image, in the background, if it is an alarm or near one.

        Args:
            features: what the network saw in it when it was scored (`Inspector.judge`); None: the image has no score.
        """
        if (
            row["score"] is None
            or features is None
            or row["score"] <= (1.0 - self._near) * row["threshold"]
            or row["md5"] in self
        ):
            return
        try:
            self._queue.put_nowait((name, content, model.name, row, features))
        except queue.Full:
            _LOG.warning("an image was not kept: too many wait")

    def close(self) -> None:
        """Keep what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                name, content, model, row, features = job
                self.add(name, content, row, model, features)
            except (OSError, InputError) as error:  # a full disk is no reason not to score
                _LOG.warning("an image was not kept: %s", error)
