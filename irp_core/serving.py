"""The saved detector as something with `predict`: what MLflow loads by this module's name, so that nothing is pickled.

A saved model brings this package along (`tasks.serving.save_pyfunc`): it loads where only the libraries are installed.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irp_core.errors import InputError
from irp_core.inspection import Inspector, Seen

__all__ = ["ALLOWED", "ANSWER", "PATHS", "ServedInspector"]

ALLOWED = "IRP_ALLOW_DETECTORS"
"""Environment variable with the detectors of other packages that may be loaded (`module:Class`, comma-separated).

MLflow's loader takes no argument for it."""

PATHS = "IRP_ALLOW_PATHS"
"""Environment variable which, set to 1, lets a table name files by `path`: for batches on one's own machine. A scoring
server that has it set reads whatever file a request names."""

ANSWER = ("md5", "score", "threshold", "decision", "error")
"""The columns of an answer."""

_MOST = 64  # images in one request
_HELD = 8  # decoded at a time, which bounds memory


class ServedInspector:
    """Scores the images of a table.

    Args:
        directory: what `irp_core.inspection.save_inspector` wrote.

    Raises:
        InputError: as `Inspector`.
    """

    def __init__(self, directory: Path) -> None:
        self._inspector = Inspector(directory, allow=os.environ.get(ALLOWED, "").split(","))

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score images: a row each of `md5, score, threshold, decision, error`, in their order.

        Args:
            model_input: a table with a column `image`, or a list or an array of images. An image is the bytes of its
                file, these in base64 (as JSON needs them), or its pixels (height, width[, 3]) of uint8. A table with
                a column `path` instead where `IRP_ALLOW_PATHS` is 1.

        An image that cannot be read has an `error` and stops no other.

        Raises:
            InputError: no images, more than 64, or paths where they are not allowed.
        """
        if isinstance(model_input, pd.DataFrame) and "path" in model_input and "image" not in model_input:
            return self._of_files(model_input["path"].tolist())
        images = _images(model_input)
        if len(images) > _MOST:
            raise InputError(f"expected at most {_MOST} images at once, found {len(images)}.")
        rows: list[dict[str, Any]] = []
        for first in range(0, len(images), _HELD):
            rows += self._inspector.judge([self._see(image) for image in images[first : first + _HELD]])
        return pd.DataFrame(rows, columns=list(ANSWER))

    def _of_files(self, paths: list[Any]) -> pd.DataFrame:
        if os.environ.get(PATHS) != "1":
            raise InputError(
                f"expected a column 'image' with the images' bytes (base64 over HTTP), found 'path'. Files are read by "
                f"their path only where {PATHS}=1 is set: for batches, never for a server."
            )
        return self._inspector.score([Path(path) for path in paths])

    def _see(self, image: Any) -> Seen | InputError:
        try:
            return self._inspector.see(image if isinstance(image, np.ndarray) else _bytes(image))
        except InputError as error:
            return error


def _images(model_input: Any) -> list[Any]:
    if isinstance(model_input, pd.DataFrame):
        if "image" not in model_input:
            raise InputError(f"expected a column 'image', found {[str(name) for name in model_input.columns][:8]}.")
        return list(model_input["image"])
    if isinstance(model_input, np.ndarray) and model_input.dtype == np.uint8:
        return [model_input] if model_input.ndim < 4 else list(model_input)
    if isinstance(model_input, (bytes, bytearray, str)):
        return [model_input]
    if isinstance(model_input, dict):
        return _images(pd.DataFrame({name: list(values) for name, values in model_input.items()}))
    if isinstance(model_input, (list, tuple, pd.Series, np.ndarray)):
        return list(model_input)
    raise InputError(
        f"expected a table with a column 'image', or a list of images, found {type(model_input).__name__}."
    )


def _bytes(image: Any) -> bytes:
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    if not isinstance(image, str):
        raise InputError(f"expected an image's bytes or their base64, found {type(image).__name__}")
    try:
        return base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("expected an image's bytes in base64, found text that is none") from None


def _load_pyfunc(data_path: str) -> ServedInspector:
    """MLflow's entry point of a `loader_module`."""
    return ServedInspector(Path(data_path))
