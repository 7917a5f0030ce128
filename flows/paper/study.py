"""The studies of one entity: λ and width, the flow's memory, the noise protocols."""

from __future__ import annotations

from itertools import product

import pandas as pd

from flows.paper.places import features, prepared, scanned, study
from irp_core.atomic import atomic_directory
from irp_core.config import Params
from irp_core.data.contamination import contaminate
from irp_core.data.manifest import testing_rows, training_rows
from irp_core.errors import InputError
from irp_core.paper.study import StudySet, lambda_rows, memory_of
from irp_core.refinement.in_memory import refine_in_memory
from irp_core.run.prepared import PreparedSet
from irp_core.statistics.metrics import detection
from tasks.steps.extract import open_pipeline

__all__ = ["run_study"]

_PROTOCOLS = {
    "fraction_of_set": ("fraction_of_set", False),
    "fraction_of_set, tested too": ("fraction_of_set", True),
    "half of the defects": ("fraction_of_defects", False),
    "half of the defects, tested too": ("fraction_of_defects", True),
}
"""Name → (contamination.protocol, contamination.overlap). The paper resamples half of the defective images into
the training set; SoftPatch and InReaCh test those that they inject, too."""
_METHODS = ("vanilla", "irp", "oracle")


def run_study(entity: str, params: Params) -> None:
    """Write `lambda.csv`, `memory.csv`, `histograms.csv` and `protocols.csv` of an entity.

    Raises:
        InputError: a level or seed that is not part of the sweep.
    """
    wanted, sweep = params.study, params.sweep
    if wanted.level not in sweep.levels or wanted.seed not in sweep.seeds:
        raise InputError(
            f"study.level and study.seed must be among sweep.levels and sweep.seeds. Got {wanted.level}, {wanted.seed}."
        )
    trained = _of_seed(params, wanted.seed).model_copy(update={"training": sweep.training_of(entity, params.training)})
    manifest = PreparedSet(prepared(entity, wanted.level, wanted.seed)).manifest()
    found = _study_set(manifest, entity, trained)
    memory, histograms, lambdas = [], [], []
    for width in wanted.widths:
        wide = trained.model_copy(update={"differnet": trained.differnet.model_copy(update={"hidden": width})})
        learned = memory_of(found, wide)
        memory.append(learned.epochs)
        histograms.append(learned.histograms)
        rows = []
        for row in lambda_rows(found, learned, wanted.lambdas, wide):
            rows.append(row)
            at = "" if pd.isna(row["lambda"]) else f", λ {row['lambda']}"
            print(f"{entity}, hidden {width}: {row['scores']}{at}: AUROC {row['auroc']:.3f}", flush=True)
        lambdas.append(pd.DataFrame(rows))
    protocols = pd.DataFrame(
        [
            row
            for name, seed in product(_PROTOCOLS, wanted.protocol_seeds)
            for row in _protocol(entity, name, seed, trained)
        ],
        columns=["protocol", "seed", "method", "n", "n_injected", "n_test", "auroc"],
    )
    with atomic_directory(study(entity)) as folder:
        tables = {"memory": memory, "histograms": histograms, "lambda": lambdas, "protocols": [protocols]}
        for name, table in tables.items():
            gathered = pd.concat(table, ignore_index=True)
            gathered.insert(0, "entity", entity)
            gathered.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")


def _of_seed(params: Params, seed: int) -> Params:
    return params.model_copy(
        update={
            "run": params.run.model_copy(update={"seed": seed}),
            "detector": params.detector.model_copy(update={"name": params.sweep.detector}),
        }
    )


def _study_set(manifest: pd.DataFrame, entity: str, params: Params) -> StudySet:
    rows, test = training_rows(manifest), testing_rows(manifest)
    stored = open_pipeline(
        params.model_copy(update={"features": params.features.model_copy(update={"store": str(features(entity))})}), ()
    ).stored
    return StudySet(
        stored.read(rows, params.views.train),
        rows["md5"].tolist(),
        manifest.set_index("image_id").loc[rows["image_id"], "injected"].to_numpy(dtype=bool),
        stored.read(test, params.views.score),
        (test["label"] == "defective").to_numpy(),
    )


def _protocol(entity: str, name: str, seed: int, params: Params) -> list[dict[str, object]]:
    """AUROC of the methods under a protocol: as many defects as it says, at the study's level where it takes one."""
    protocol, overlap = _PROTOCOLS[name]
    share = 1.0 if protocol == "fraction_of_defects" else params.study.level / 100
    noise = params.contamination.model_copy(
        update={"protocol": protocol, "overlap": overlap, "max_fraction": None, "fraction": share}
    )
    manifest = contaminate(PreparedSet(scanned(entity)).manifest(), params.dataset, noise, seed=seed)
    found = _study_set(manifest, entity, params)
    rows = training_rows(manifest)
    known = frozenset(rows.loc[found.injected, "image_id"])
    results: list[dict[str, object]] = []
    for method in _METHODS:
        chosen = _of_seed(params, seed).model_copy(
            update={"refinement": params.refinement.model_copy(update={"method": method, "removal": "all_above"})}
        )
        refined = refine_in_memory(rows, found.train, chosen, injected=known)
        results.append(
            {
                "protocol": name,
                "seed": seed,
                "method": method,
                "n": len(rows),
                "n_injected": int(found.injected.sum()),
                "n_test": len(found.defective),
                "auroc": detection(refined.detector.score(found.test), found.defective).auroc,
            }
        )
    return results
