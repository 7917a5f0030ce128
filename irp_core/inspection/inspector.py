"""Scores images with a saved detector: files, bytes or pixels, and where in them the score comes from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from irp_core.backbones import load_backbone
from irp_core.batches.lanes import lanes_for
from irp_core.data.walk import walk
from irp_core.detectors import PadsBatches, load_detector
from irp_core.errors import InputError
from irp_core.features.extraction import network_passes, rows_of
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.images import decode, resized
from irp_core.features.local import feature_set, local_feature, row_shape
from irp_core.features.pooled import PooledExtractor, resolve_device, resolve_precision
from irp_core.features.view_bank import view_bank, views
from irp_core.inspection.locating import Locator
from irp_core.inspection.saving import BACKBONE, described_in
from irp_core.localisation.scale import MapScale
from irp_core.packed.images import is_image, read_image
from irp_core.regular_file import shown

__all__ = ["Inspector", "OnMap", "OnSeen", "Seen", "image_files"]

OnMap = Callable[[Path, NDArray[np.float32]], None]
"""What is done with an image's map (height, width) of the view."""


@dataclass(frozen=True, eq=False)
class Seen:
    """An image as it is scored: the md5 of what was given, and its views (`irp_core.features.view_bank.views`)."""

    md5: str
    views: list[NDArray[np.uint8]]


OnSeen = Callable[[Path, Seen], None]
"""What is done with an image that was read."""


class Inspector:
    """Scores image files, images in memory, or pixels.

    Args:
        directory: what `save_inspector` wrote.
        device: `auto`, `cpu`, `cuda` …
        allow: see `irp_core.detectors.load_detector`.
        maps: whether maps will be asked for: then what says where is loaded, too. None: where the model makes any.

    Raises:
        InputError: an incomplete folder, files that are not the ones it was saved with, or a detector of another
            package that is not allowed.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from PIL import Image
        >>> from irp_core.backbones import load_backbone
        >>> from irp_core.config import Features, Images, Params
        >>> from irp_core.detectors import Gaussian
        >>> from irp_core.features.feature_set import FeatureSet
        >>> from irp_core.inspection import save_inspector
        >>> small = Params(features=Features(scales=(64, 32)), images=Images(size=64))
        >>> detector = Gaussian(torch.device("cpu"))
        >>> _ = detector.fit(FeatureSet(np.random.default_rng(0).normal(size=(8, 4, 512)).astype(np.float32)))
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     (folder / "trained").mkdir()
        ...     detector.save(folder / "trained")
        ...     save_inspector(folder, folder / "trained", load_backbone("bundled", None), small, {"threshold": 1.5})
        ...     Image.new("RGB", (90, 70)).save(folder / "plate.png")
        ...     table = Inspector(folder).score([folder / "plate.png"])
        >>> list(table.columns)
        ['path', 'md5', 'score', 'threshold', 'decision', 'error']
    """

    def __init__(
        self, directory: Path, device: str = "auto", *, allow: Collection[str] = (), maps: bool | None = False
    ) -> None:
        described = described_in(directory)
        self.threshold = described.threshold
        self.images = described.images
        self._bank = view_bank(described.views, described.views.score)
        features = self._features = described.features
        weights = None if features.backbone == "bundled" else directory / BACKBONE
        backbone = load_backbone(features.backbone, weights, features.layers)
        target = self._device = resolve_device(device)
        self._batch = features.batch_size
        network = PooledExtractor(backbone, features.scales, target, resolve_precision(features.precision, target))
        self.detector = load_detector(directory, target, allow=allow)
        needs = sorted(self.detector.needs)
        local = [local_feature(need, backbone, features, self.images) for need in needs]
        self._first, others = network_passes(network, local, features.stored)
        self._upright = [other for other in others if not set(other.features) <= set(self._first.features)]
        self._shapes = {need: row_shape(need, features, self.images) for need in needs}
        self._locator: Locator | None = None
        self.scale: MapScale | None = None
        """What maps are held against; None where there are none."""
        if maps and described.maps is None:
            raise InputError(
                f"{directory}: this model makes no maps: localisation.detector was null, or an older irp made it."
            )
        if maps is not False and described.maps is not None:
            self.scale = described.maps.scale
            self._locator = Locator(
                directory, described.maps, self.detector, network, backbone, features, self.images, target, allow=allow
            )

    def score(
        self,
        paths: Sequence[Path],
        *,
        workers: int = 2,
        progress: Callable[[int, int], None] | None = None,
        unusable: Mapping[str, str] | None = None,
        on_map: OnMap | None = None,
        on_seen: OnSeen | None = None,
    ) -> pd.DataFrame:
        """Score image files: columns `path, md5, score, threshold, decision, error`, one row per file.

        `decision` is `anomalous` above the threshold, else `normal`; an unreadable file has neither score nor
        decision but an `error`, and does not stop the others; so has one whose score is not finite.

        Args:
            workers: threads that decode.
            progress: told how many of how many are done.
            unusable: files that are known to be unreadable, with the reason: rows at the end.
            on_map: given the map of each image that has a score; for an inspector with `maps`.
            on_seen: given each image that could be read, by one of the threads that decode.
        """

        def load(path: Path) -> Seen | InputError:
            try:
                image = self.see(read_image(path, self.images.max_bytes))
            except InputError as error:
                return error
            if on_seen is not None:
                on_seen(path, image)
            return image

        rows: list[dict[str, object]] = []
        with ThreadPoolExecutor(workers) as pool:
            for chunk in _chunks(paths, 4 * workers):
                loaded = list(pool.map(load, chunk))
                given = None if on_map is None else partial(_given_by_path, chunk, on_map)
                rows += [
                    {"path": shown(str(path)), **row}
                    for path, row in zip(chunk, self.judge(loaded, given), strict=True)
                ]
                if progress:
                    progress(len(rows), len(paths))
        without = {"md5": None, "score": None, "threshold": self.threshold, "decision": None}
        rows += [{"path": file, **without, "error": reason} for file, reason in (unusable or {}).items()]
        return pd.DataFrame(rows, columns=["path", "md5", "score", "threshold", "decision", "error"])

    def see(self, image: bytes | NDArray[np.uint8]) -> Seen:
        """What is scored of one image, given as the bytes of its file or as pixels (height, width[, 3]), uint8.

        Pixels are known by the md5 of their memory: they have no file.

        Raises:
            InputError: no image that is read.
        """
        if isinstance(image, bytes):
            if len(image) > self.images.max_bytes:
                raise InputError(f"larger than {self.images.max_bytes} bytes (images.max_bytes): {len(image)}")
            content, decoded = image, decode(image, self.images)
        else:
            content, decoded = np.ascontiguousarray(image).tobytes(), _of_pixels(image, self.images.max_pixels)
        upright = resized(decoded, self.images.shape, self.images.crop)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return Seen(md5, views(upright, self._bank))

    def judge(
        self,
        seen: Sequence[Seen | InputError],
        on_map: Callable[[int, NDArray[np.float32]], None] | None = None,
        on_features: Callable[[int, NDArray[np.float32]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """A row each, `md5, score, threshold, decision, error`; an image that could not be seen has an `error`.

        Args:
            on_map: given the place in `seen` and the map of each image that has a score; for an inspector with `maps`.
            on_features: given the place and what the network saw as a whole, the mean of its views' pooled features.
        """
        bank = [image.views for image in seen if isinstance(image, Seen)]
        features = self.features(bank) if bank else None
        rows = self._rows(seen, features)
        places = [place for place, image in enumerate(seen) if isinstance(image, Seen)]
        if on_features is not None and features is not None:
            for place, pooled in zip(places, features.pooled, strict=True):
                on_features(place, pooled.mean(axis=0))
        if on_map is not None:
            for place, view in zip(places, self.locate(seen, features), strict=True):
                if rows[place]["score"] is not None:
                    on_map(place, view)
        return rows

    def _rows(self, seen: Sequence[Seen | InputError], features: FeatureSet | None) -> list[dict[str, Any]]:
        scores = iter([] if features is None else self.detector.score(features).tolist())
        rows = []
        for image in seen:
            score, error = (None, str(image)) if isinstance(image, InputError) else (next(scores), None)
            if score is not None and not math.isfinite(score):
                score, error = None, f"the score is not finite ({score}): the detector's weights are broken"
            decision = None if score is None else ("anomalous" if score > self.threshold else "normal")
            md5 = image.md5 if isinstance(image, Seen) else None
            rows.append({"md5": md5, "score": score, "threshold": self.threshold, "decision": decision, "error": error})
        return rows

    def find_small_batches(self, *, side_by_side: bool = True) -> None:
        """Look for batches smaller than the training's that give the same bits, and whether they may be computed side
        by side, each on one core: one image costs half or less then, and more of them are scored in a second.

        Takes a second or two, once: for what scores image after image (a service), not for a folder.
        """
        lanes = lanes_for(self._device) if side_by_side else None
        self._first.find_small_batches({pixels.shape[:2] for pixels in self._blank()}, self._batch, lanes)
        for upright in self._upright:
            upright.find_small_batches({self.images.shape}, self._batch, lanes)
        if self._locator is not None:
            self._locator.find_small_batches(lanes)
        if isinstance(self.detector, PadsBatches):
            self.detector.find_small_batches()

    def _blank(self) -> list[NDArray[np.uint8]]:
        height, width = self.images.shape
        return views(Image.new("RGB", (width, height)), self._bank)

    def features(self, bank: Sequence[Sequence[NDArray[np.uint8]]]) -> FeatureSet:
        """What the detector sees of images, given the views of each (`irp_core.features.view_bank.views`)."""
        count = len(bank[0])
        # Batches of the same shape as in training, so that a training image gets its very score again.
        rows = rows_of(self._first, [view for image in bank for view in image], self._batch)
        pooled = rows.pop("pooled").reshape(len(bank), count, -1)
        local: dict[Local, NDArray[Any]] = {name: found[::count] for name, found in rows.items() if name != "pooled"}
        for upright in self._upright:
            found = rows_of(upright, [image[0] for image in bank], self._batch)
            local |= {name: one for name, one in found.items() if name != "pooled"}
        return feature_set(pooled, local, self._shapes)

    def locate(
        self, seen: Sequence[Seen | InputError], features: FeatureSet | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The map (height, width) of the view of each image that could be seen.

        Args:
            features: `features` of these images, where they are known; without, no more is computed than maps need.

        Raises:
            ValueError: an inspector that was opened without `maps`, or of a model that makes none.
        """
        if self._locator is None:
            raise ValueError("Inspector.locate needs maps=True, and a model that makes maps.")
        bank = [image.views for image in seen if isinstance(image, Seen)]
        if features is None and bank and self._locator.own:
            features = self.features(bank)
        yield from self._locator([views_[0] for views_ in bank], features)


def _given_by_path(paths: Sequence[Path], on_map: OnMap, place: int, view: NDArray[np.float32]) -> None:
    on_map(paths[place], view)


def _of_pixels(pixels: NDArray[Any], max_pixels: int) -> Image.Image:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
        raise InputError(
            f"expected pixels (height, width) or (height, width, 3) of uint8, found {pixels.dtype} {shape}"
        )
    if shape[0] * shape[1] > max_pixels:
        raise InputError(f"more than {max_pixels} pixels (images.max_pixels): {shape[1]} x {shape[0]}")
    return Image.fromarray(pixels).convert("RGB")


def image_files(path: Path) -> tuple[list[Path], dict[str, str]]:
    """An image, or every image below a folder; and what looks like one and cannot be used, with the reason.

    Raises:
        InputError: nothing there, or no image.
    """
    if is_image(path):
        return [path], {}
    if not path.exists():
        raise InputError(f"{path}: expected an image or a folder of images, found nothing.")
    if not path.is_dir():
        return [path], {}
    tree = walk(path)
    unusable = {str(path / name): reason for name, reason in tree.quarantined.items()}
    if not tree.images:
        first = f" ({len(unusable)} unreadable, first: {next(iter(unusable.values()))})" if unusable else ""
        raise InputError(f"{path}: expected an image or a folder of images, found none{first}.")
    return [path / name for name in tree.images], unusable


def _chunks(paths: Sequence[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(paths)
    while chunk := list(islice(iterator, size)):
        yield chunk
