"""How well maps hit the defects of a set with masks, by the detector that makes them.

`python -m benchmarks.maps SET [-S section.key=value] [--output docs/maps/maps.csv] [--makers patch_gaussian;…]`:
defective images are injected (`contamination.fraction`, here 0.2), nothing is removed, and each maker's maps of the
test images are held against the masks. A row per maker; rows of the same set and maker are replaced.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.tables import put_rows
from irp_core import refine
from irp_core.api.result import Result
from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.data.manifest import testing_rows
from irp_core.features.images import decode, resized
from irp_core.features.pooled import PooledExtractor, resolve_device, resolve_precision
from irp_core.localisation.input_gradient import input_gradient_cells
from irp_core.localisation.pixel_metrics import PixelScores
from irp_core.localisation.scale import view_map
from irp_core.params_file import load_params
from irp_core.regular_file import read_regular
from irp_core.results.localising import add_image

__all__ = ["MAKERS", "measured_maps"]

MAKERS: dict[str, dict[str, dict[str, Any]]] = {
    "patch_gaussian": {"detector": {"name": "ensemble"}},
    "patch_gaussian, 384": {"detector": {"name": "ensemble"}, "features": {"cell_scale": 384, "cell": 16}},
    "patch_knn": {"detector": {"name": "gaussian"}, "localisation": {"detector": "patch_knn"}},
    "input gradient of differnet": {"detector": {"name": "differnet"}, "localisation": {"detector": None}},
}
"""What makes the maps → the settings of a run whose detector, or the one beside it, is that."""
_KEYS = ["set", "maker"]


def measured_maps(root: Path, params: Params, maker: str) -> dict[str, Any]:
    """A row: the maker, its metrics (`irp_core.localisation.pixel_metrics.PixelMetrics`), and seconds an image."""
    sections = {name: dict(values) for name, values in params.model_dump(mode="json", exclude_unset=True).items()}
    for name, values in MAKERS[maker].items():
        sections[name] = {**sections.get(name, {}), **values}
    settings: dict[str, Any] = {**sections, "refinement": {**sections.get("refinement", {}), "method": "vanilla"}}
    result = refine(root, **settings)
    rows = testing_rows(result.run.manifest())
    rows = rows[rows["label"].notna()]
    scale = result.inspector.scale
    collected, started = PixelScores(None if scale is None else scale.threshold), time.process_time()
    for row, view in zip(rows.itertuples(), _views(result, rows), strict=True):
        add_image(collected, view, row, result.run.data_root(), result.params.images)
    seconds = (time.process_time() - started) / max(1, len(rows))
    return {"set": root.resolve().name, "maker": maker, **collected.metrics().plain(), "cpu_seconds": round(seconds, 3)}


def _views(result: Result, rows: pd.DataFrame) -> Iterator[NDArray[np.float32]]:
    """The map of each image's view."""
    inspector, params = result.inspector, result.params
    contents = (read_regular(result.run.data_root() / name, params.images.max_bytes) for name in rows["image_id"])
    if inspector.scale is not None:
        for content in contents:
            yield from inspector.locate([inspector.see(content)])
        return
    features, device = params.features, resolve_device(params.features.device)
    backbone = load_backbone(features.backbone, Path(features.weights) if features.weights else None, features.layers)
    network = PooledExtractor(backbone, features.scales, device, resolve_precision(features.precision, device))
    for content in contents:
        view = np.asarray(resized(decode(content, params.images), params.images.shape, params.images.crop))
        (cells,) = input_gradient_cells(network, inspector.detector, [view])  # type: ignore[arg-type]
        yield view_map(cells, params.images.shape)


def main() -> None:
    """Measure, and write the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("-S", "--set-param", action="append", default=[])
    parser.add_argument("--output", type=Path, default=Path("docs/maps/maps.csv"))
    parser.add_argument("--makers", default=";".join(MAKERS), help="by ;")
    asked = parser.parse_args()
    params = load_params(None, ["contamination.fraction=0.2", *asked.set_param])
    for maker in asked.makers.split(";"):
        found = measured_maps(asked.set, params, maker)
        print(found, flush=True)
        put_rows(asked.output, pd.DataFrame([found]), _KEYS)


if __name__ == "__main__":
    main()
