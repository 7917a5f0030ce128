"""The maps of a run's training images, drawn over them for pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from irp_core.errors import InputError
from irp_core.localisation.scale import MapScale, view_map
from irp_core.packed.images import read_image
from irp_core.report.thumbnails import as_jpeg
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import read_cells

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["RunMaps"]


@dataclass(frozen=True)
class RunMaps:
    """What detectors that did not train on an image see in it.

    They were computed when the run ended (`irp_core.results.localising`): no network is needed to draw them, and a page
    shows the same in years. A run without maps, or an image without, is shown without.
    """

    run: RunDirectory

    @cached_property
    def scale(self) -> MapScale | None:
        """What the maps are held against; None where the run has none."""
        found = self.run.summary().get("maps")
        return None if found is None else MapScale.model_validate(found["scale"])

    @cached_property
    def _cells(self) -> dict[str, NDArray[np.float32]]:
        try:
            return {} if self.scale is None else read_cells(self.run.step("localise"))
        except (InputError, OSError):  # the step's folder was cleared away
            return {}

    def __bool__(self) -> bool:
        return bool(self._cells)

    def overlay(self, md5: str, path: Path | None, size: int) -> Image.Image | None:
        """The image with its map, within a square of `size` pixels; None where one of the two is not to be had."""
        from irp_core.localisation.drawn import drawn  # matplotlib, which a page without maps does not need

        cells, images = self._cells.get(md5), self.run.params().images
        if path is None or cells is None or self.scale is None:
            return None
        try:
            content = read_image(path, images.max_bytes)
            return drawn(content, view_map(cells, images.shape), self.scale, images).overlay(size)
        except InputError:
            return None

    def jpeg(self, md5: str, path: Path | None, size: int) -> bytes | None:
        """`overlay` as a file."""
        found: Any = self.overlay(md5, path, size)
        return None if found is None else as_jpeg(found)
