"""Maps on disk: for each image an overlay, a 16-bit map, and a row of what exceeds the threshold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, write_json
from irp_core.config import Images
from irp_core.errors import InputError
from irp_core.localisation.drawn import drawn
from irp_core.localisation.rendering import RAW_THRESHOLD
from irp_core.localisation.scale import MapScale
from irp_core.packed.images import read_image
from irp_core.text.spreadsheet import escaped

__all__ = ["COLUMNS", "MAPS_INDEX", "MAPS_SCALE", "MapWriter"]

MAPS_INDEX = "maps.csv"
MAPS_SCALE = "maps_scale.json"
COLUMNS = ["path", "overlay", "map", "score", "threshold", "x", "y", "boxes", "error"]


class MapWriter:
    """Writes the maps of images into a folder: `NAME.overlay.png` and `NAME.map.png` beside each other.

    The overlay is upright, as people see the image. The 16-bit map has the pixels of the image's file, one for one, and
    its EXIF orientation: a program that reads both files alike has each score on its pixel.

    Args:
        folder: made if it is not there.
        root: what the images' paths below `folder` start from; an image that lies elsewhere goes by its name.
        scale: what the model's maps are held against.
        images: how an image is read, cropped and resized.
    """

    def __init__(self, folder: Path, root: Path, scale: MapScale, images: Images) -> None:
        self._folder, self._root, self._scale, self._images = folder, root, scale, images
        self._rows: list[dict[str, object]] = []
        self._taken: set[Path] = set()

    def __call__(self, path: Path, view: NDArray[np.float32]) -> None:
        """Write the map of one image; one that can no longer be read has an `error` in its row."""
        row: dict[str, object] = dict.fromkeys(COLUMNS) | {"path": str(path), "threshold": self._scale.threshold}
        try:
            row |= self._write(path, view)
        except InputError as error:
            row["error"] = str(error)
        self._rows.append(row)

    def finish(self) -> pd.DataFrame:
        """Write the index `maps.csv` and the scale `maps_scale.json`; returns the index.

        Of each image: its files below the folder, the highest score and where it is (x, y, in pixels of the upright
        image), and the rectangles (JSON; left, top, right, bottom) of what exceeds the threshold, highest first.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(self._rows, columns=COLUMNS)
        with atomic_path(self._folder / MAPS_INDEX) as temporary:
            escaped(table).to_csv(temporary, index=False)
        write_json(self._folder / MAPS_SCALE, self._scale.model_dump(mode="json") | {"raw_threshold": RAW_THRESHOLD})
        return table

    def _write(self, path: Path, view: NDArray[np.float32]) -> dict[str, object]:
        content = read_image(path, self._images.max_bytes)
        found = drawn(content, view, self._scale, self._images)
        stem = self._place(path)
        shown, raw = stem.with_name(f"{stem.name}.overlay.png"), stem.with_name(f"{stem.name}.map.png")
        shown.parent.mkdir(parents=True, exist_ok=True)
        for file, png in ((shown, found.overlay_png()), (raw, found.raw_png())):
            with atomic_path(file) as temporary:
                temporary.write_bytes(png)
        says = found.says()
        return {
            "overlay": shown.relative_to(self._folder).as_posix(),
            "map": raw.relative_to(self._folder).as_posix(),
            **says,
            "boxes": json.dumps(says["boxes"]),
        }

    def _place(self, path: Path) -> Path:
        """Where an image's files go: by its place below the root, numbered where two images would share it."""
        try:
            inside = path.resolve().relative_to(self._root.resolve())
        except ValueError:
            inside = Path(path.name)
        place, number = self._folder / inside, 2
        while place in self._taken:
            place, number = self._folder / inside.with_name(f"{inside.name}-{number}"), number + 1
        self._taken.add(place)
        return place
