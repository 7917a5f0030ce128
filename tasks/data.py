"""Read a data set, make its contaminated manifest, open the run's directory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core import __version__
from irp_core.atomic import atomic_path, read_json, write_json
from irp_core.config import Params, digest
from irp_core.contamination import contaminate
from irp_core.datasets import (
    CROP_LOSS_SCHEMA,
    DUPLICATES_SCHEMA,
    QUARANTINE_SCHEMA,
    count_lost,
    crop_loss,
    scan,
)
from irp_core.errors import InputError
from irp_core.manifest import manifest_digest, read_manifest, training_rows, write_manifest, write_table
from irp_core.reviews import REVIEW_SCHEMA, current_decisions, no_events, read_events
from tasks.lineage import code_tags, result_params
from tasks.progress import bar
from tasks.retries import IO_RETRIES
from tasks.rundir import RunDirectory

__all__ = ["RunOptions", "create_run", "make_manifest", "prepare", "standing_decisions"]


def make_manifest(root: Path, params: Params, output: Path) -> dict[str, int | str]:
    """Scan `root`, contaminate, and write `manifest`, `quarantine`, `duplicates` and `crop_loss` into `output`."""
    with bar("Reading images") as advance:
        found = scan(root, params.dataset.layout, workers=params.features.workers, progress=advance)
    manifest = contaminate(found.manifest, params.dataset, params.contamination, seed=params.run.seed)
    write_table(found.quarantine, output / "quarantine.parquet", QUARANTINE_SCHEMA)
    write_table(found.duplicates, output / "duplicates.parquet", DUPLICATES_SCHEMA)
    crop = params.images.crop
    measured = crop_loss(root, manifest, crop, workers=params.features.workers)
    write_table(measured, output / "crop_loss.parquet", CROP_LOSS_SCHEMA)
    lost, cut = count_lost(measured)
    write_manifest(manifest, output / "manifest.parquet")
    splits = manifest["split"].value_counts()
    return {
        "layout": found.layout,
        "train": int(splits.get("train", 0) + splits.get("both", 0)),
        "test": int(splits.get("test", 0) + splits.get("both", 0)),
        "unused": int(splits.get("unused", 0)),
        "injected": int(manifest["injected"].sum()),
        "quarantined": len(found.quarantine),
        "duplicates": len(found.duplicates),
        "crop": crop,
        "masks": int(manifest["mask_path"].notna().sum()),
        "defects_lost": lost,
        "defects_cut": cut,
    }


@task(task_run_name="prepare", cache_policy=NO_CACHE, **IO_RETRIES)
def prepare(root: str, params: dict[str, Any], output: str) -> dict[str, int | str]:
    """Scan and contaminate; retried, because a plant's network share may blink."""
    counts = make_manifest(Path(root), Params.model_validate(params), Path(output))
    get_run_logger().info("Prepared %s: %s", root, counts)
    return counts


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for besides its parameters; all of it stands in `run.json`, so that resuming changes nothing.

    Attributes:
        share_with: directory of a finished run whose pre-trained detector may be taken over.
        total_epochs: epochs of the first training, for the control `equal_epochs`.
        random_counts: removals per iteration, for the control `random`.
        decisions: file of reviewers' decisions to respect besides `review.decisions`.
        operating: find the operating threshold, which trains the detector on `operating.folds` folds once more;
            without it the last round's threshold has to serve.
    """

    share_with: str | None = None
    total_epochs: int | None = None
    random_counts: tuple[int, ...] = ()
    decisions: str | None = None
    operating: bool = True


def standing_decisions(params: Params, manifest: pd.DataFrame, said: str | None = None) -> pd.DataFrame:
    """What reviewers decided before about training images of `manifest`, by content.

    Args:
        said: a file of decisions besides `review.decisions`.
    """
    files = [Path(params.review.decisions)] if params.review.decisions else []
    events = [read_events(file) for file in files if file.exists()] + ([read_events(Path(said))] if said else [])
    decisions = current_decisions(pd.concat([no_events(), *events], ignore_index=True))
    return decisions[decisions["md5"].isin(training_rows(manifest)["md5"])].reset_index(drop=True)


def create_run(root: Path, params: Params, prepared: Path, options: RunOptions) -> RunDirectory:
    """Make, or find again, the directory of the run that these inputs define.

    The run's id carries a digest of the manifest and of all parameters that a result depends on: the same
    command finds the same run and goes on with it. The parameters that are no part of the id (`review`, `tracking` …)
    are those of the latest command: an approval that is asked for now is not to be had under what was asked for first.
    """
    manifest = read_manifest(prepared / "manifest.parquet")
    if training_rows(manifest).empty:
        raise InputError(f"{root}: expected training images, found none after the split.")
    manifest_sha256 = manifest_digest(manifest)
    decisions = standing_decisions(params, manifest, options.decisions)
    reviewed = decisions.to_dict("list") if len(decisions) else {}
    identity = digest(
        manifest_sha256, result_params(params), options.total_epochs, list(options.random_counts), __version__, reviewed
    )
    name = root.resolve().name.replace(" ", "_") or "data"
    run = RunDirectory(Path(params.run.directory) / f"{name}-{params.refinement.method}-{identity[:8]}")
    run.path.mkdir(parents=True, exist_ok=True)
    for table in ("manifest", "quarantine", "duplicates"):
        source = prepared / f"{table}.parquet"
        if source.exists():
            with atomic_path(run.path / source.name) as temporary:
                temporary.write_bytes(source.read_bytes())
    if len(decisions):
        write_table(decisions, run.path / "decisions.parquet", REVIEW_SCHEMA)
    file = run.path / "run.json"
    first = {
        "run_id": run.run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_root": str(root.resolve()),
        "dataset": name,
        "manifest_sha256": manifest_sha256,
        "version": __version__,
        "code": code_tags(),
    }
    latest = {"params": params.model_dump(mode="json"), **asdict(options)}
    write_json(file, {**(read_json(file) if file.exists() else first), **latest})
    return run
