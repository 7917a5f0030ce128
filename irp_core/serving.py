"""The saved detector as something with `predict`: what MLflow loads by this module's name, so that nothing is pickled.

A saved model brings this package along (`tasks.serving.save_pyfunc`): it loads where only the libraries are installed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from irp_core.errors import InputError
from irp_core.inspection import Inspector

__all__ = ["ALLOWED", "ServedInspector"]

ALLOWED = "IRP_ALLOW_DETECTORS"
"""Environment variable with the detectors of other packages that may be loaded (`module:Class`, comma-separated).

MLflow's loader takes no argument for it."""


class ServedInspector:
    """Scores the files that a table names.

    Args:
        directory: what `irp_core.inspection.save_inspector` wrote.

    Raises:
        InputError: as `Inspector`.
    """

    def __init__(self, directory: Path) -> None:
        self._inspector = Inspector(directory, allow=os.environ.get(ALLOWED, "").split(","))

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score the image files of column `path`; returns the scores table of `Inspector.score`.

        Raises:
            InputError: no such column.
        """
        if "path" not in model_input:
            raise InputError(f"expected a column 'path' of image files, found {list(model_input.columns)}.")
        return self._inspector.score([Path(path) for path in model_input["path"]])


def _load_pyfunc(data_path: str) -> ServedInspector:
    """MLflow's entry point of a `loader_module`."""
    return ServedInspector(Path(data_path))
