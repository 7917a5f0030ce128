"""The table of docs/choosing.md: data sets x noise levels x seeds x detectors x methods.

`python -m benchmarks.choosing DATA... -S features.backbone=resnet18 -S features.weights=FILE`. The refinement runs in
memory (`irp_core.refinement.in_memory`), without a run's directory, Prefect, MLflow or DVC: hundreds of runs would
otherwise spend their time there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from irp_core.config import Params
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.data.scan import scan
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.params_file import load_params
from irp_core.refinement.in_memory import Refined, fit_final_detector, refine_in_memory
from irp_core.refinement.policy import policy_of
from irp_core.statistics.metrics import detection
from irp_core.statistics.mixture import estimate_contamination
from tasks.runtime.progress import bar
from tasks.steps.extract import open_pipeline

__all__ = ["loaded"]

METHODS: dict[str, dict[str, Any]] = {
    "vanilla": {"method": "vanilla"},
    "irp": {"method": "irp"},
    "robust": {"method": "robust"},
    "oracle": {"method": "oracle"},
}
"""What a row is called, and the settings of section `refinement` behind it."""
DETECTORS = ("differnet", "gaussian", "patch_knn")
LOCAL: tuple[Local, ...] = ("patches", "kurtosis")


def loaded(root: Path, params: Params) -> tuple[pd.DataFrame, Callable[[pd.DataFrame], FeatureSet], float]:
    """The scanned data set, its features by rows, and the seconds per image that extracting them took."""
    found = scan(root, params.dataset.layout).manifest
    pipeline = open_pipeline(params, LOCAL)
    started = time.perf_counter()
    use = pipeline.fill(found, root, root.name, bar)
    seconds = time.perf_counter() - started

    def of(rows: pd.DataFrame) -> FeatureSet:
        return pipeline.stored.read(rows, params.views.bank, LOCAL)

    return found, of, seconds / use.misses if use.misses else float("nan")


def _cell(
    manifest: pd.DataFrame,
    of: Callable[[pd.DataFrame], FeatureSet],
    params: Params,
    detectors: list[str],
    methods: list[str],
) -> list[dict[str, Any]]:
    rows, test = training_rows(manifest), testing_rows(manifest)
    features, tested = of(rows), of(test)
    injected = manifest.set_index("image_id").loc[rows["image_id"], "injected"].to_numpy(dtype=bool)
    known = frozenset(rows.loc[injected, "image_id"])
    results = []
    cleaned: dict[str, tuple[Refined, float]] = {}  # what was removed, and how long it took
    for name in detectors:
        for method in methods:
            chosen = params.model_copy(
                update={
                    "detector": params.detector.model_copy(update={"name": name}),
                    "refinement": params.refinement.model_copy(update=METHODS[method]),
                }
            )
            policy = policy_of(chosen.refinement)
            started = time.perf_counter()
            if method in cleaned:  # a detector of its own scores: the removals do not depend on the final detector
                before, cleaning = cleaned[method]
                detector = fit_final_detector(features[before.kept], chosen, before.iterations)
                refined = replace(before, detector=detector)
                seconds = cleaning + time.perf_counter() - started
            else:
                refined = refine_in_memory(rows, features, chosen, injected=known)
                seconds = time.perf_counter() - started
                if policy.detector:
                    cleaned[method] = refined, seconds
            auroc = detection(refined.detector.score(tested), test["label"] == "defective").auroc
            gone = ~refined.kept
            row: dict[str, Any] = {
                "detector": name,
                "method": method,
                "auroc": auroc,
                "removed_good": int((gone & ~injected).sum()),
                "removed_bad": int((gone & injected).sum()),
                "n_injected": int(injected.sum()),
                "n_start": len(rows),
                "seconds": seconds,
            }
            if policy.reversible:
                scores = refined.rounds[-1][0].images["score"].to_numpy()
                share = estimate_contamination(scores, seed=params.run.seed)
                row |= {"estimated": share.share, "low": share.low, "high": share.high}
            results.append(row)
    return results


def _main(
    data: Annotated[list[Path], typer.Argument(help="Folders of data sets.")],
    set_param: Annotated[list[str] | None, typer.Option("-S", help="section.key=value")] = None,
    output: Annotated[Path, typer.Option("-o", help="The table.")] = Path("docs/choosing/runs.csv"),
    detectors: Annotated[str, typer.Option(help="Which, comma-separated.")] = ",".join(DETECTORS),
    methods: Annotated[str, typer.Option(help="Which, comma-separated.")] = ",".join(METHODS),
) -> None:
    """Run every cell and write one row per run."""
    params = load_params(Path("params.yaml"), set_param or [])
    rows: list[dict[str, Any]] = []
    for root in data:
        found, of, extraction = loaded(root, params)
        entity = root.name
        trained = params.model_copy(update={"training": params.sweep.training_of(entity, params.training)})
        for level in params.sweep.levels:
            noise = params.contamination.model_copy(
                update={"fraction": level / 100, "max_fraction": params.sweep.max_level / 100}
            )
            for seed in params.sweep.seeds:
                manifest = contaminate(found, params.dataset, noise, seed=seed)
                seeded = trained.model_copy(update={"run": trained.run.model_copy(update={"seed": seed})})
                cell = _cell(manifest, of, seeded, detectors.split(","), methods.split(","))
                known = {"entity": entity, "level": level, "seed": seed, "extraction_per_image": extraction}
                rows += [known | row for row in cell]
                output.parent.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(rows).to_csv(output, index=False)
                best = {row["method"]: row["auroc"] for row in cell if row["detector"] == cell[0]["detector"]}
                print(entity, level, seed, {name: round(value, 3) for name, value in best.items()}, flush=True)


if __name__ == "__main__":
    typer.run(_main)
