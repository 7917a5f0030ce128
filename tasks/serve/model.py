"""The model that answers: loaded, warmed beside the one before, exchanged between two batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.inspection import Inspector
from tasks.scoring import open_inspector

__all__ = ["LoadedModel", "ServedModel", "load_model"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that is ready to score.

    Attributes:
        name: a run's folder, or `NAME/version`.
        loaded: seconds since the epoch.
    """

    name: str
    inspector: Inspector
    loaded: float


def load_model(name: str, params: Params, *, max_pixels: int, allow: Collection[str] = ()) -> LoadedModel:
    """Load a model and warm it: find its small batches and score two images that nobody asked for.

    Args:
        name: a run's folder, or a registered version.
        max_pixels: of an image, however many its settings allow.

    Raises:
        InputError: no such model, or one that cannot be used.
    """
    inspector = open_inspector(name, params, allow=allow, maps=None)
    limit = min(max_pixels, inspector.images.max_pixels)
    inspector.images = inspector.images.model_copy(update={"max_pixels": limit})
    inspector.find_small_batches()
    inspector.judge([inspector.see(np.full((32, 32), value, dtype=np.uint8)) for value in (0, 128)])
    return LoadedModel(name, inspector, time.time())


class ServedModel:
    """The model of a reference, which follows where a registered alias points.

    Args:
        reference: a run's folder, `NAME/version`, `NAME` or `NAME@alias`; the last two are followed.
        resolve: reference → the version that it means now; None: the reference stays what it is.
        load: the name of a version → the model.

    Raises:
        InputError: there is no such model to begin with.
    """

    def __init__(
        self, reference: str, load: Callable[[str], LoadedModel], resolve: Callable[[str], str] | None = None
    ) -> None:
        self.reference = reference
        self._load, self._resolve = load, resolve
        self.current = load(reference if resolve is None else resolve(reference))
        self.registry_reached = True
        self._refused: str | None = None
        self._stop = threading.Event()

    def look(self) -> bool:
        """Ask once where the reference points, and exchange the model where it is another; whether it was exchanged.

        Whatever fails, the last good model goes on answering; a version that cannot be loaded is tried once.
        """
        if self._resolve is None:
            return False
        try:
            wanted = self._resolve(self.reference)
        except Exception as error:  # MLflow, its database and the network each raise their own
            if self.registry_reached:
                _LOG.warning(
                    "%s: the registry does not answer (%s); %s goes on.", self.reference, error, self.current.name
                )
            self.registry_reached = False
            return False
        self.registry_reached = True
        if wanted in (self.current.name, self._refused):
            return False
        try:
            self.current = self._load(wanted)
        except InputError as error:
            self._refused = wanted
            _LOG.error("%s cannot be served (%s); %s goes on.", wanted, error, self.current.name)
            return False
        except Exception as error:  # a download that broke off: the next look tries again
            _LOG.warning("%s was not loaded (%s); %s goes on.", wanted, error, self.current.name)
            return False
        self._refused = None
        _LOG.warning("%s: %s is in service.", self.reference, wanted)
        return True

    def follow(self, every: float) -> None:
        """Look every so many seconds, in the background, until `stop`."""
        if self._resolve is not None:
            threading.Thread(target=self._follow, args=(every,), name="irp-follow", daemon=True).start()

    def _follow(self, every: float) -> None:
        while not self._stop.wait(every):
            self.look()

    def stop(self) -> None:
        self._stop.set()
