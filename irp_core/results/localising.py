"""Where a model sees something: the detector of its maps, their scale, and how well they hit known defects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.backbones import load_backbone
from irp_core.config import Images
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.detectors import Detector, Localises, detector_class, load_detector
from irp_core.detectors.protocol import ScoreGradient
from irp_core.errors import InputError
from irp_core.features.images import decode, decode_mask, resized
from irp_core.features.pipeline import StoredFeatures
from irp_core.features.pooled import PooledExtractor, resolve_device, resolve_precision
from irp_core.localisation.geometry import Geometry, mask_in_view
from irp_core.localisation.input_gradient import input_gradient_cells
from irp_core.localisation.out_of_fold import out_of_fold_maps
from irp_core.localisation.pixel_metrics import PixelMetrics, PixelScores, components
from irp_core.localisation.scale import Cells, map_scale, view_map
from irp_core.packed.images import read_image
from irp_core.refinement.scoring import localiser_name, mapped, most_mapped
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import write_cells

__all__ = ["add_image", "fit_localiser", "measure_maps"]

_AT_ONCE = 32  # images
_KEPT = 2000  # images whose maps are kept for the pages, 2.3 KB each


@dataclass(frozen=True)
class _Pictures:
    """Shows a run's images to the network again: what a gradient needs, and the feature store does not have."""

    run: RunDirectory
    network: PooledExtractor

    @classmethod
    def of(cls, run: RunDirectory, weights: Path | None) -> _Pictures:
        features = run.params().features
        device = resolve_device(features.device)
        backbone = load_backbone(features.backbone, weights, features.layers)
        precision = resolve_precision(features.precision, device)
        return cls(run, PooledExtractor(backbone, features.scales, device, precision))

    def cells(self, detector: Detector, rows: pd.DataFrame) -> Cells:
        """The gradient of `detector` at each image of `rows`, one image at a time."""
        assert isinstance(detector, ScoreGradient)
        root, images = self.run.data_root(), self.run.params().images
        found = []
        for name in rows["image_id"]:
            image = decode(read_image(root / name, images.max_bytes), images)
            view = np.asarray(resized(image, images.shape, images.crop))
            found.append(input_gradient_cells(self.network, detector, [view]))
        return np.concatenate(found)

    def of_chosen(self, rows: pd.DataFrame, detector: Detector, chosen: NDArray[np.bool_]) -> Cells:
        """`cells` of some of the rows."""
        return self.cells(detector, rows[chosen])


def fit_localiser(
    run: RunDirectory, iteration: int, features: StoredFeatures, folder: Path, weights: Path | None = None
) -> dict[str, Any] | None:
    """The detector of the maps of model `iteration`, the last one, and their scale, from its training images.

    Of a large set all that is of the images that are drawn (`irp_core.refinement.scoring.mapped`).
    Leaves the maps of the removed images in `folder`, and of the kept ones that are highest: what pages show.

    A final detector that says where makes its own maps; else one is fitted beside it on the same images, and saved into
    `folder`. The decision stays the final detector's.

    Args:
        weights: file of the backbone's weights, None for the bundled one: for a gradient, which needs the network.

    Returns:
        `detector`, its name, and `scale` (`irp_core.localisation.scale.MapScale`); None where no maps are asked for, or
        fewer than two different images are left.
    """
    params, rows = run.params(), training_rows(run.manifest())
    rows = rows[rows["md5"].isin(list(mapped(rows["md5"], most_mapped(params))))].reset_index(drop=True)
    inside = rows["image_id"].isin(run.training_set(iteration)["image_id"]).to_numpy()
    name, groups = localiser_name(params), run.groups(rows)
    if name is None or len({group for group, kept in zip(groups, inside, strict=True) if kept}) < 2:
        return None
    kind = detector_class(name)
    seen = features.read(rows, params.views.score, kind.needs)
    device = resolve_device(params.features.device)
    epochs, seed = params.training.epochs, params.run.seed
    alone = getattr(kind, "maps_alone", kind)
    shows = _Pictures.of(run, weights) if issubclass(kind, ScoreGradient) else None
    cells = out_of_fold_maps(
        lambda: alone.build(seen, params, device),
        seen,
        groups,
        inside,
        folds=params.operating.folds,
        epochs=epochs,
        seed=seed,
        see=None if shows is None else partial(shows.of_chosen, rows),
    )
    scale = map_scale(cells[inside], params.images.shape, params.operating.false_alarm_rate)
    if name != params.detector.name:
        beside = kind.build(seen, params, device)
        beside.fit(seen[inside], epochs=epochs, seed=seed)
        beside.save(folder)
    shown = np.lexsort((-cells.max(axis=(1, 2)), inside))[:_KEPT]
    write_cells(folder, rows.iloc[shown], cells[shown])
    return {"detector": name, "scale": scale.model_dump(mode="json")}


def measure_maps(
    run: RunDirectory,
    detector: Path,
    name: str,
    features: StoredFeatures,
    threshold: float,
    weights: Path | None = None,
) -> PixelMetrics | None:
    """How well maps hit the defects of the test images; None where there is no mask. Evaluation only.

    Maps and masks are compared at the size of the view (`images.size`).

    Args:
        detector: folder of the saved detector, which localises.
        name: its name, which may be another package's: the run trained it.
        threshold: of the maps.
        weights: as of `fit_localiser`.
    """
    params, rows = run.params(), testing_rows(run.manifest())
    rows = rows[rows["label"].notna()]
    if rows.empty or rows["mask_path"].isna().all():
        return None
    localiser = load_detector(detector, resolve_device(params.features.device), allow=[name])
    shows = _Pictures.of(run, weights) if isinstance(localiser, ScoreGradient) else None
    collected = PixelScores(threshold)
    for first in range(0, len(rows), _AT_ONCE):
        some = rows.iloc[first : first + _AT_ONCE]
        if shows is not None:
            found = shows.cells(localiser, some)
        else:
            assert isinstance(localiser, Localises)
            found = localiser.maps(features.read(some, params.views.score, localiser.needs)).numpy()
        for row, cells in zip(some.itertuples(), found, strict=True):
            add_image(collected, view_map(cells, params.images.shape), row, run.data_root(), params.images)
    return collected.metrics()


def add_image(collected: PixelScores, view: NDArray[np.float32], row: Any, root: Path, images: Images) -> None:
    """Hold the map (height, width) of one test image against its mask.

    Args:
        row: of the manifest: `label` and `mask_path`, below `root`.
    """
    if row.label == "good":
        collected.add(view, view < 0)
        return
    mask = None if pd.isna(row.mask_path) else _mask(root / row.mask_path, images)
    if mask is None or not mask.any():
        collected.add_unmarked()
        return
    height, width = mask.shape  # a mask is as large as its image
    drawn = components(mask)
    geometry = Geometry(width, height, images.shape, images.crop)
    shown = mask_in_view(mask, geometry)
    # Of each component as it was drawn: is any of its pixels one that the view shows?
    left = sum(mask_in_view(drawn[0] == number, geometry).any() for number in range(1, drawn[1] + 1))
    collected.add(view, shown, vanished=drawn[1] - int(left))


def _mask(path: Path, images: Images) -> Any:
    try:
        return decode_mask(read_image(path, images.max_bytes), images)
    except InputError:
        return None
