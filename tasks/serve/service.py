"""A service from end to end: model, batches, door and server."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path

import uvicorn

from irp_core.config import Params
from irp_core.errors import InputError
from tasks.feedback.answers import Feedback
from tasks.review.door import Impatient
from tasks.scoring import local_model, no_model
from tasks.serve.app import make_app
from tasks.serve.batching import Batcher
from tasks.serve.door import Door, Limits, is_loopback
from tasks.serve.kept import Kept
from tasks.serve.metrics import Metrics
from tasks.serve.model import ServedModel, load_model

__all__ = ["LIMITS", "Service"]

LIMITS = Limits()
_CONNECTIONS = 100  # requests at once; more are answered 503


class Service:
    """Serves one model until it is told to stop.

    Args:
        reference: a run's folder, or a registered model `NAME`, `NAME/version` or `NAME@alias`.
        host: address to listen at.
        port: 0 for a free one.
        token: that requests must carry.
        hosts: further names that requests may be addressed to.
        every: seconds between two looks where the alias points.
        kept: where alarms and images near the threshold are kept for people's answers.

    Raises:
        InputError: no such model, an address beyond this machine without a token, or a port that cannot be had.
    """

    def __init__(
        self,
        reference: str,
        params: Params,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        hosts: Collection[str] = (),
        every: float = 10.0,
        limits: Limits = LIMITS,
        allow: Collection[str] = (),
        kept: Kept | None = None,
    ) -> None:
        local = is_loopback(host)
        if not local and not token:
            raise InputError(
                f"--host {host} lets other machines in: expected a token in the environment variable IRP_SERVE_TOKEN."
            )
        if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
            raise InputError("IRP_SERVE_TOKEN must have at least 16 characters, all of ASCII.")
        load = partial(load_model, params=params, max_pixels=limits.pixels, allow=allow)
        resolve = None if local_model(reference) else partial(_version, params=params)
        self.model = ServedModel(reference, load, resolve)
        self._batcher = Batcher(lambda: self.model.current, workers=params.features.workers)
        self._every = every
        self.metrics = Metrics()
        if kept is not None and params.review.decisions is None:
            raise InputError("--keep needs review.decisions, the file that answers go to. Got null.")
        self._kept = kept
        feedback = None if kept is None else Feedback(kept, Path(str(params.review.decisions)))
        app = make_app(self.model, self._batcher, self.metrics, limits, kept, feedback)
        door = Door(app, limits, token, tuple(hosts) if local or hosts else None)
        config = uvicorn.Config(
            door, host=host, port=port, http=Impatient, ws="none", log_level="warning", server_header=False,
            limit_concurrency=_CONNECTIONS, timeout_keep_alive=10, timeout_graceful_shutdown=30, lifespan="off",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        try:
            self._socket = config.bind_socket()
        except SystemExit:  # uvicorn's way to say that the port is taken
            self._batcher.close()
            raise InputError(f"--port {port}: cannot be had at {host}; another service may be listening.") from None
        self.port = int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Answer until SIGINT or SIGTERM; requests that are being answered are answered."""
        self.model.follow(self._every)
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.model.stop()
            self._batcher.close()
            if self._kept is not None:
                self._kept.close()
            logging.getLogger(__name__).info("%s: the service ended", self.model.reference)

    def stop(self) -> None:
        """Let `run` return."""
        self._server.should_exit = True


def _version(reference: str, params: Params) -> str:
    from tasks.tracking.queries import client_of, model_version

    found = model_version(reference, client_of(params))
    if found is None:
        raise no_model(reference, params)
    return f"{found.name}/{found.version}"
