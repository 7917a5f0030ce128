"""Micro-batches: what arrives while a batch is being scored makes the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from irp_core.errors import InputError
from irp_core.inspection import Inspector, Seen
from tasks.serve.model import LoadedModel

__all__ = ["Batcher"]

Answer = tuple[LoadedModel, dict[str, Any]]
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
        self._queue: queue.Queue[tuple[bytes, Future[Answer]] | None] = queue.Queue(waiting)
        self._pool = ThreadPoolExecutor(workers, "irp-decode")
        self._thread = threading.Thread(target=self._run, name="irp-score", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def submit(self, content: bytes) -> Future[Answer]:
        """The model that scored the image, and its row (`Inspector.judge`), in the future.

        Raises:
            queue.Full: too many wait.
        """
        future: Future[Answer] = Future()
        self._queue.put_nowait((content, future))
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
                if not job[1].cancelled():  # whoever asked has gone
                    batch.append(job)
                if len(batch) == _MOST:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._score(batch)

    def _score(self, batch: list[tuple[bytes, Future[Answer]]]) -> None:
        model = self._model()
        try:
            seen = list(self._pool.map(lambda job: _see(model.inspector, job[0]), batch))
            results: list[Any] = [(model, row) for row in model.inspector.judge(seen)]
        except Exception as error:  # a batch that fails takes no other with it
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
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
