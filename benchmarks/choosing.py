"""The table of docs/choosing.md: data sets x noise levels x seeds x detectors x methods.

`python -m benchmarks.choosing DATA... -S features.backbone=resnet18 -S features.weights=FILE`. The tasks' steps (score,
decide, train) are called in memory, without a run directory, Prefect, MLflow or DVC: hundreds of runs would otherwise
spend their time there. `tests/flows/test_robust.py` holds that a tracked run removes the same images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.contamination import contaminate
from irp_core.datasets import scan
from irp_core.detectors import Detector, detector_class
from irp_core.evaluation import detection
from irp_core.feature_set import FeatureSet, Local
from irp_core.features import extract, resolve_device
from irp_core.manifest import testing_rows, training_rows
from irp_core.mixture import estimate_contamination
from irp_core.out_of_fold import out_of_fold_scores
from irp_core.params_file import load_params
from irp_core.refinement import decide, policy_of
from irp_core.store import FeatureStore
from tasks.extraction import StoreHandle, extract_local, open_extractor, stored_features

__all__ = ["Refined", "loaded", "refine_in_memory"]

METHODS: dict[str, dict[str, Any]] = {
    "vanilla": {"method": "vanilla"},
    "irp": {"method": "irp"},
    "robust": {"method": "robust"},
    "oracle": {"method": "oracle"},
}
"""What a row is called, and the settings of section `refinement` behind it."""
DETECTORS = ("differnet", "gaussian", "patch_knn")
LOCAL: tuple[Local, ...] = ("patches", "kurtosis")


@dataclass(frozen=True)
class Refined:
    """The final detector, which images it trained on (n,), the scores of the last look, and after how many removals."""

    detector: Detector
    kept: NDArray[np.bool_]
    scores: NDArray[np.float64]
    iterations: int


def refine_in_memory(
    features: FeatureSet, contents: list[str], params: Params, *, injected: NDArray[np.bool_] | None = None
) -> Refined:
    """The loop of `flows/refine.py` over features (n images): score → decide → retrain.

    A separate cleaner needs no detector before the last decision: it is trained once.
    """
    policy = policy_of(params.refinement)
    device = resolve_device(params.features.device)
    kind = detector_class(params.detector.name)
    scorer = detector_class(policy.detector or params.detector.name)
    seed = params.run.seed

    def train(kept: NDArray[np.bool_], iteration: int, before: Detector | None) -> Detector:
        warm = before is not None and policy.retrain == "warm_start"
        detector = before if warm else kind.build(features, params, device)
        assert detector is not None
        epochs = params.training.retrain_epochs if warm else params.training.epochs
        detector.fit(features[kept], epochs=epochs, seed=seed * 1000 + iteration)
        return detector

    separate = policy.score_on == "out_of_fold"
    kept = np.ones(len(features), dtype=bool)
    seen: list[frozenset[int]] = []
    detector = None if separate else train(kept, 0, None)
    iteration = 0
    while True:
        seen.append(frozenset(np.flatnonzero(kept).tolist()))
        where = np.ones(len(features), dtype=bool) if policy.reversible else kept
        if separate:
            scores, supported = out_of_fold_scores(
                lambda: scorer.build(features, params, device),
                features[where] if not where.all() else features,
                [content for content, within in zip(contents, where, strict=True) if within],
                inside=kept[where],
                start=policy.start if iteration == 0 else "all",
                folds=params.refinement.folds,
                repeats=params.refinement.repeats,
                epochs=params.training.epochs,
                confidence=policy.confidence,
                seed=seed,
            )
        else:
            assert detector is not None
            scores, supported = detector.score(features[where]), None
        iteration += 1
        places = np.flatnonzero(where)
        decision = decide(
            scores,
            policy,
            iteration=iteration,
            initial_size=len(features),
            seed=seed,
            injected=None if injected is None or policy.selection != "oracle" else injected[where],
            inside=kept[where],
            seen=seen if policy.reversible else (),
            supported=supported,
        )
        if decision.stop_reason:
            break
        kept = np.zeros(len(features), dtype=bool)
        kept[places[decision.kept]] = True
        detector = None if separate else train(kept, iteration, detector)
    done = iteration - 1  # the last look removed nothing
    return Refined(train(kept, done, None) if detector is None else detector, kept, scores, done)


def loaded(root: Path, params: Params) -> tuple[pd.DataFrame, Callable[[pd.DataFrame], FeatureSet], float]:
    """The scanned data set, its features by rows, and the seconds per image that extracting them took."""
    found = scan(root, params.dataset.layout).manifest
    extractor, spec = open_extractor(params)
    store = FeatureStore(Path(params.features.store), spec)
    started = time.perf_counter()
    use = extract(found, root, store, extractor, params)
    local = extract_local(LOCAL, found, root, extractor, spec, params, root.name)
    handle = StoreHandle(params.features.store, spec, store.fingerprint, local)
    seconds = time.perf_counter() - started

    def of(rows: pd.DataFrame) -> FeatureSet:
        return stored_features(handle, rows, params.views.bank, LOCAL)

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
    contents = rows["md5"].tolist()
    injected = manifest.set_index("image_id")["injected"].loc[rows["image_id"]].to_numpy(dtype=bool)
    results = []
    cleaned: dict[str, tuple[Refined, float]] = {}  # who goes, and how long it took
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
            if method in cleaned:  # a separate cleaner: who goes does not depend on the final detector
                before, cleaning = cleaned[method]
                detector = detector_class(name).build(features, chosen, resolve_device(params.features.device))
                again = params.run.seed * 1000 + before.iterations
                detector.fit(features[before.kept], epochs=params.training.epochs, seed=again)
                refined = replace(before, detector=detector)
                seconds = cleaning + time.perf_counter() - started
            else:
                refined = refine_in_memory(features, contents, chosen, injected=injected)
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
                share = estimate_contamination(refined.scores, seed=params.run.seed)
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
