"""Fill the feature store, and read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.detectors import detector_class
from irp_core.feature_set import FeatureSet, Local
from irp_core.features import (
    PooledExtractor,
    extract,
    extractor_spec,
    resolve_device,
    resolve_precision,
)
from irp_core.local_features import feature_set, local_extractor, local_spec
from irp_core.manifest import other_rows, training_rows
from irp_core.refinement import policy_of
from irp_core.run.directory import RunDirectory
from irp_core.store import FeatureStore
from tasks.progress import bar
from tasks.retries import IO_RETRIES
from tasks.weights import resolve_weights

__all__ = ["StoreHandle", "extract_features", "extract_local", "local_needed", "open_extractor", "stored_features"]


@dataclass(frozen=True)
class StoreHandle:
    """What a later task needs to read the same rows: the store's place and the extractors' descriptions."""

    root: str
    spec: dict[str, object]
    fingerprint: str
    local: dict[Local, dict[str, Any]] = field(default_factory=dict)
    """Of the local features that a detector of the run needs."""


def open_extractor(params: Params) -> tuple[PooledExtractor, dict[str, object]]:
    """The configured extractor and its description (fetches weights where they are not local)."""
    device = resolve_device(params.features.device)
    precision = resolve_precision(params.features.precision, device)
    backbone = load_backbone(params.features.backbone, resolve_weights(params.features), params.features.layers)
    spec = extractor_spec(params, backbone, precision)
    return PooledExtractor(backbone, params.features.scales, device, precision), spec


def local_needed(params: Params) -> list[Local]:
    """Which local features the detector, or who scores for the removal, reads."""
    names = (params.detector.name, policy_of(params.refinement).detector)
    return sorted({need for name in names if name is not None for need in detector_class(name).needs})


def extract_local(
    needs: Iterable[Local],
    rows: pd.DataFrame,
    root: Path,
    extractor: PooledExtractor,
    spec: dict[str, object],
    params: Params,
    what: str,
) -> dict[Local, dict[str, Any]]:
    """Fill the store with the local features of the images that it lacks, by `extractor`'s network.

    Args:
        spec: of the pooled features.
        what: named by the progress bar.

    Returns:
        What `StoreHandle.local` holds.
    """
    specs = {need: local_spec(need, spec, params.features) for need in needs}
    for need, own in specs.items():
        local = local_extractor(need, extractor, params.features)
        with bar(f"Extracting {need} ({what})") as advance:
            extract(
                rows,
                root,
                FeatureStore(Path(params.features.store), own),
                local,
                params,
                views_each=1,
                progress=advance,
            )
    return specs


@task(task_run_name="extract-{split}", cache_policy=NO_CACHE, **IO_RETRIES)
def extract_features(run_path: str, split: str) -> StoreHandle:
    """Extract the views of the images that the store lacks; retried, because it reads files.

    Args:
        split: `train`, or `rest` for all others: the test images, and those that this seed left unused, so that
            another seed or noise level finds every image of the data set in the store.
    """
    run = RunDirectory(Path(run_path))
    with run.timed("extract"):
        params, manifest = run.params(), run.manifest()
        rows = training_rows(manifest) if split == "train" else other_rows(manifest)
        extractor, spec = open_extractor(params)
        store = FeatureStore(Path(params.features.store), spec)
        with bar(f"Extracting features ({split})") as advance:
            use = extract(rows, run.data_root(), store, extractor, params, progress=advance)
        local = extract_local(local_needed(params), rows, run.data_root(), extractor, spec, params, split)
    record = run.features()
    # A resumed run finds its own rows in the store: what counts is what the whole run put through the network.
    before = record.get(split, {"misses": 0})
    record[split] = {"images": use.hits + use.misses, "misses": before["misses"] + use.misses}
    record["fingerprint"] = store.fingerprint
    run.write_features(record)
    get_run_logger().info("Features of %s: %d found, %d extracted", split, use.hits, use.misses)
    return StoreHandle(params.features.store, spec, store.fingerprint, local)


def stored_features(handle: StoreHandle, rows: pd.DataFrame, views: int, needs: Iterable[Local] = ()) -> FeatureSet:
    """Features of `rows`, in their order: `views` views, and the local features that are asked for."""
    md5s = rows["md5"].tolist()
    pooled = FeatureStore(Path(handle.root), handle.spec).get(md5s, views)
    if missing := sorted(set(needs) - set(handle.local)):
        raise ValueError(f"stored_features: this run extracted no {missing}.")
    local = {need: FeatureStore(Path(handle.root), handle.local[need]).get(md5s, 1)[:, 0] for need in needs}
    grid = int(handle.local["patches"]["patches"][0]) if "patches" in local else 0
    return feature_set(pooled, local, grid)
