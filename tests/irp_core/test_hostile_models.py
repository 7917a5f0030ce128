"""Models from a stranger: refused in one sentence, without running a line of theirs."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irp_core.backbones import load_backbone
from irp_core.config import Features, Images, Params
from irp_core.detectors import Gaussian
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.hashing import file_sha256
from irp_core.inspection import Inspector, save_inspector
from irp_core.serving import ALLOWED, ServedInspector

pytestmark = pytest.mark.trust


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound model, with a module of the stranger's beside it that anybody here could import."""
    small = Params(features=Features(scales=(64, 32)), images=Images(size=64))
    detector = Gaussian(torch.device("cpu"))
    detector.fit(FeatureSet(np.random.default_rng(0).normal(size=(8, 4, 512)).astype(np.float32)), epochs=1, seed=0)
    folder = tmp_path / "model"
    trained = tmp_path / "trained"
    for made in (folder, trained):
        made.mkdir()
    detector.save(trained)
    save_inspector(folder, trained, load_backbone("bundled", None), small, {"threshold": 1.5})
    (folder / "hostile.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Detector: pass\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv(ALLOWED, raising=False)
    Inspector(folder)
    return folder


def _json(name: str, **changes: object) -> Callable[[Path], None]:
    """Change `name`, and whatever digest of it lies beside it."""

    def change(folder: Path) -> None:
        file = folder / name
        record: dict[str, Any] = json.loads(file.read_text())
        record |= changes
        file.write_text(json.dumps({key: value for key, value in record.items() if value is not ...}))
        _consistent(folder)

    return change


def _consistent(folder: Path) -> None:
    file = folder / "inspector.json"
    record = json.loads(file.read_text())
    digests = {"detector_sha256": "weights.safetensors", "description_sha256": "detector.json"}
    known = {key: file_sha256(folder / name) for key, name in digests.items() if key in record}
    file.write_text(json.dumps(record | known))


def _text(name: str, content: str | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        if name != "inspector.json":
            _consistent(folder)

    return change


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import hostile",)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a class of its own": _json("detector.json", detector="hostile:Detector"),
    "a function of the library": _json("detector.json", detector="os:system"),
    "a module alone": _json("detector.json", detector="hostile"),
    "a list for a name": _json("detector.json", detector=["hostile:Detector"]),
    "no name": _json("detector.json", detector=...),
    "a detector.json that is a list": _text("detector.json", "[]"),
    "a detector of another shape": _json("detector.json", detector="differnet"),
    "a pickle for weights": _text("weights.safetensors", pickle.dumps(_Runs())),
    "another detector.json than was saved": lambda folder: (folder / "detector.json").write_text(
        '{"detector": "gaussian" }'
    ) and None,
    "weights of half the length": lambda folder: (folder / "weights.safetensors").write_bytes(
        (folder / "weights.safetensors").read_bytes()[:100]
    ) and None,
    "an inspector.json cut short": _text("inspector.json", '{"threshold": 1.5'),
    "an empty inspector.json": _text("inspector.json", ""),
    "an inspector.json that is a number": _text("inspector.json", "1"),
    "a deep inspector.json": _text("inspector.json", "[" * 100_000),
    "an inspector.json in UTF-16": _text("inspector.json", '{"threshold": 1.5}'.encode("utf-16")),
    "no threshold": _json("inspector.json", threshold=...),
    "a threshold that is no number": _json("inspector.json", threshold=float("nan")),
    "a threshold that is a text": _json("inspector.json", threshold="low"),
    "no features": _json("inspector.json", features=None),
    "a backbone of its own": _json("inspector.json", features={"backbone": "hostile"}),
    "a backbone that is not there": _json("inspector.json", features={"backbone": "alexnet", "layers": ["a"]}),
    "images of a negative size": _json("inspector.json", images={"size": -1}),
    "a digest that is a number": lambda folder: (folder / "inspector.json").write_text(
        json.dumps({**json.loads((folder / "inspector.json").read_text()), "detector_sha256": 1})
    ) and None,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_and_runs_nothing(name: str, model: Path, tmp_path: Path) -> None:
    HOSTILE[name](model)
    for load in (Inspector, ServedInspector):
        with pytest.raises(InputError) as refused:
            load(model)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
    assert "hostile" not in sys.modules


def test_a_class_runs_only_when_it_is_allowed_by_name(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HOSTILE["a class of its own"](model)
    monkeypatch.setenv(ALLOWED, "other:Detector")
    with pytest.raises(InputError, match="allow it by name"):
        ServedInspector(model)
    monkeypatch.setenv(ALLOWED, "hostile:Detector")
    with pytest.raises(InputError, match="expected the members of a Detector"):
        ServedInspector(model)
    assert (tmp_path / "ran").exists()
    sys.modules.pop("hostile")
