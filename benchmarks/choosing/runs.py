"""The table of docs/choosing.md: data sets x noise levels x seeds x detectors x methods.

`python -m benchmarks.choosing DATA... -S features.backbone=resnet18 -S features.weights=FILE`. The refinement runs in
memory (`irp_core.refinement.in_memory`), without a run's directory, Prefect, MLflow or DVC: hundreds of runs would
otherwise spend their time there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from benchmarks.tables import measured, put_rows
from irp_core.config import Params
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.data.scan import scan
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.params_file import load_params
from irp_core.refinement.careful.contamination_interval import share_interval
from irp_core.refinement.careful.outcome import outcome
from irp_core.refinement.in_memory import Refined, fit_final_detector, refine_in_memory
from irp_core.refinement.policy import Policy, policy_of
from irp_core.refinement.rounds import assess
from irp_core.refinement.scoring import needs_of, scorers
from irp_core.results.operating import operating_point_of, probably_good
from irp_core.statistics.metrics import detection
from irp_core.statistics.mixture import estimate_contamination
from tasks.runtime.progress import bar
from tasks.steps.extract import open_pipeline

__all__ = ["loaded"]

METHODS = ("vanilla", "robust", "careful", "answered", "oracle")
DETECTORS = ("gaussian", "ensemble", "patch_gaussian", "patch_knn", "differnet")


def loaded(
    root: Path, params: Params, needs: Sequence[Local] = ("patches", "kurtosis"), *, own_size: bool = False
) -> tuple[pd.DataFrame, Callable[[pd.DataFrame], FeatureSet], float]:
    """The scanned data set, its features by rows, and the seconds per image that extracting them took.

    Args:
        own_size: show the images at the size that `irp prepare` recommends instead of `images.size`.
    """
    scanned = scan(root, params.dataset.layout)
    found = scanned.manifest
    if own_size:
        params = params.model_copy(update={"images": params.images.model_copy(update={"size": scanned.size})})
    pipeline = open_pipeline(params, needs)
    started = time.perf_counter()
    use = pipeline.fill(found, root, root.name, bar)
    seconds = time.perf_counter() - started

    def of(rows: pd.DataFrame) -> FeatureSet:
        return pipeline.stored.read(rows, params.views.bank, needs)

    return found, of, seconds / use.misses if use.misses else float("nan")


def _cell(
    manifest: pd.DataFrame,
    of: Callable[[pd.DataFrame], FeatureSet],
    params: Params,
    wanted: list[tuple[str, str]],
) -> list[dict[str, Any]]:
    """A row per (detector, method) of one data set at one level and seed."""
    rows, test = training_rows(manifest), testing_rows(manifest)
    fresh = manifest[(manifest["label"] == "good") & manifest["split"].isin(["test", "unused"])]
    features, tested, unseen = of(rows), of(test), of(fresh)
    injected = manifest.set_index("image_id").loc[rows["image_id"], "injected"].to_numpy(dtype=bool)
    known = frozenset(rows.loc[injected, "image_id"])
    results = []
    cleaned: dict[str, tuple[Refined, float]] = {}  # what was removed, and how long it took
    for name, method in wanted:
        chosen = params.model_copy(
            update={
                "detector": params.detector.model_copy(update={"name": name}),
                "refinement": params.refinement.model_copy(update={"method": method}),
            }
        )
        policy = policy_of(chosen.refinement)
        started = time.perf_counter()
        if method in cleaned:  # detectors of their own score: the removals do not depend on the final detector
            before, cleaning = cleaned[method]
            detector = fit_final_detector(features[before.kept], chosen, before.iterations)
            refined = replace(before, detector=detector)
            seconds = cleaning + time.perf_counter() - started
        else:
            refined = refine_in_memory(rows, features, chosen, injected=known)
            seconds = time.perf_counter() - started
            if policy.detector or policy.sees_landscape:
                cleaned[method] = refined, seconds
        auroc = detection(refined.detector.score(tested), test["label"] == "defective").auroc
        gone = ~refined.kept
        threshold = _threshold(refined, policy, rows, features, chosen)
        results.append(
            {
                "detector": name,
                "method": method,
                "auroc": auroc,
                "removed_good": int((gone & ~injected).sum()),
                "removed_bad": int((gone & injected).sum()),
                "n_injected": int(injected.sum()),
                "n_start": len(rows),
                "seconds": seconds,
                "fresh_good": len(fresh),
                "alarms": int((refined.detector.score(unseen) > threshold).sum()),
                **_said(refined, policy, rows, injected, params.run.seed),
            }
        )
    return results


def _threshold(refined: Refined, policy: Policy, rows: pd.DataFrame, features: FeatureSet, params: Params) -> float:
    """The operating threshold of what a refinement leaves, as a run finds it."""
    if policy.sees_landscape:
        good = probably_good(refined.rounds[0][0], policy).loc[rows["md5"]].to_numpy()
        found = operating_point_of(features, rows["md5"].tolist(), refined.kept, good, params)
    else:
        kept = rows[refined.kept]
        everyone = np.ones(len(kept), dtype=bool)
        found = operating_point_of(features[refined.kept], kept["md5"].tolist(), everyone, None, params)
    return found.point.threshold


def _said(
    refined: Refined, policy: Policy, rows: pd.DataFrame, injected: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """What a refinement says of its set: how it ends, what its questions hold, the share it estimates."""
    if policy.reversible:
        share = estimate_contamination(refined.rounds[-1][0].images["score"].to_numpy(), seed=seed)
        return {"estimated": share.share, "low": share.low, "high": share.high}
    if not policy.sees_landscape:
        return {}
    first = refined.rounds[0][0]
    assessed = assess(first, policy)
    said = outcome(assessed, members=policy.members, command="irp review RUN --ask 30")
    asked = [place for group in said.groups for place in group.members] + list(said.singles)
    contents = {assessed.landscape.contents[place] for place in asked}
    content_of = first.content_of()
    held = rows["md5"].map(content_of).isin(contents).to_numpy() & refined.kept
    answer: dict[str, Any] = {
        "outcome": said.kind,
        "asked_good": int((held & ~injected).sum()),
        "asked_bad": int((held & injected).sum()),
    }
    if assessed.belief is not None:
        interval = share_interval(assessed.landscape, assessed.belief, seed=seed)
        if interval is not None:
            answer |= {"estimated": interval.share, "low": interval.low, "high": interval.high}
    return answer


def _needed(params: Params, detectors: str, methods: str) -> list[Local]:
    """The local features that any cell reads."""
    settings = (params.refinement.model_copy(update={"method": method}) for method in methods.split(","))
    scoring = [name for one in settings for name in scorers(policy_of(one), params)]
    return needs_of([*detectors.split(","), *scoring])


_KEYS = ["entity", "level", "seed", "detector", "method"]


def _main(
    data: Annotated[list[Path], typer.Argument(help="Folders of data sets.")],
    set_param: Annotated[list[str] | None, typer.Option("-S", help="section.key=value")] = None,
    output: Annotated[Path, typer.Option("-o", help="The table.")] = Path("docs/choosing/runs.csv"),
    detectors: Annotated[str, typer.Option(help="Which, comma-separated.")] = ",".join(DETECTORS),
    methods: Annotated[str, typer.Option(help="Which, comma-separated.")] = ",".join(METHODS),
    own_size: Annotated[bool, typer.Option(help="At the size that irp prepare recommends.")] = False,
) -> None:
    """Run every cell that the table lacks, a row per run; the same command goes on where it was stopped."""
    params = load_params(Path("params.yaml"), set_param or [])
    for root in data:
        found, of, extraction = loaded(root, params, _needed(params, detectors, methods), own_size=own_size)
        entity = root.name
        trained = params.model_copy(update={"training": params.sweep.training_of(entity, params.training)})
        for level, seed in product(params.sweep.levels, params.sweep.seeds):
            table = measured(output, _KEYS)
            there = table[(table["entity"] == entity) & (table["level"] == level) & (table["seed"] == seed)]
            known = set(zip(there["detector"], there["method"], strict=True))
            wanted = [pair for pair in product(detectors.split(","), methods.split(",")) if pair not in known]
            if not wanted:
                continue
            noise = params.sweep.contamination_at(level, params.contamination)
            manifest = contaminate(found, params.dataset, noise, seed=seed)
            seeded = trained.model_copy(update={"run": trained.run.model_copy(update={"seed": seed})})
            cell = _cell(manifest, of, seeded, wanted)
            place = {"entity": entity, "level": level, "seed": seed, "extraction_per_image": extraction}
            rows = pd.DataFrame([place | row for row in cell])
            put_rows(output, rows, _KEYS, digits=None)
            print(
                entity, level, seed, {f"{r['detector']} {r['method']}": round(r["auroc"], 3) for r in cell}, flush=True
            )
