"""Score new images with a refined detector, from a run's directory or from MLflow's model registry."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from irp_core.config import Params
from irp_core.data.walk import walk
from irp_core.errors import InputError
from irp_core.inspection import INSPECTOR, Inspector
from irp_core.run.directory import RunDirectory
from irp_core.run.files import MODEL
from tasks.runtime.progress import bar

__all__ = ["score_images"]


def score_images(model: str, path: Path, params: Params) -> pd.DataFrame:
    """Score an image or every image below a folder; what cannot be read there has a row with its `error`.

    Args:
        model: a run's directory, a folder with `inspector.json`, or a registered model `NAME`, `NAME/version`
            or `NAME@alias`.

    Raises:
        InputError: no such model, or no images.
    """
    if not path.exists():
        raise InputError(f"{path}: expected an image or a folder of images, found nothing.")
    tree = walk(path) if path.is_dir() else None
    files = [path / name for name in tree.images] if tree else [path]
    unusable = {str(path / name): reason for name, reason in tree.quarantined.items()} if tree else {}
    if not files:
        first = f" ({len(unusable)} unreadable, first: {next(iter(unusable.values()))})" if unusable else ""
        raise InputError(f"{path}: expected an image or a folder of images, found none{first}.")
    with tempfile.TemporaryDirectory() as temporary:
        inspector = Inspector(_model_folder(model, params, Path(temporary)), params.features.device)
        with bar("Scoring") as advance:
            table = inspector.score(files, workers=params.features.workers, progress=advance)
    without = {"md5": None, "score": None, "threshold": inspector.threshold, "decision": None}
    left_out = [{"path": file, **without, "error": reason} for file, reason in unusable.items()]
    return pd.DataFrame([*table.to_dict("records"), *left_out], columns=table.columns)


def _model_folder(model: str, params: Params, temporary: Path) -> Path:
    for folder in (RunDirectory(Path(model)).model, Path(model)):
        if (folder / INSPECTOR).is_file():
            return folder
    if Path(model).exists():
        raise InputError(f"{model}: expected a finished run or a refined detector (inspector.json), found none.")
    return _download(model, params, temporary)


def _download(model: str, params: Params, temporary: Path) -> Path:
    from mlflow.exceptions import MlflowException

    from tasks.tracking.queries import client_of, model_version

    client = client_of(params)
    found = model_version(model, client)
    try:
        if found is None:
            raise MlflowException(f"no model {model}")
        downloaded = client.download_artifacts(found.run_id, MODEL, str(temporary))
    except MlflowException:
        raise InputError(
            f"{model}: expected a run's directory or a model registered at {params.tracking.uri} "
            f"(NAME, NAME/version or NAME@alias), found neither."
        ) from None
    # An MLflow model keeps our files one folder down.
    return next(Path(downloaded).rglob(INSPECTOR)).parent
