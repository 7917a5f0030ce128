"""A refined detector as an MLflow pyfunc, complete: weights, the code that reads them, the libraries it needs.

`mlflow models serve` and `mlflow.pyfunc.load_model` take images (bytes, their base64, or pixels) in a column `image`
and answer with `irp_core.serving.ANSWER`.
"""

from __future__ import annotations

import base64
import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import irp_core
from irp_core.atomic import read_json_object
from irp_core.hashing import file_sha256
from irp_core.model_files import DETECTOR, INSPECTOR
from irp_core.serving import NO_MAP, _load_pyfunc  # models saved by versions up to 0.1 name this module

__all__ = ["CARD", "CODE", "LIBRARIES", "_load_pyfunc", "save_pyfunc"]

CODE = "code"
"""Folder of the code inside a saved model; its files' sha256 are in `code.sha256`, which `sha256sum -c` reads."""

CARD = "MODEL_CARD.md"

LIBRARIES = (
    "cronsim", "filelock", "jinja2", "markupsafe", "matplotlib", "numpy", "pandas", "pillow", "pyarrow", "pydantic",
    "PyYAML", "safetensors", "scikit-learn", "scipy", "threadpoolctl", "torch",
)  # fmt: skip
"""The distributions that `irp_core` imports. This project itself is none: the public registry's `irp` is not it."""

_CARD = """# Model card

A detector of anomalous images, trained by IRP {irp} on images that were assumed to be good and from which what stands
out was removed. It knows no kinds of defects: it says how far an image is from the images it was trained on.

| | |
|---|---|
| detector | `{detector}` |
| features | `{backbone}` at {scales} pixels, {views} views per image |
| image size | {size} (crop: {crop}) |
| threshold | {threshold:.6g}; above it, an image is `anomalous` |
| false alarms | about {rate} of new good images exceed the threshold, as estimated on the kept training images |

## Use
Python: `mlflow.pyfunc.load_model(URI).predict(pandas.DataFrame({{"image": [open("plate.png", "rb").read()]}}))`;
an image may also be an array (height, width, 3) of uint8. HTTP, after `mlflow models serve -m URI`:

```
curl localhost:5000/invocations -H 'Content-Type: application/json' \\
  -d '{{"dataframe_split": {{"columns": ["image"], "data": [["'$(base64 -w0 plate.png)'"]]}}}}'
```

The answer has a row per image: `md5` of what was sent, `score`, `threshold`, `decision` (`normal` or `anomalous`), and
`error` where the image cannot be read. At most 64 images per request.

Where in the image: {maps}

A column `path` of files is read where the environment has `IRP_ALLOW_PATHS=1`, which is for batches on your own
machine: a server that has it set reads whatever file a request names.

## Limits
Images from another camera, light or product than the training set's are anomalous to it. The threshold was taken from
the training images and says nothing of how many defects are missed.
"""


_MAPS = """with `params={"map": "png"}` (HTTP: `"params": {"map": "png"}` beside `dataframe_split`) each row has a
column `map`, the image with what the model sees over it (a PNG file in base64; `raw`: 16 bits, 1024 is the map's
threshold), and `boxes`, the rectangles (left, top, right, bottom) around what exceeds its threshold, in pixels."""


def save_pyfunc(model: Path, destination: Path) -> None:
    """Write the refined detector in `model` as an MLflow model directory that loads without this project installed."""
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        path=destination,
        loader_module="irp_core.serving",
        data_path=model,
        code_paths=[str(Path(irp_core.__file__).parent)],
        pip_requirements=[f"{name}=={version(name)}" for name in LIBRARIES],
        signature=_signature(),
        input_example=_example(),
    )
    (destination / CARD).write_text(_card(model), encoding="utf-8")
    files = sorted(path for path in (destination / CODE).rglob("*") if path.is_file())
    lines = [f"{file_sha256(file)}  {file.relative_to(destination).as_posix()}\n" for file in files]
    (destination / "code.sha256").write_text("".join(lines), encoding="utf-8")


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    # Any: bytes and arrays in Python, base64 over HTTP.
    given: list[ColSpec | TensorSpec] = [
        ColSpec(AnyType(), "image", required=False),
        ColSpec(DataType.string, "path", required=False),
    ]
    answered: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "md5", required=False),
        ColSpec(DataType.double, "score", required=False),
        ColSpec(DataType.double, "threshold"),
        ColSpec(DataType.string, "decision", required=False),
        ColSpec(DataType.string, "error", required=False),
    ]
    asked = ParamSchema([ParamSpec("map", DataType.string, NO_MAP)])
    return ModelSignature(Schema(given), Schema(answered), asked)


def _example() -> pd.DataFrame:
    """A small grey gradient: an image of any size is taken."""
    pixels = np.broadcast_to(np.linspace(0, 255, 32).astype(np.uint8), (32, 32))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(buffer.getvalue()).decode()]})


def _card(model: Path) -> str:
    described = read_json_object(model / INSPECTOR)
    rate = described.get("operating", {}).get("false_alarm_rate")
    size = described["images"].get("size")
    return _CARD.format(
        irp=irp_core.__version__,
        detector=read_json_object(model / DETECTOR).get("detector"),
        backbone=described["features"]["backbone"],
        scales=", ".join(map(str, described["features"]["scales"])),
        views=described["views"]["score"],
        size=f"{size} x {size} pixels" if isinstance(size, int) else " x ".join(map(str, size)) + " pixels",
        crop=described["images"].get("crop", "none"),
        threshold=described["threshold"],
        maps=_MAPS if described.get("maps") else "this model makes no maps.",
        rate="an unknown share" if rate is None else f"{100 * float(rate):g} %",
    )
