"""Fill the feature store: the task around `irp_core.features.pipeline`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.config import Params
from irp_core.data.manifest import other_rows, training_rows
from irp_core.errors import InputError
from irp_core.features.feature_set import Local
from irp_core.features.pipeline import FeaturePipeline, StoredFeatures
from irp_core.refinement.scoring import local_needed, only_of
from irp_core.run.directory import RunDirectory
from tasks.fetch.weights import resolve_weights
from tasks.runtime.progress import bar
from tasks.runtime.retries import IO_RETRIES

__all__ = ["extract_features", "open_pipeline"]


def open_pipeline(params: Params, needs: Iterable[Local]) -> FeaturePipeline:
    """The configured pipeline (fetches weights where they are not local)."""
    return FeaturePipeline(params, resolve_weights(params.features), needs)


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
        use = pipeline.fill(rows, run.data_root(), split, bar, only)
    record = _known(run)
    # A resumed run finds its own rows in the store: what counts is what the whole run put through the network.
    before = record.get(split, {"misses": 0})
    record[split] = {"images": use.hits + use.misses, "misses": before["misses"] + use.misses}
    record["fingerprint"] = pipeline.stored.fingerprint
    run.write_features(record)
    get_run_logger().info("Features of %s: %d found, %d extracted", split, use.hits, use.misses)
    return pipeline.stored


def _known(run: RunDirectory) -> dict[str, Any]:
    """What is on record of earlier sessions; a record that was damaged is begun anew."""
    try:
        return run.features()
    except InputError as error:
        logging.getLogger(__name__).warning("%s It is written again.", error)
        return {}
