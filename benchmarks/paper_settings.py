"""The paper's settings, run: `params/paper.yaml` on one data set, with both readings of its scores.

`python -m benchmarks.paper_settings DATA -S features.backbone=resnet18 -S features.weights=FILE -S views.score=8 ...`.
Each cell is a run of the product (`flows.refine`) without Prefect, MLflow's weights, pages or DVC versions; its folder
is the checkpoint: the same command goes on with the training at which it was stopped.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import tasks.runtime.environment  # noqa: F401
from benchmarks.tables import put_rows
from irp_core.config import Params
from irp_core.features.pooled import resolve_device, resolve_precision
from irp_core.paper.study import early_epoch
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory

__all__ = ["READINGS"]

READINGS: dict[str, dict[str, Any]] = {
    "vanilla": {"method": "vanilla"},
    "OSR": {"method": "osr", "score_on": "in_sample"},
    "IRP, in-sample scores": {"method": "irp", "score_on": "in_sample"},
    "IRP, early scores": {"method": "irp", "score_on": "in_sample", "retrain": "warm_start"},
    "IRP, out-of-fold scores": {"method": "irp", "score_on": "out_of_fold"},
    "oracle": {"method": "oracle"},
}
"""What is run: settings of section `refinement`. The paper does not say whether its scores are of images that the
detector trained on (Algorithm 1 reads as if they were), nor how long it pre-trains. Early scores are of such images,
after `early_epoch` of the epochs; the other epochs follow the removal."""


def _refined(root: Path, params: Params, reading: str, vanilla: str | None) -> RunDirectory:
    from flows.refine import refine
    from tasks.runtime.without_prefect import without_prefect

    plain = params.model_dump(mode="json")
    plain["refinement"] |= READINGS[reading]
    if reading == "IRP, early scores":
        before = early_epoch(params.training.epochs)
        plain["training"] |= {"epochs": before, "retrain_epochs": max(1, params.training.epochs - before)}
        vanilla = None  # it was trained for longer
    with without_prefect():
        return RunDirectory(Path(refine(str(root), plain, share_with=vanilla, operating=False)))


_COLUMNS = ("auroc", "removed_good", "removed_bad", "n_start", "n_injected", "iterations", "stop_reason")


def _row(run: RunDirectory) -> dict[str, Any]:
    from flows.paper.cell import results_of

    measured, _ = results_of(run)
    return {name: measured[name] for name in _COLUMNS}


def _losses(run: RunDirectory) -> pd.DataFrame:
    tables = []
    for iteration in range(len(run.iterations())):
        tables.append(run.training_history(iteration).assign(iteration=iteration))
    return pd.concat(tables)[["iteration", "epoch", "loss", "seconds"]]


def _main(
    root: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    set_param: Annotated[list[str] | None, typer.Option("-S", help="section.key=value")] = None,
    output: Annotated[Path, typer.Option("-o", help="Folder of the tables.")] = Path("docs/results/benchmarks"),
    levels: Annotated[str, typer.Option(help="Percent defective, comma-separated.")] = "0,20,50",
    readings: Annotated[str, typer.Option(help="Which, separated by semicolons.")] = ";".join(READINGS),
) -> None:
    """Write `runs.csv` (a row per run), `losses.csv` (per epoch) and `times.csv` (seconds and memory by stage)."""
    wanted = readings.split(";")
    if unknown := set(wanted) - set(READINGS):
        raise typer.BadParameter(f"--readings must be among {'; '.join(READINGS)}. Got {'; '.join(sorted(unknown))}.")
    base = load_params(Path("params/paper.yaml"), ["run.outputs=tables", "snapshots.enabled=false", *(set_param or [])])
    products = resolve_precision(base.training.precision, resolve_device(base.features.device))
    for level in (int(text) for text in levels.split(",")):
        params = base.model_copy(update={"contamination": base.sweep.contamination_at(level, base.contamination)})
        vanilla: str | None = None
        for reading in wanted:
            if reading == "oracle" and level == 0:
                continue
            run = _refined(root, params, reading, vanilla)
            vanilla = vanilla or str(run.path)
            place = {
                "entity": root.name,
                "hidden": params.differnet.hidden,
                "standardize": params.differnet.standardize,
                "precision": str(products).removeprefix("torch."),
                "views": params.views.train,
                "epochs": params.training.epochs,
                "level": level,
                "seed": params.run.seed,
                "reading": reading,
            }
            keys = list(place)
            put_rows(output / "runs.csv", pd.DataFrame([place | _row(run)]), keys)
            losses = _losses(run)
            put_rows(output / "losses.csv", losses.assign(**place)[[*keys, *losses.columns]], keys)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            times = [
                place | {"stage": stage, "seconds": spent, "peak_gb": peak} for stage, spent in run.timings().items()
            ]
            put_rows(output / "times.csv", pd.DataFrame(times), keys)
            print(
                f"{root.name}, {level} %, {reading}: {', '.join(f'{k} {v}' for k, v in _row(run).items())}", flush=True
            )


if __name__ == "__main__":
    typer.run(_main)
