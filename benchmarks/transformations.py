"""What each transformation of equation 4 brings: AUROC of a detector trained once, by data set, level and seed.

`python -m benchmarks.transformations DATA... -S features.backbone=resnet18 -S features.weights=FILE`. The sizes were
fixed before anything was measured: each is what a camera or a lamp may move between two pictures of one part.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.choosing.runs import loaded
from benchmarks.tables import measured, put_rows
from irp_core.atomic import atomic_path
from irp_core.config import Params
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.params_file import load_params
from irp_core.refinement.in_memory import fit_final_detector
from irp_core.statistics.metrics import detection

__all__ = ["SETTINGS", "table_text"]

SETTINGS: dict[str, dict[str, float]] = {
    "rotation only": {},
    "translate 0.05": {"translate": 0.05},
    "zoom 0.1": {"zoom": 0.1},
    "contrast 0.2": {"contrast": 0.2},
    "brightness 0.1": {"brightness": 0.1},
    "noise 0.02": {"noise": 0.02},
}
SETTINGS["all of them"] = {key: size for setting in SETTINGS.values() for key, size in setting.items()}
_KEYS = ["entity", "transformation", "level", "seed", "detector"]


def _rows(root: Path, name: str, params: Params, detectors: list[str], levels: list[int]) -> list[dict[str, object]]:
    """A row per level, seed and detector of one data set under one setting of the views."""
    found, of, _ = loaded(root, params, ())
    trained = params.model_copy(update={"training": params.sweep.training_of(root.name, params.training)})
    rows: list[dict[str, object]] = []
    for level, seed in product(levels, params.sweep.seeds):
        noise = params.sweep.contamination_at(level, params.contamination)
        manifest = contaminate(found, params.dataset, noise, seed=seed)
        train, test = training_rows(manifest), testing_rows(manifest)
        features, tested, defective = of(train), of(test), test["label"] == "defective"
        for detector in detectors:
            chosen = trained.model_copy(
                update={
                    "run": trained.run.model_copy(update={"seed": seed}),
                    "detector": trained.detector.model_copy(update={"name": detector}),
                }
            )
            auroc = detection(fit_final_detector(features, chosen, 0).score(tested), defective).auroc
            place = {"entity": root.name, "transformation": name, "level": level, "seed": seed, "detector": detector}
            rows.append({**place, "n": len(train), "n_test": len(test), "auroc": auroc})
    return rows


def table_text(table: pd.DataFrame) -> str:
    """The mean over seeds, a row per transformation, a column per data set, detector and level, as Markdown.

    Besides the first row, the differences to it are paired by seed: mean ± sample standard deviation, in points.
    """
    base = "rotation only"
    wide = table.pivot_table(index=["transformation", "seed"], columns=["entity", "detector", "level"], values="auroc")
    wide = wide.reindex([name for name in SETTINGS if name in set(table["transformation"])], level=0)
    lines = ["| transformation |" + "".join(f" {e}, {d}, {level} % |" for e, d, level in wide.columns)]
    lines.append("|:--|" + "--:|" * wide.shape[1])
    for name in wide.index.get_level_values(0).unique():
        own = wide.loc[name]
        if name == base:
            cells = [f"{value:.3f}" for value in own.mean()]
        else:
            gain = 100 * (own - wide.loc[base])
            cells = [f"{mean:+.1f} ± {spread:.1f}" for mean, spread in zip(gain.mean(), gain.std(), strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _main(
    data: Annotated[list[Path], typer.Argument(help="Folders of data sets.")],
    set_param: Annotated[list[str] | None, typer.Option("-S", help="section.key=value")] = None,
    output: Annotated[Path, typer.Option("-o", help="The table.")] = Path("docs/choosing/transformations.csv"),
    detectors: Annotated[str, typer.Option(help="Which, comma-separated.")] = "gaussian,differnet",
    levels: Annotated[str, typer.Option(help="Percent defective, comma-separated.")] = "0,30",
) -> None:
    """Train and test under each setting that the table lacks; the same command goes on where it was stopped."""
    params = load_params(Path("params.yaml"), set_param or [])
    for root, (name, sizes) in product(data, SETTINGS.items()):
        there = measured(output, _KEYS)
        there = there[(there["entity"] == root.name) & (there["transformation"] == name)]
        wanted = [detector for detector in detectors.split(",") if detector not in set(there["detector"])]
        if not wanted:
            continue
        viewed = params.model_copy(update={"views": params.views.model_copy(update=dict(sizes))})
        rows = pd.DataFrame(_rows(root, name, viewed, wanted, [int(level) for level in levels.split(",")]))
        table = put_rows(output, rows, _KEYS)
        with atomic_path(output.with_suffix(".md")) as temporary:
            temporary.write_text(table_text(table), encoding="utf-8")
        print(root.name, name, rows.groupby(["detector", "level"])["auroc"].mean().round(3).to_dict(), flush=True)


if __name__ == "__main__":
    typer.run(_main)
