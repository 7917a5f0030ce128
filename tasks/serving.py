"""A refined detector as an MLflow pyfunc: loaded by module, so that nothing is pickled.

`mlflow models serve` and `mlflow.pyfunc.load_model` take a table with a column `path` of image files that the server
can read, and answer with the scores table of `irp_core.inspection.Inspector`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.errors import InputError
from irp_core.inspection import Inspector

__all__ = ["save_pyfunc"]


class _Served:
    def __init__(self, directory: Path) -> None:
        self._inspector = Inspector(directory)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score the files of column `path`."""
        if "path" not in model_input:
            raise InputError(f"expected a column 'path' of image files, found {list(model_input.columns)}.")
        return self._inspector.score([Path(path) for path in model_input["path"]])


def _load_pyfunc(data_path: str) -> _Served:
    """MLflow's entry point of a `loader_module`."""
    return _Served(Path(data_path))


def save_pyfunc(model: Path, destination: Path) -> None:
    """Write the refined detector in `model` as an MLflow model directory."""
    import mlflow.pyfunc

    from irp_core import __version__

    mlflow.pyfunc.save_model(
        path=destination,
        loader_module="tasks.serving",
        data_path=model,
        pip_requirements=[f"irp=={__version__}"],
    )
