"""Fill the feature store: the task around `irp_core.features.pipeline`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.config import Params
from irp_core.data.manifest import other_rows, training_rows
from irp_core.errors import InputError
from irp_core.features.feature_set import Local
from irp_core.features.pipeline import FeaturePipeline, StoredFeatures
from irp_core.features.store import StoreUse
from irp_core.refinement.scoring import local_needed, only_of
from irp_core.run.directory import RunDirectory
from tasks.fetch.weights import resolve_weights
from tasks.runtime.cluster import Workers
from tasks.runtime.object_store import elsewhere
from tasks.runtime.progress import bar
from tasks.runtime.retries import IO_RETRIES

__all__ = ["extract_features", "fill_shard", "open_pipeline"]


def open_pipeline(params: Params, needs: Iterable[Local]) -> FeaturePipeline:
    """The configured pipeline (fetches weights where they are not local)."""
    return FeaturePipeline(params, resolve_weights(params.features), needs, elsewhere(params))


@task(task_run_name="extract-{split}", cache_policy=NO_CACHE, **IO_RETRIES)
def extract_features(run_path: str, split: str) -> StoredFeatures:
    """Extract the views of the images that the store lacks; retried, because it reads files.

    Args:
        split: `train`, or `rest` for all others: the test images, and those that this seed left unused, so that
            another seed or noise level finds every image of the data set in the store.
    """
    run = RunDirectory(Path(run_path))
    with run.timed("extract"):
        params, manifest = run.params(), run.manifest()
        rows = training_rows(manifest) if split == "train" else other_rows(manifest)
        pipeline = open_pipeline(params, local_needed(params))
        only = only_of(params, rows["md5"].tolist()) if split == "train" else {}
        root = run.data_root()
        others = _fill_on_cluster(params, rows, root, split, only) if params.runtime.cluster and len(rows) else 0
        use = pipeline.fill(rows, root, split, bar, only)
        use = StoreUse(use.hits - others, use.misses + others)
    record = _known(run)
    # A resumed run finds its own rows in the store: what counts is what the whole run put through the network.
    before = record.get(split, {"misses": 0})
    record[split] = {"images": use.hits + use.misses, "misses": before["misses"] + use.misses}
    record["fingerprint"] = pipeline.stored.fingerprint
    run.write_features(record)
    get_run_logger().info("Features of %s: %d found, %d extracted", split, use.hits, use.misses)
    return pipeline.stored


@dataclass(frozen=True)
class _Shard:
    """What a worker needs to extract some of a data set's images; it sees the same files at the same paths."""

    params: Params
    needs: tuple[Local, ...]
    rows: pd.DataFrame
    root: Path
    only: Mapping[Local, frozenset[str]]


def _fill_on_cluster(
    params: Params, rows: pd.DataFrame, root: Path, split: str, only: Mapping[Local, frozenset[str]]
) -> int:
    """Let the workers of `runtime.cluster` fill the store, a shard each; returns how many images they extracted.

    They use as many threads as this process: the last bit of a feature may depend on it.
    """
    needs = tuple(local_needed(params))
    # A worker's current folder is another one.
    store = params.features.store if params.features.elsewhere else str(Path(params.features.store).resolve())
    there = params.features.model_copy(update={"store": store})
    weights = resolve_weights(params.features)
    if weights is not None:
        there = there.model_copy(update={"weights": str(weights.resolve())})
    params, cluster, size = params.model_copy(update={"features": there}), params.runtime.cluster, params.runtime.shard
    assert cluster is not None
    different = rows.drop_duplicates("md5")[["image_id", "md5"]]
    shards = [
        _Shard(params, needs, part, root.resolve(), {name: of & frozenset(part["md5"]) for name, of in only.items()})
        for part in (different.iloc[first : first + size] for first in range(0, len(different), size))
    ]
    extracted = 0
    shown = bar(f"Extracting on {cluster} ({split}), shards")
    with shown as advance, Workers(cluster, torch.get_num_threads(), size) as workers:
        for done, use in enumerate(workers.each(fill_shard, [(shard,) for shard in shards]), start=1):
            extracted += use.misses
            advance(done, len(shards))
    return extracted


def fill_shard(shard: _Shard) -> StoreUse:
    """Extract what the store lacks of a shard, in a worker of a cluster."""
    weights = shard.params.features.weights
    pipeline = FeaturePipeline(shard.params, Path(weights) if weights else None, shard.needs, elsewhere(shard.params))
    return pipeline.fill(shard.rows, shard.root, "shard", only=shard.only)


def _known(run: RunDirectory) -> dict[str, Any]:
    """What is on record of earlier sessions; a record that was damaged is begun anew."""
    try:
        return run.features()
    except InputError as error:
        logging.getLogger(__name__).warning("%s It is written again.", error)
        return {}
