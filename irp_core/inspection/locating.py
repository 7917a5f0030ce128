"""Where in images a model sees something: its own map, or that of the detector beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from irp_core.backbones import Backbone
from irp_core.batches.lanes import Lanes
from irp_core.config import Features, Images
from irp_core.detectors import Detector, Localises, load_detector
from irp_core.detectors.protocol import ScoreGradient
from irp_core.errors import InputError
from irp_core.features.extraction import network_passes, rows_of
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.local import feature_set, local_feature, row_shape
from irp_core.features.pooled import PooledExtractor
from irp_core.inspection.saving import Maps
from irp_core.localisation.input_gradient import input_gradient_cells
from irp_core.localisation.scale import view_map
from irp_core.model_files import LOCALISER

__all__ = ["Locator"]


class Locator:
    """Makes the maps of a saved model.

    Args:
        directory: what `irp_core.inspection.save_inspector` wrote.
        maps: what it says of maps.
        detector: the model's own detector.
        network: what shows views to the backbone.

    Raises:
        InputError: a detector that does not say where.
    """

    def __init__(
        self,
        directory: Path,
        maps: Maps,
        detector: Detector,
        network: PooledExtractor,
        backbone: Backbone,
        features: Features,
        images: Images,
        device: torch.device,
        *,
        allow: Collection[str] = (),
    ) -> None:
        localiser = load_detector(directory / LOCALISER, device, allow=allow) if maps.sha256 else detector
        self._gradient = localiser if isinstance(localiser, ScoreGradient) else None
        """What says where by how its score answers to the pixels: it needs the picture, and no features."""
        if self._gradient is None and not isinstance(localiser, Localises):
            raise InputError(f"{directory}: expected a detector that says where, found {maps.detector}.")
        self.own = maps.sha256 is None and self._gradient is None
        """Whether the model's own detector says where from its features: then these are what is needed."""
        self._localiser, self._network = localiser, network
        self.needs: tuple[Local, ...] = () if self._gradient is not None else localiser.needs
        self._shape, self._batch = images.shape, features.batch_size
        local = [local_feature(need, backbone, features, images) for need in sorted(self.needs)]
        _, self._passes = network_passes(network, local, features.stored)
        self._rows = {need: row_shape(need, features, images) for need in self.needs}

    def find_small_batches(self, lanes: Lanes | None) -> None:
        """As `irp_core.inspection.Inspector.find_small_batches`."""
        for one in self._passes:
            one.find_small_batches({self._shape}, self._batch, lanes)

    def __call__(
        self, upright: Sequence[NDArray[np.uint8]], features: FeatureSet | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The map (height, width) of each upright view (height, width, 3), of uint8.

        Args:
            features: of these images, where they are known: what they hold is not computed again.
        """
        if not len(upright):
            return
        if self._gradient is not None:
            for view in upright:
                yield view_map(input_gradient_cells(self._network, self._gradient, [view])[0], self._shape)
            return
        assert isinstance(self._localiser, Localises)
        if features is None or any(getattr(features, need) is None for need in self.needs):
            found = {name: rows for one in self._passes for name, rows in rows_of(one, upright, self._batch).items()}
            # A detector that was fitted for its maps alone reads nothing of the whole image.
            nothing = np.zeros((len(upright), 1, 1), dtype=np.float32)
            features = feature_set(nothing, {need: found[need] for need in self.needs}, self._rows)
        for cells in self._localiser.maps(features).numpy():
            yield view_map(cells, self._shape)
