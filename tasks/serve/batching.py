"""Micro-batches: what arrives while a batch is being scored makes the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irp_core.errors import InputError
from irp_core.inspection import Inspector, Seen
from tasks.serve.model import LoadedModel

__all__ = ["Batcher"]

Answer = tuple[LoadedModel, dict[str, Any], NDArray[np.float32] | None, NDArray[np.float32] | None]
Job = tuple[bytes, bool, Future[Answer]]
_MOST = 8  # images of a batch


class Batcher:
    """Scores images one batch after another; all images of a batch by one model.

    Nothing waits for company: a batch is what lies there, at most eight images. A score does not depend on the batch.

    Args:
        model: gives the model to score with.
        waiting: images that may wait; more are refused.
        workers: threads that decode.
    """

    def __init__(self, model: Callable[[], LoadedModel], *, waiting: int = 128, workers: int = 2) -> None:
        self._model = model
        self._queue: queue.Queue[Job | None] = queue.Queue(waiting)
        self._pool = ThreadPoolExecutor(workers, "irp-decode")
        self._thread = threading.Thread(target=self._run, name="irp-score", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def submit(self, content: bytes, *, mapped: bool = False) -> Future[Answer]:
        """The model that scored the image, its row (`Inspector.judge`), its map, what the network saw: in the future.

        Args:
            mapped: whether a map is asked for; there is none where the model makes none, or the image has no score.

        Raises:
            queue.Full: too many wait.
        """
        future: Future[Answer] = Future()
        self._queue.put_nowait((content, mapped, future))
        return future

    def close(self) -> None:
        """Score what waits, then end."""
        self._queue.put(None)
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = []
            job = self._queue.get()
            while True:
                if job is None:
                    ended = True
                    break
                if not job[2].cancelled():  # whoever asked has gone
                    batch.append(job)
                if len(batch) == _MOST:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._score(batch)

    def _score(self, batch: list[Job]) -> None:
        model = self._model()
        # Apart: what needs no map does not wait for those that do.
        for mapped in (False, True):
            if alike := [job for job in batch if job[1] == mapped]:
                self._score_alike(model, alike, mapped and model.inspector.scale is not None)

    def _score_alike(self, model: LoadedModel, batch: list[Job], mapped: bool) -> None:
        try:
            seen = list(self._pool.map(lambda job: _see(model.inspector, job[0]), batch))
            maps: dict[int, NDArray[np.float32]] = {}
            pooled: dict[int, NDArray[np.float32]] = {}
            rows = model.inspector.judge(seen, maps.__setitem__ if mapped else None, pooled.__setitem__)
            results: list[Any] = [(model, row, maps.get(place), pooled.get(place)) for place, row in enumerate(rows)]
        except Exception as error:  # a batch that fails takes no other with it
            results = [error] * len(batch)
        for (_, _, future), result in zip(batch, results, strict=True):
            with suppress(InvalidStateError):  # given up meanwhile
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)


def _see(inspector: Inspector, content: bytes) -> Seen | InputError:
    try:
        return inspector.see(content)
    except InputError as error:
        return error
    except MemoryError:
        return InputError("the image needs more memory than there is")
