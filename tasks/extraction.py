"""Fill the feature store, and read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.atomic import read_json, write_json
from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.features import PooledExtractor, extract, extractor_spec, resolve_device, resolve_precision
from irp_core.manifest import other_rows, training_rows
from irp_core.store import FeatureStore
from tasks.progress import bar
from tasks.retries import IO_RETRIES
from tasks.rundir import RunDirectory
from tasks.weights import resolve_weights

__all__ = ["StoreHandle", "extract_features", "open_extractor", "stored_features"]


@dataclass(frozen=True)
class StoreHandle:
    """What a later task needs to read the same rows: the store's place and the extractor's description."""

    root: str
    spec: dict[str, object]
    fingerprint: str


def open_extractor(params: Params) -> tuple[PooledExtractor, dict[str, object]]:
    """The configured extractor and its description (fetches weights where they are not local)."""
    device = resolve_device(params.features.device)
    precision = resolve_precision(params.features.precision, device)
    backbone = load_backbone(params.features.backbone, resolve_weights(params.features), params.features.layers)
    spec = extractor_spec(params, backbone, precision)
    return PooledExtractor(backbone, params.features.scales, device, precision), spec


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
    file = run.path / "features.json"
    record = read_json(file) if file.exists() else {}
    # A resumed run finds its own rows in the store: what counts is what the whole run put through the network.
    before = record.get(split, {"misses": 0})
    record[split] = {"images": use.hits + use.misses, "misses": before["misses"] + use.misses}
    record["fingerprint"] = store.fingerprint
    write_json(file, record)
    get_run_logger().info("Features of %s: %d found, %d extracted", split, use.hits, use.misses)
    return StoreHandle(params.features.store, spec, store.fingerprint)


def stored_features(handle: StoreHandle, rows: pd.DataFrame, views: int) -> NDArray[np.float32]:
    """Features (images, views, dimensions) of `rows`, in their order."""
    return FeatureStore(Path(handle.root), handle.spec).get(rows["md5"].tolist(), views)
