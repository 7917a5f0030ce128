"""Read a data set, make its contaminated manifest, open the run's directory."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core import __version__
from irp_core.config import Params, digest
from irp_core.data.crop_loss import count_lost, crop_loss
from irp_core.data.manifest import manifest_digest, training_rows
from irp_core.data.scan import scan_and_contaminate
from irp_core.data.seen.known_files import KnownFiles
from irp_core.data.set_notes import Size
from irp_core.data.split.hash_split import sides
from irp_core.errors import InputError
from irp_core.refinement.reviews import current_decisions, no_events, read_events
from irp_core.run.directory import RunDirectory, is_run
from irp_core.run.files import RECORD
from irp_core.run.inputs import RunInputs, is_sealed, sealed_record
from irp_core.run.prepared import PreparedSet, expect_trainable
from irp_core.run.prepared_digests import check_prepared
from irp_core.run.review_log import bring_all_up_to_date
from tasks.runtime.one_at_a_time import one_at_a_time
from tasks.runtime.progress import bar, tell
from tasks.runtime.retries import IO_RETRIES
from tasks.versions.lineage import code_tags, result_params

__all__ = ["at_work", "create_run", "make_manifest", "prepare", "standing_decisions"]


def make_manifest(root: Path, params: Params, output: Path, before: Path | None = None) -> dict[str, int | str]:
    """Scan `root`, contaminate, and write the prepared set with all that was left out of it into `output`.

    Args:
        before: an earlier prepared set, or run, of the same images and fewer: with `dataset.split: hash` its test
            split stands.
    """
    prepared = PreparedSet(output)
    with bar("Reading images") as advance:
        found, manifest = scan_and_contaminate(
            root,
            params,
            earlier=sides(PreparedSet(before).manifest()) if before else None,
            known=KnownFiles(Path(params.local_store), params.images),
            progress=advance,
        )
    prepared.write_found(found)
    crop = params.images.crop
    measured = crop_loss(root, manifest, crop, workers=params.features.workers)
    prepared.write_crop_loss(measured)
    lost, cut = count_lost(measured)
    prepared.write_manifest(manifest)
    splits = manifest["split"].value_counts()
    return {
        "layout": found.layout,
        "train": int(splits.get("train", 0) + splits.get("both", 0)),
        "test": int(splits.get("test", 0) + splits.get("both", 0)),
        "unused": int(splits.get("unused", 0)),
        "injected": int(manifest["injected"].sum()),
        "quarantined": len(found.quarantine),
        "ignored": int(found.ignored["files"].sum()),
        "duplicates": len(found.duplicates),
        "near_copies": len(found.near_copies),
        "crop": crop,
        "size": _size(params.images.size),
        "recommended_size": _size(found.size),
        "masks": int(manifest["mask_path"].notna().sum()),
        "defects_lost": lost,
        "defects_cut": cut,
    }


@task(task_run_name="prepare", cache_policy=NO_CACHE, **IO_RETRIES)
def prepare(root: str, params: dict[str, Any], output: str, before: str | None = None) -> dict[str, int | str]:
    """Scan and contaminate; retried, because a plant's network share may blink. Arguments as in `make_manifest`."""
    earlier = Path(before) if before else None
    counts = make_manifest(Path(root), Params.model_validate(params), Path(output), earlier)
    get_run_logger().info("Prepared %s: %s", root, counts)
    return counts


def _size(size: Size) -> str:
    """As it stands on the command line."""
    return str(size) if isinstance(size, int) else f"[{size[0]},{size[1]}]"


def standing_decisions(params: Params, manifest: pd.DataFrame, said: Path | None = None) -> pd.DataFrame:
    """What reviewers decided before about training images of `manifest`, by content.

    Args:
        said: a file of decisions besides `review.decisions`.
    """
    files = [Path(params.review.decisions)] if params.review.decisions else []
    for file in files:
        bring_all_up_to_date(Path(params.run.directory), file)
    events = [read_events(file) for file in files if file.exists()] + ([read_events(said)] if said else [])
    decisions = current_decisions(pd.concat([no_events(), *events], ignore_index=True))
    return decisions[decisions["md5"].isin(training_rows(manifest)["md5"])].reset_index(drop=True)


def create_run(root: Path, params: Params, prepared: Path, inputs: RunInputs, name: str | None = None) -> RunDirectory:
    """Make, or find again, the directory of the run that these inputs define.

    The run's id carries a digest of the manifest and of all parameters that a result depends on: the same
    command finds the same run and goes on with it. The parameters that are no part of the id (`review`, `tracking` …)
    are those of the latest command: an approval that is asked for now is not to be had under what was asked for first.
    The same holds for the inputs that are no part of it (`operating`, `share_with`).

    Args:
        prepared: folder of the prepared data set.
        inputs: what the run is asked to do besides its parameters; `share_with` is another run's directory.
        name: of the data set; None: the folder's.
    """
    check_prepared(prepared)
    manifest = PreparedSet(prepared).manifest()
    expect_trainable(manifest, root)
    manifest_sha256 = manifest_digest(manifest)
    decisions = standing_decisions(params, manifest, Path(inputs.decisions) if inputs.decisions else None)
    reviewed = decisions.to_dict("list") if len(decisions) else {}
    copies = PreparedSet(prepared).near_copies()
    grouped = [copies.to_dict("list")] if len(copies) else []
    identity = digest(
        manifest_sha256, result_params(params), inputs.total_epochs, list(inputs.random_counts), __version__, reviewed,
        *grouped,
    )  # fmt: skip
    name = name or root.resolve().name.replace(" ", "_") or "data"
    suffix = f"-{params.refinement.method}-{identity[:8]}"
    run = _moved(Path(params.run.directory), suffix, manifest_sha256) or RunDirectory(
        Path(params.run.directory) / f"{name}{suffix}"
    )
    run.path.mkdir(parents=True, exist_ok=True)
    with at_work(run):
        _begin(run, root, params, prepared, inputs, decisions, suffix, manifest_sha256)
    return run


@contextmanager
def at_work(run: RunDirectory) -> Iterator[None]:
    """Inside, no other process is at work on the run: one that is given the same command waits, and finds it done."""
    with one_at_a_time(run.work_lock, lambda: tell(f"{run.path}: another process is at work on this run; waiting ...")):
        yield


def _begin(
    run: RunDirectory,
    root: Path,
    params: Params,
    prepared: Path,
    inputs: RunInputs,
    decisions: pd.DataFrame,
    suffix: str,
    manifest_sha256: str,
) -> None:
    """Write what the run begins with."""
    PreparedSet(prepared).copy_to(run.path)
    run.write_decisions(decisions)
    first = {
        "run_id": run.run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": run.run_id.removesuffix(suffix),
        "manifest_sha256": manifest_sha256,
        "version": __version__,
        "code": code_tags(),
    }
    record = {
        **(_known_record(run) or first),
        "decisions_sha256": run.decisions_sha256(),
        "prepared_sha256": PreparedSet(run.path).table_digests(),
        "digests": True,  # MLflow will have the run's manifest of digests: without it the run was tampered with
        "data_root": _address(root, params),  # where they are now: the manifest says that they are the same images
        "params": params.model_dump(mode="json"),
        **_from(run.path.parent, inputs).plain(),
    }
    run.write_record(sealed_record(record))
    run.note_repeat()


def _moved(runs: Path, suffix: str, manifest_sha256: str) -> RunDirectory | None:
    """The run of these very images from before they were moved to a folder of another name; None without one."""
    for record in sorted(runs.glob(f"*{glob.escape(suffix)}/{RECORD}")):
        run = RunDirectory(record.parent)
        try:
            if run.record().get("manifest_sha256") == manifest_sha256 and not run.data_root().exists():
                return run
        except (InputError, KeyError):  # a record that is damaged is no reason not to begin this run
            continue
    return None


def _address(root: Path, params: Params) -> str:
    """A folder inside the project relative to it, so that both may be moved; another by its whole path."""
    whole, project = root.resolve(), Path.cwd().resolve()
    inside = whole.is_relative_to(project) and not Path(params.run.directory).is_absolute()
    return whole.relative_to(project).as_posix() if inside else str(whole)


def _known_record(run: RunDirectory) -> dict[str, Any] | None:
    """What is on record of a run that is found again; None where there is nothing, or nothing to go by."""
    if not is_run(run.path):
        return None
    try:
        record = run.record()
        if is_sealed(record):
            return record
        reason = "was changed since it was written"
    except InputError as error:
        reason = str(error)
    logging.getLogger(__name__).warning("%s: the record is written again (%s).", run.path, reason)
    return None


def _from(runs: Path, inputs: RunInputs) -> RunInputs:
    """The inputs as a run among `runs` keeps them: what it shares with is named from there, wherever both are moved."""
    if inputs.share_with is None:
        return inputs
    return replace(inputs, share_with=os.path.relpath(Path(inputs.share_with).resolve(), runs.resolve()))
