"""Score new images with a refined detector, from a run's directory or from MLflow's model registry."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.inspection import Inspector, image_files
from irp_core.localisation.writing import MapWriter
from irp_core.model_files import INSPECTOR
from irp_core.run.directory import RunDirectory, is_run
from irp_core.run.files import MODEL
from irp_core.run.lasting import check_results
from tasks.runtime.progress import bar

__all__ = ["download_model", "local_model", "model_folder", "no_model", "open_inspector", "score_images"]


def score_images(
    model: str, path: Path, params: Params, *, allow: Collection[str] = (), maps: Path | None = None
) -> pd.DataFrame:
    """Score an image or every image below a folder; what cannot be read there has a row with its `error`.

    Args:
        model: a run's directory, a folder with `inspector.json`, or a registered model `NAME`, `NAME/version`
            or `NAME@alias`.
        allow: detectors of other packages that may be loaded.
        maps: folder into which each image's map goes (`irp_core.localisation.writing.MapWriter`).

    Raises:
        InputError: no such model, one whose files were changed since it was logged, or no images.
    """
    files, unusable = image_files(path)
    inspector = open_inspector(model, params, allow=allow, maps=maps is not None)
    writer = None
    if maps is not None and inspector.scale is not None:
        writer = MapWriter(maps, path if path.is_dir() else path.parent, inspector.scale, inspector.images)
    with bar("Scoring") as advance:
        table = inspector.score(
            files, workers=params.features.workers, progress=advance, unusable=unusable, on_map=writer
        )
    if writer is not None:
        writer.finish()
    return table


def open_inspector(model: str, params: Params, *, allow: Collection[str] = (), maps: bool | None = False) -> Inspector:
    """The detector of a run or of a registered model, in memory: nothing of what was fetched for it stays.

    Args:
        model, allow: as `score_images`.
        maps: as `Inspector`.

    Raises:
        InputError: no such model, or one that cannot be used.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return Inspector(model_folder(model, params, Path(temporary)), params.features.device, allow=allow, maps=maps)


def model_folder(model: str, params: Params, temporary: Path) -> Path:
    """The folder of a run's or a registered model; the latter is fetched into `temporary` and held against its hashes.

    Raises:
        InputError: as `score_images`.
    """
    if (folder := local_model(model)) is not None:
        return folder
    if Path(model).exists():
        raise InputError(f"{model}: expected a finished run or a refined detector (inspector.json), found none.")
    return download_model(model, params, temporary)


def local_model(model: str) -> Path | None:
    """The folder of a run's model, or of a saved detector, on this machine; None where `model` is no such folder.

    Raises:
        InputError: the run's results are not as it left them.
    """
    run = RunDirectory(Path(model))
    if is_run(run.path) and (run.model / INSPECTOR).is_file():
        check_results(run)
    folders = (run.model, run.path)
    return next((folder for folder in folders if (folder / INSPECTOR).is_file()), None)


def no_model(model: str, params: Params) -> InputError:
    """That a reference is neither a run's folder nor a registered model."""
    return InputError(
        f"{model}: expected a run's directory or a model registered at {params.tracking.uri} "
        "(NAME, NAME/version or NAME@alias), found neither."
    )


def download_model(model: str, params: Params, temporary: Path) -> Path:
    """The folder of a registered detector (`NAME`, `NAME/version` or `NAME@alias`), brought below `temporary`.

    Raises:
        InputError: no such model, or files that were changed since it was logged.
    """
    from mlflow.exceptions import MlflowException

    from tasks.tracking.artifacts import DELETED_TAG
    from tasks.tracking.queries import client_of, model_version
    from tasks.tracking.reader import TrackedRun

    client = client_of(params)
    found = model_version(model, client)
    try:
        if found is None:
            raise MlflowException(f"no model {model}")
        run = client.get_run(found.run_id)
        if deleted := run.data.tags.get(DELETED_TAG):
            raise InputError(f"{model}: its weights were deleted {deleted} (irp gc); its data set is still to be had.")
        downloaded = Path(client.download_artifacts(found.run_id, MODEL, str(temporary)))
    except MlflowException:
        raise no_model(model, params) from None
    own = f"{run.info.artifact_uri}/{MODEL}"
    if str(found.source).rstrip("/") != own:
        raise InputError(f"{model}: expected the model of its own run ({own}), found {found.source}.")
    TrackedRun(client, run).check_files(downloaded, MODEL)
    # An MLflow model keeps our files one folder down.
    return next(downloaded.rglob(INSPECTOR)).parent
