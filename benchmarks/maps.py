"""How well maps hit the defects of a set with masks, by the detector that makes them.

`python -m benchmarks.maps SET [SET …] [-S section.key=value] [--methods careful;…] [--makers patch_gaussian;…]`:
each method refines each set, and each maker's maps of the test images are held against the masks. A row each of
`docs/choosing/maps.csv`, which is written as they are measured: what is there already is not measured again.
`--as NAME` is what the set is called there. Without a set: prints the table of docs/maps.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables import measured, put_rows
from irp_core import refine
from irp_core.config import Params
from irp_core.data.manifest import testing_rows
from irp_core.localisation.pixel_metrics import PixelScores
from irp_core.params_file import load_params
from irp_core.regular_file import read_regular
from irp_core.results.localising import add_image

__all__ = ["MAKERS", "measured_maps", "table"]

MAKERS: dict[str, dict[str, dict[str, Any]]] = {
    "patch_gaussian": {"detector": {"name": "ensemble"}},
    "patch_gaussian, 384": {"detector": {"name": "ensemble"}, "features": {"cell_scale": 384, "cell": 16}},
    "patch_knn": {"detector": {"name": "gaussian"}, "localisation": {"detector": "patch_knn"}},
    "differnet": {"detector": {"name": "differnet"}, "localisation": {"detector": "differnet"}},
}
"""What makes the maps → the settings of a run whose detector, or the one beside it, is that."""
_TABLE = Path("docs/choosing/maps.csv")
_KEYS = ["set", "backbone", "percent", "method", "maker"]
_SHOWN = {
    "set": "set",
    "backbone": "backbone",
    "percent": "% defective",
    "method": "method",
    "maker": "maps by",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "aupimo": "AUPIMO",
    "peak_hits": "peak on a defect",
    "defective": "masks",
}


def measured_maps(root: Path, params: Params, maker: str) -> dict[str, Any]:
    """The metrics of a maker (`irp_core.localisation.pixel_metrics.PixelMetrics`), and processor seconds an image."""
    settings: dict[str, Any] = {
        name: dict(values) for name, values in params.model_dump(mode="json", exclude_unset=True).items()
    }
    for name, values in MAKERS[maker].items():
        settings[name] = {**settings.get(name, {}), **values}
    result = refine(root, **settings)
    rows = testing_rows(result.run.manifest())
    rows = rows[rows["label"].notna()]
    inspector = result.inspector
    assert inspector.scale is not None
    collected, started = PixelScores(inspector.scale.threshold), time.process_time()
    for row in rows.itertuples():
        content = read_regular(result.run.data_root() / str(row.image_id), result.params.images.max_bytes)
        (view,) = inspector.locate([inspector.see(content)])
        add_image(collected, view, row, result.run.data_root(), result.params.images)
    seconds = (time.process_time() - started) / max(1, len(rows))
    return {**collected.metrics().plain(), "cpu_seconds": round(seconds, 3)}


def table(rows: pd.DataFrame) -> str:
    """The rows as docs/maps.md shows them.

    Example:
        >>> one = dict.fromkeys(_SHOWN, "demo") | {"aupro": 0.5, "aupimo": float("nan")}
        >>> table(pd.DataFrame([one])).splitlines()[2]
        '| demo | demo | demo | demo | demo | demo | .500 | – | demo | demo |'
    """
    lines = [f"| {' | '.join(_SHOWN.values())} |", "|---" * len(_SHOWN) + "|"]
    for _, row in rows.iterrows():
        lines.append(f"| {' | '.join(_cell(row[name]) for name in _SHOWN)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if pd.isna(value) else f"{value:.3f}".removeprefix("0")


def main() -> None:
    """Measure what the table lacks, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="*", metavar="SET")
    parser.add_argument("-S", "--set-param", action="append", default=[])
    parser.add_argument("--as", dest="named")
    parser.add_argument("--output", type=Path, default=_TABLE)
    parser.add_argument("--methods", default="careful", help="by ;")
    parser.add_argument("--makers", default="patch_gaussian", help="by ;")
    asked = parser.parse_args()
    if not asked.sets:
        print(table(pd.read_csv(asked.output)))
    for root in asked.sets:
        for method in asked.methods.split(";"):
            params = load_params(None, [*asked.set_param, f"refinement.method={method}"])
            for maker in asked.makers.split(";"):
                key = {
                    "set": asked.named or root.resolve().name,
                    "backbone": params.features.backbone,
                    "percent": round(100 * params.contamination.fraction),
                    "method": method,
                    "maker": maker,
                }
                known = measured(asked.output, _KEYS)[_KEYS].to_dict("records")
                if key in known:
                    continue
                found = {**key, **measured_maps(root, params, maker)}
                print(found, flush=True)
                put_rows(asked.output, pd.DataFrame([found]), _KEYS)


if __name__ == "__main__":
    main()
