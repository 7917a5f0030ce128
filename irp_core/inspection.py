"""A refined detector, complete: everything needed to score new images, in one folder.

Files: `detector.json` and `weights.safetensors` of the detector, `inspector.json` (how an image becomes
features, the operating threshold) and, unless the backbone is bundled, `backbone.safetensors`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.torch import save_file

from irp_core.atomic import read_json, write_json
from irp_core.backbones import Backbone, load_backbone
from irp_core.config import Features, Images, Params, Views
from irp_core.detectors import load_detector
from irp_core.detectors.saving import DETECTOR, WEIGHTS
from irp_core.errors import InputError
from irp_core.features.images import decode, square, view_angles, views
from irp_core.features.local import feature_set, local_extractor
from irp_core.features.pooled import PooledExtractor, resolve_device, resolve_precision
from irp_core.hashing import file_sha256
from irp_core.regular_file import read_regular

__all__ = ["INSPECTOR", "Inspector", "save_inspector"]

INSPECTOR = "inspector.json"
"""What makes a folder with a detector a complete inspector."""

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
        "threshold": operating["threshold"],
        "operating": dict(operating),
        "images": params.images.set_keys(),
        "views": params.views.model_dump(mode="json"),
        "features": params.features.model_dump(
            mode="json", include={"backbone", "scales", "precision", "patch_grid", "patch_channels", "kurtosis_scale"}
        )
        | {"layers": list(backbone.layers)},
        "detector_sha256": file_sha256(directory / WEIGHTS),
    }
    write_json(directory / INSPECTOR, described)


class Inspector:
    """Scores image files.

    Args:
        directory: what `save_inspector` wrote.
        device: `auto`, `cpu`, `cuda` …

    Raises:
        InputError: an incomplete folder, or weights that are not the ones it was saved with.

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

    def __init__(self, directory: Path, device: str = "auto") -> None:
        file = directory / INSPECTOR
        if not file.is_file():
            raise InputError(f"{directory}: expected a refined detector (inspector.json), found none.")
        described = read_json(file)
        found = file_sha256(directory / WEIGHTS)
        if found != described["detector_sha256"]:
            raise InputError(
                f"{directory / WEIGHTS}: expected sha256 {described['detector_sha256'][:16]}…, found {found[:16]}…"
            )
        self.threshold = float(described["threshold"])
        self._images = Images.model_validate(described["images"])
        self._views = Views.model_validate(described["views"])
        features = self._features = Features.model_validate(described["features"])
        weights = None if features.backbone == "bundled" else directory / _BACKBONE
        backbone = load_backbone(features.backbone, weights, features.layers)
        target = resolve_device(device)
        self._batch = features.batch_size
        self._extractor = PooledExtractor(
            backbone, features.scales, target, resolve_precision(features.precision, target)
        )
        self._detector = load_detector(directory, target)
        self._local = {name: local_extractor(name, self._extractor, features) for name in self._detector.needs}

    def score(
        self,
        paths: Sequence[Path],
        *,
        workers: int = 2,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Score image files: columns `path, md5, score, threshold, decision, error`, one row per file.

        `decision` is `anomalous` above the threshold, else `normal`; an unreadable file has neither score nor
        decision but an `error`, and does not stop the others.
        """
        angles = view_angles(self._views.score, jitter_degrees=self._views.jitter_degrees, seed=self._views.seed)

        def load(path: Path) -> tuple[str, NDArray[np.uint8] | None, str | None]:
            try:
                content = read_regular(path, self._images.max_bytes)
                image = square(decode(content, self._images), self._images.size, self._images.crop)
            except InputError as error:
                return "", None, str(error)
            return hashlib.md5(content, usedforsecurity=False).hexdigest(), views(image, angles), None

        rows: list[dict[str, object]] = []
        with ThreadPoolExecutor(workers) as pool:
            for chunk in _chunks(paths, 4 * workers):
                for path, (md5, pixels, error) in zip(chunk, pool.map(load, chunk), strict=True):
                    score = None if pixels is None else self._score_one(pixels)
                    decision = None if score is None else ("anomalous" if score > self.threshold else "normal")
                    rows.append(
                        {"path": str(path), "md5": md5 or None, "score": score, "threshold": self.threshold,
                         "decision": decision, "error": error}
                    )  # fmt: skip
                    if progress:
                        progress(len(rows), len(paths))
        return pd.DataFrame(rows, columns=["path", "md5", "score", "threshold", "decision", "error"])

    def _score_one(self, pixels: NDArray[np.uint8]) -> float:
        # Batches of the same shape as in training, so that a training image gets its very score again.
        count = len(pixels)
        padded = np.concatenate([pixels, np.repeat(pixels[-1:], -count % self._batch, axis=0)])
        batches = [self._extractor(padded[i : i + self._batch]) for i in range(0, len(padded), self._batch)]
        pooled = np.concatenate(batches)[:count][None]
        # The upright view alone, in a batch of its own, as `extract` pads the last one.
        upright = np.repeat(pixels[:1], self._batch, axis=0)
        local = {name: extractor(upright)[:1] for name, extractor in self._local.items()}
        return float(self._detector.score(feature_set(pooled, local, self._features.patch_grid))[0])


def _chunks(paths: Sequence[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(paths)
    while chunk := list(islice(iterator, size)):
        yield chunk
