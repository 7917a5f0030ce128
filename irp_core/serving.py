"""The saved detector as something with `predict`: what MLflow loads by this module's name, so that nothing is pickled.

A saved model brings this package along (`tasks.serving.save_pyfunc`): it loads where only the libraries are installed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.errors import InputError
from irp_core.inspection import Inspector, Seen
from irp_core.inspection.mapped import KINDS, map_png

__all__ = ["ALLOWED", "ANSWER", "MAPPED", "PATHS", "ServedInspector"]

ALLOWED = "IRP_ALLOW_DETECTORS"
"""Environment variable with the detectors of other packages that may be loaded (`module:Class`, comma-separated).

MLflow's loader takes no argument for it."""

PATHS = "IRP_ALLOW_PATHS"
"""Environment variable which, set to 1, lets a table name files by `path`: for batches on one's own machine. A scoring
server that has it set reads whatever file a request names."""

ANSWER = ("md5", "score", "threshold", "decision", "error")
"""The columns of an answer."""

MAPPED = ("map", "boxes")
"""Further columns where maps are asked for: the PNG file in base64, and the rectangles around what exceeds the map's
threshold (JSON; left, top, right, bottom), in pixels of the upright image."""

NO_MAP = "none"
"""What `params` says where no map is asked for."""

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
        self._inspector = Inspector(directory, allow=os.environ.get(ALLOWED, "").split(","), maps=None)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score images: a row each of `md5, score, threshold, decision, error`, in their order.

        Args:
            model_input: a table with a column `image`, or a list or an array of images. An image is the bytes of its
                file, these in base64 (as JSON needs them), or its pixels (height, width[, 3]) of uint8. A table with
                a column `path` instead where `IRP_ALLOW_PATHS` is 1.
            params: `{"map": "png"}` adds the columns `map` and `boxes`, the image with its map over it; `raw`: the
                16-bit map (`irp_core.inspection.mapped.KINDS`).

        An image that cannot be read has an `error` and stops no other.

        Raises:
            InputError: no images, more than 64, paths where they are not allowed, a kind of map that is none, or maps
                of a model that makes none.
        """
        kind = self._map_asked(params)
        if isinstance(model_input, pd.DataFrame) and "path" in model_input and "image" not in model_input:
            return self._of_files(model_input["path"].tolist(), kind)
        images = _images(model_input)
        if len(images) > _MOST:
            raise InputError(f"expected at most {_MOST} images at once, found {len(images)}.")
        return self._judged(images, kind)

    def _judged(self, images: list[Any], kind: str | None) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for first in range(0, len(images), _HELD):
            given = [_content(image) for image in images[first : first + _HELD]]
            views: dict[int, NDArray[np.float32]] = {}
            judged = self._inspector.judge([self._see(one) for one in given], views.__setitem__ if kind else None)
            for place, view in views.items():
                png, says = map_png(given[place], view, self._inspector, str(kind))  # type: ignore[arg-type]  # it has a score
                judged[place] |= {"map": base64.b64encode(png).decode(), "boxes": json.dumps(says["boxes"])}
            rows += judged
        return pd.DataFrame(rows, columns=[*ANSWER, *(MAPPED if kind else ())])

    def _map_asked(self, params: dict[str, Any] | None) -> str | None:
        kind = (params or {}).get("map", NO_MAP)
        if kind == NO_MAP:
            return None
        if kind not in KINDS:
            raise InputError(f"params.map: expected one of {', '.join((NO_MAP, *KINDS))}, found {str(kind)[:40]!r}.")
        if self._inspector.scale is None:
            raise InputError("params.map: this model makes no maps.")
        return str(kind)

    def _of_files(self, paths: list[Any], kind: str | None) -> pd.DataFrame:
        if os.environ.get(PATHS) != "1":
            raise InputError(
                f"expected a column 'image' with the images' bytes (base64 over HTTP), found 'path'. Files are read by "
                f"their path only where {PATHS}=1 is set: for batches, never for a server."
            )
        if kind:
            raise InputError(
                "params.map: expected images in a column 'image', found paths; `irp score --maps` has files."
            )
        return self._inspector.score([Path(path) for path in paths])

    def _see(self, image: bytes | NDArray[np.uint8] | InputError) -> Seen | InputError:
        try:
            return image if isinstance(image, InputError) else self._inspector.see(image)
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


def _content(image: Any) -> bytes | NDArray[np.uint8] | InputError:
    try:
        return image if isinstance(image, np.ndarray) else _bytes(image)
    except InputError as error:
        return error


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
