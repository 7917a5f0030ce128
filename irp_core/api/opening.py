"""`irp_core.load`: open what a refinement left on disk."""

from __future__ import annotations

from pathlib import Path

from irp_core.api.result import Model, Result
from irp_core.errors import InputError
from irp_core.model_files import INSPECTOR
from irp_core.run.directory import RunDirectory, is_run
from irp_core.run.lasting import check_results

__all__ = ["load"]


def load(path: str | Path) -> Result | Model:
    """Open a run's folder (of the command line or of `Result.save`), or the folder of a detector alone.

    Returns:
        A `Result` with the run's tables, or a `Model`, which can only score.

    Raises:
        InputError: neither is there, or the run is not finished.
    """
    folder = Path(path)
    if is_run(folder):
        run = RunDirectory(folder)
        if not run.has_results():
            raise InputError(f"{folder}: expected a finished run, found one that did not end.")
        check_results(run)
        return Result(run)
    if (folder / INSPECTOR).is_file():
        return Model(folder)
    raise InputError(f"{folder}: expected a run's folder (with run.json) or a detector's ({INSPECTOR}), found neither.")
