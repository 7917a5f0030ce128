"""One refinement run, made once for the session, and the means to make others."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from irp_core.params_file import load_params
from tests.conftest import TINY

__all__ = ["TABLES", "prefect_secret", "refine_in", "store_of", "table_hashes"]

TABLES = ("manifest", "scores", "removals", "images", "iterations", "test_scores", "quarantine", "duplicates")


def store_of(workspace: Path) -> str:
    """The tracking store of a workspace, by its absolute path: MLflow keeps one engine per address and process.

    Its database is there already: MLflow's migrations take seconds (`tests/tasks/tracking/test_database.py` is theirs).
    """
    database = workspace.resolve() / "mlflow.db"
    if not database.exists() and workspace.is_dir():
        shutil.copyfile(_empty_database(), database)
    return f"sqlite:///{database}"


@cache
def _empty_database() -> Path:
    """One database for the whole process, to be copied."""
    from tasks.tracking.database import ensure_database

    folder = Path(tempfile.mkdtemp(prefix="irp-database-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ensure_database(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


def refine_in(workspace: Path, data: Path, overrides: Sequence[str] = (), **options: object) -> Path:
    """Run the refine flow with `workspace` as the current directory; returns the run's directory."""
    from flows.refine import refine

    store = f"tracking.uri={store_of(workspace)}"
    params = load_params(None, [*TINY, store, *overrides]).model_dump(mode="json")
    before = Path.cwd()
    os.chdir(workspace)
    try:
        return workspace / refine(str(data), params, **options)
    finally:
        os.chdir(before)


def prefect_secret() -> tuple[str, str]:
    """User and password of the session's temporary Prefect server."""
    user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
    return user, password


def table_hashes(run: Path) -> dict[str, str]:
    """sha256 of every table of a run and of its final weights."""
    files = [run / f"{name}.parquet" for name in TABLES] + [run / "model" / "weights.safetensors"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()}
