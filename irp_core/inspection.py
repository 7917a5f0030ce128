"""A refined detector, complete: everything needed to score new images, in one folder.

Files: `detector.json` and `weights.safetensors` of the detector, `inspector.json` (how an image becomes
features, the operating threshold, the scale of its maps), the folder `localiser` where another detector says where,
and, unless the backbone is bundled, `backbone.safetensors`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, FiniteFloat, ValidationError
from safetensors.torch import save_file

from irp_core.atomic import read_json_object, write_json
from irp_core.backbones import Backbone, load_backbone
from irp_core.config import Features, Images, Params, Views
from irp_core.data.walk import walk
from irp_core.detectors import Localises, load_detector
from irp_core.errors import InputError
from irp_core.features.extraction import network_passes, rows_of
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.images import decode, resized
from irp_core.features.local import feature_set, local_feature, row_shape
from irp_core.features.pooled import PooledExtractor, resolve_device, resolve_precision
from irp_core.features.view_bank import view_bank, views
from irp_core.hashing import file_sha256
from irp_core.localisation.maps import MapScale, view_map
from irp_core.model_files import DETECTOR, INSPECTOR, LOCALISER, WEIGHTS
from irp_core.regular_file import read_regular, shown
from irp_core.statistics.finite import finite_threshold

__all__ = ["Inspector", "OnMap", "SavedMaps", "image_files", "save_inspector"]

_BACKBONE = "backbone.safetensors"
OnMap = Callable[[Path, NDArray[np.float32]], None]
"""What is done with an image's map (height, width) of the view."""


@dataclass(frozen=True)
class SavedMaps:
    """The maps of a detector that is to be saved.

    Attributes:
        detector: name of the one that makes them.
        scale: the values of a `MapScale`.
        folder: where that detector is saved, unless it is the model's own.
    """

    detector: str
    scale: Mapping[str, Any]
    folder: Path


def save_inspector(
    directory: Path,
    detector: Path,
    backbone: Backbone,
    params: Params,
    operating: Mapping[str, object],
    maps: SavedMaps | None = None,
) -> None:
    """Write a complete inspector into an existing directory.

    Args:
        detector: directory of the saved detector.
        operating: `threshold`, above which a score is anomalous, and what is known of it.
        maps: what says where; None: the model makes no maps.
    """
    for name in (DETECTOR, WEIGHTS):
        (directory / name).write_bytes((detector / name).read_bytes())
    if backbone.name != "bundled":
        save_file({k: v.contiguous() for k, v in backbone.network.state_dict().items()}, directory / _BACKBONE)
    described = {
        "threshold": finite_threshold(float(str(operating["threshold"])), "the operating threshold"),
        "operating": dict(operating),
        "images": params.images.set_keys(),
        "views": params.views.model_dump(mode="json"),
        "features": params.features.model_dump(
            mode="json",
            include={
                "backbone",
                "scales",
                "precision",
                "patch_grid",
                "patch_channels",
                "kurtosis_scale",
                "cell_scale",
                "cell",
                "cell_channels",
            },
        )
        | {"layers": list(backbone.layers)},
        "detector_sha256": file_sha256(directory / WEIGHTS),
        "description_sha256": file_sha256(directory / DETECTOR),
        "backbone_sha256": None if backbone.name == "bundled" else file_sha256(directory / _BACKBONE),
        "maps": None if maps is None else _save_localiser(directory, maps),
    }
    write_json(directory / INSPECTOR, described)


def _save_localiser(directory: Path, maps: SavedMaps) -> dict[str, Any]:
    described: dict[str, Any] = {"detector": maps.detector, "scale": dict(maps.scale), "sha256": None}
    if (maps.folder / DETECTOR).is_file():  # else the model's own detector says where
        (directory / LOCALISER).mkdir()
        for name in (DETECTOR, WEIGHTS):
            (directory / LOCALISER / name).write_bytes((maps.folder / name).read_bytes())
        described["sha256"] = {name: file_sha256(directory / LOCALISER / name) for name in (DETECTOR, WEIGHTS)}
    return described


class _Maps(BaseModel):
    """What `inspector.json` says of maps; `sha256` by file of folder `localiser`, null where there is none."""

    detector: str
    scale: MapScale
    sha256: dict[str, str] | None


class _Described(BaseModel):
    """What `inspector.json` says; keys of later versions are left alone."""

    threshold: FiniteFloat
    images: Images
    views: Views
    features: Features
    detector_sha256: str
    description_sha256: str | None = None  # irp up to 0.7 noted neither of these
    backbone_sha256: str | None = None
    maps: _Maps | None = None  # irp up to 0.12 made none


def _described(directory: Path) -> _Described:
    """Read `inspector.json`, and hold the files beside it against the digests in it."""
    file = directory / INSPECTOR
    if not file.is_file():
        raise InputError(f"{directory}: expected a refined detector (inspector.json), found none.")
    try:
        described = _Described.model_validate(read_json_object(file))
    except ValidationError as error:
        first = error.errors()[0]
        key, found = ".".join(map(str, first["loc"])), repr(first["input"])
        raise InputError(f"{file}: {key}: {first['msg']}. Got {found[:80]}.") from None
    for name, expected in (
        (WEIGHTS, described.detector_sha256),
        (DETECTOR, described.description_sha256),
        (_BACKBONE, described.backbone_sha256),
        *((f"{LOCALISER}/{name}", sha256) for name, sha256 in _localiser_digests(described.maps).items()),
    ):
        if expected is not None and (found := file_sha256(directory / name)) != expected:
            raise InputError(f"{directory / name}: expected sha256 {expected[:16]}…, found {found[:16]}…")
    return described


def _localiser_digests(maps: _Maps | None) -> dict[str, str]:
    """The digest of each file of the folder `localiser`; a file that is named by none is not read."""
    digests = (maps.sha256 if maps else None) or {}
    return {name: digests.get(name, "none noted") for name in (DETECTOR, WEIGHTS)} if digests else {}


class Inspector:
    """Scores image files.

    Args:
        directory: what `save_inspector` wrote.
        device: `auto`, `cpu`, `cuda` …
        allow: see `irp_core.detectors.load_detector`.
        maps: whether maps will be asked for: then what says where is loaded, too.

    Raises:
        InputError: an incomplete folder, files that are not the ones it was saved with, or a detector of another
            package that is not allowed.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from PIL import Image
        >>> from irp_core.detectors import Gaussian
        >>> from irp_core.features.feature_set import FeatureSet
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
        self, directory: Path, device: str = "auto", *, allow: Collection[str] = (), maps: bool = False
    ) -> None:
        described = _described(directory)
        self.threshold = described.threshold
        self._images, self._views = described.images, described.views
        features = self._features = described.features
        weights = None if features.backbone == "bundled" else directory / _BACKBONE
        backbone = load_backbone(features.backbone, weights, features.layers)
        target = resolve_device(device)
        self._batch = features.batch_size
        network = PooledExtractor(backbone, features.scales, target, resolve_precision(features.precision, target))
        self.detector = load_detector(directory, target, allow=allow)
        self._localiser: Localises | None = None
        self.scale: MapScale | None = None
        """What maps are held against; None where none were asked for."""
        needs = set(self.detector.needs)
        if maps:
            if described.maps is None:
                raise InputError(
                    f"{directory}: this model makes no maps: localisation.detector was null, or an older irp made it."
                )
            own = described.maps.sha256 is None
            localiser = self.detector if own else load_detector(directory / LOCALISER, target, allow=allow)
            if not isinstance(localiser, Localises):
                raise InputError(f"{directory}: expected a detector that says where, found {described.maps.detector}.")
            self._localiser, self.scale = localiser, described.maps.scale
            needs |= set(localiser.needs)
        local = [local_feature(need, backbone, features, self._images) for need in sorted(needs)]
        self._first, others = network_passes(network, local)
        self._upright = [other for other in others if not set(other.features) <= set(self._first.features)]
        self._shapes = {need: row_shape(need, features, self._images) for need in needs}

    def score(
        self,
        paths: Sequence[Path],
        *,
        workers: int = 2,
        progress: Callable[[int, int], None] | None = None,
        unusable: Mapping[str, str] | None = None,
        on_map: OnMap | None = None,
    ) -> pd.DataFrame:
        """Score image files: columns `path, md5, score, threshold, decision, error`, one row per file.

        `decision` is `anomalous` above the threshold, else `normal`; an unreadable file has neither score nor
        decision but an `error`, and does not stop the others; so has one whose score is not finite.

        Args:
            workers: threads that decode.
            progress: told how many of how many are done.
            unusable: files that are known to be unreadable, with the reason: rows at the end.
            on_map: given the map of each image that has a score; for an inspector with `maps`.
        """
        bank = view_bank(self._views, self._views.score)

        def load(path: Path) -> tuple[str, list[NDArray[np.uint8]] | None, str | None]:
            try:
                content = read_regular(path, self._images.max_bytes)
                image = resized(decode(content, self._images), self._images.shape, self._images.crop)
            except InputError as error:
                return "", None, str(error)
            return hashlib.md5(content, usedforsecurity=False).hexdigest(), views(image, bank), None

        rows: list[dict[str, object]] = []
        with ThreadPoolExecutor(workers) as pool:
            for chunk in _chunks(paths, 4 * workers):
                loaded = list(pool.map(load, chunk))
                seen = self._seen([pixels for _, pixels, _ in loaded if pixels is not None])
                scores = iter([] if seen is None else self.detector.score(seen).tolist())
                maps = iter([] if seen is None or on_map is None else self.maps(seen))
                for path, (md5, pixels, error) in zip(chunk, loaded, strict=True):
                    score = None if pixels is None else next(scores)
                    if score is not None and not math.isfinite(score):
                        score, error = None, f"the score is not finite ({score}): the detector's weights are broken"
                    located = next(maps) if on_map and pixels is not None else None
                    decision = None if score is None else ("anomalous" if score > self.threshold else "normal")
                    rows.append(
                        {"path": shown(str(path)), "md5": md5 or None, "score": score, "threshold": self.threshold,
                         "decision": decision, "error": error}
                    )  # fmt: skip
                    if on_map and located is not None and score is not None:
                        on_map(path, located)
                    if progress:
                        progress(len(rows), len(paths))
        without = {"md5": None, "score": None, "threshold": self.threshold, "decision": None}
        rows += [{"path": file, **without, "error": reason} for file, reason in (unusable or {}).items()]
        return pd.DataFrame(rows, columns=["path", "md5", "score", "threshold", "decision", "error"])

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

    def maps(self, features: FeatureSet) -> Iterator[NDArray[np.float32]]:
        """The map (height, width) of the view of each image.

        Raises:
            ValueError: an inspector without `maps`.
        """
        if self._localiser is None:
            raise ValueError("Inspector.maps needs an inspector that was opened with maps=True.")
        for cells in self._localiser.maps(features).numpy():
            yield view_map(cells, self._images.shape)

    @property
    def images(self) -> Images:
        """How an image is read, cropped and resized."""
        return self._images

    def _seen(self, bank: Sequence[Sequence[NDArray[np.uint8]]]) -> FeatureSet | None:
        return self.features(bank) if bank else None


def image_files(path: Path) -> tuple[list[Path], dict[str, str]]:
    """An image, or every image below a folder; and what looks like one and cannot be used, with the reason.

    Raises:
        InputError: nothing there, or no image.
    """
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
