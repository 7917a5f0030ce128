"""A refined detector as an MLflow pyfunc, complete: weights, the code that reads them, the libraries it needs.

`mlflow models serve` and `mlflow.pyfunc.load_model` take a table with a column `path` of image files that the server
can read, and answer with the scores table of `irp_core.inspection.Inspector`.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import irp_core
from irp_core.hashing import file_sha256
from irp_core.serving import _load_pyfunc  # models saved by versions up to 0.1 name this module

__all__ = ["CODE", "LIBRARIES", "_load_pyfunc", "save_pyfunc"]

CODE = "code"
"""Folder of the code inside a saved model; its files' sha256 are in `code.sha256`, which `sha256sum -c` reads."""

LIBRARIES = (
    "filelock", "matplotlib", "numpy", "pandas", "pillow", "pyarrow", "pydantic", "PyYAML", "safetensors",
    "scikit-learn", "scipy", "torch",
)  # fmt: skip
"""The distributions that `irp_core` imports. This project itself is none: the public registry's `irp` is not it."""


def save_pyfunc(model: Path, destination: Path) -> None:
    """Write the refined detector in `model` as an MLflow model directory that loads without this project installed."""
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        path=destination,
        loader_module="irp_core.serving",
        data_path=model,
        code_paths=[str(Path(irp_core.__file__).parent)],
        pip_requirements=[f"{name}=={version(name)}" for name in LIBRARIES],
    )
    files = sorted(path for path in (destination / CODE).rglob("*") if path.is_file())
    lines = [f"{file_sha256(file)}  {file.relative_to(destination).as_posix()}\n" for file in files]
    (destination / "code.sha256").write_text("".join(lines), encoding="utf-8")
