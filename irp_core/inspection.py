"""A refined detector, complete: everything needed to score new images, in one folder.

Files: `detector.json` and `weights.safetensors` of the detector, `inspector.json` (how an image becomes
features, the operating threshold) and, unless the backbone is bundled, `backbone.safetensors`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from irp_core.detectors import load_detector
from irp_core.errors import InputError
from irp_core.features.extraction import network_passes, rows_of
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.images import decode, resized
from irp_core.features.local import feature_set, local_feature, row_shape
from irp_core.features.pooled import PooledExtractor, resolve_device, resolve_precision
from irp_core.features.view_bank import view_bank, views
from irp_core.hashing import file_sha256
from irp_core.model_files import DETECTOR, INSPECTOR, WEIGHTS
from irp_core.regular_file import read_regular, shown
from irp_core.statistics.finite import finite_threshold

__all__ = ["Inspector", "image_files", "save_inspector"]

_BACKBONE = "backbone.safetensors"


def save_inspector(
    directory: Path, detector: Path, backbone: Backbone, params: Params, operating: Mapping[str, object]
) -> None:
    """Write a complete inspector into an existing directory.

    Args:
        detector: directory of the saved detector.
        operating: `threshold`, above which a score is anomalous, and what is known of it.
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
    }
    write_json(directory / INSPECTOR, described)


class _Described(BaseModel):
    """What `inspector.json` says; keys of later versions are left alone."""

    threshold: FiniteFloat
    images: Images
    views: Views
    features: Features
    detector_sha256: str
    description_sha256: str | None = None  # irp up to 0.7 noted neither of these
    backbone_sha256: str | None = None


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
    ):
        if expected is not None and (found := file_sha256(directory / name)) != expected:
            raise InputError(f"{directory / name}: expected sha256 {expected[:16]}…, found {found[:16]}…")
    return described


class Inspector:
    """Scores image files.

    Args:
        directory: what `save_inspector` wrote.
        device: `auto`, `cpu`, `cuda` …
        allow: see `irp_core.detectors.load_detector`.

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

    def __init__(self, directory: Path, device: str = "auto", *, allow: Collection[str] = ()) -> None:
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
        needs = self.detector.needs
        local = [local_feature(need, backbone, features, self._images) for need in needs]
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
    ) -> pd.DataFrame:
        """Score image files: columns `path, md5, score, threshold, decision, error`, one row per file.

        `decision` is `anomalous` above the threshold, else `normal`; an unreadable file has neither score nor
        decision but an `error`, and does not stop the others; so has one whose score is not finite.
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
                scores = iter(self._scores([pixels for _, pixels, _ in loaded if pixels is not None]))
                for path, (md5, pixels, error) in zip(chunk, loaded, strict=True):
                    score = None if pixels is None else next(scores)
                    if score is not None and not math.isfinite(score):
                        score, error = None, f"the score is not finite ({score}): the detector's weights are broken"
                    decision = None if score is None else ("anomalous" if score > self.threshold else "normal")
                    rows.append(
                        {"path": shown(str(path)), "md5": md5 or None, "score": score, "threshold": self.threshold,
                         "decision": decision, "error": error}
                    )  # fmt: skip
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

    def _scores(self, bank: Sequence[Sequence[NDArray[np.uint8]]]) -> list[float]:
        return self.detector.score(self.features(bank)).tolist() if bank else []


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
