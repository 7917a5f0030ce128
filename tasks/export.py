"""Take a run's result out: the kept images and the lists, from the run's folder or from MLflow, with DVC or without."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.results.export import Exported, How, export_set
from irp_core.run.directory import RunDirectory
from irp_core.run.lasting import check_results
from irp_core.run.lookup import find_local_run
from irp_core.run.removal_tables import final_images
from tasks.runtime.progress import bar

__all__ = ["export_run"]

_Origin = tuple[str, pd.DataFrame, Path, Mapping[str, object], str | None]
"""Id, final states, folder of the images, what is known of the origin, DVC version of the first training set."""


def export_run(reference: str, to: Path, params: Params, *, how: How) -> Exported:
    """Write the final state of a run's training images into the folder `to` (`irp_core.results.export`).

    Args:
        reference: a run on this machine (folder, id, beginning of it, `last`), else one in MLflow, or a registered
            model NAME, NAME/version or NAME@alias.

    Raises:
        InputError: no such run, one that is not finished, or images that are nowhere to be had.
    """
    local = find_local_run(reference, Path(params.run.directory))
    run_id, images, root, about, version = _of_directory(local) if local else _of_mlflow(reference, params)
    about = {"run": run_id, "model": reference, **about}
    with bar("Exporting images") as advance:
        return export_set(
            images, root, to, how=how, about=about, elsewhere=partial(_from_dvc, version), progress=advance
        )


def _of_directory(run: RunDirectory) -> _Origin:
    if not run.has_results():
        raise InputError(f"{run.path}: expected a finished run; go on with `irp refine --resume {run.path}`.")
    check_results(run)
    record = run.record()
    version = run.snapshot(0)
    return run.run_id, final_images(run), run.data_root(), _about(record), version["md5"] if version else None


def _of_mlflow(reference: str, params: Params) -> _Origin:
    from tasks.tracking.finding import find_run

    run, iteration = find_run(reference, params)
    if iteration is not None and iteration != len(run.models) - 1:
        raise InputError(
            f"{reference}: expected a run or its last model, whose removals are final; an earlier model's training set "
            f"is made by `irp audit checkout {reference}`."
        )
    images = run.images() if run.ended else None
    if images is None:
        raise InputError(f"{run.run_id}: expected a finished run with a table of final states in MLflow, found none.")
    record = run.record()
    version = run.models[0].data.tags.get("irp.dvc_md5")
    return run.run_id, images, Path(record["data_root"]), _about(record), version


def _about(record: Mapping[str, object]) -> Mapping[str, object]:
    return {name: record[name] for name in ("version", "manifest_sha256") if name in record}


def _from_dvc(version: str | None, md5s: list[str]) -> Mapping[str, Path]:
    from tasks.versions.packed import image_places

    return image_places(version, md5s)
