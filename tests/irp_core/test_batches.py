"""Smaller batches are used where they give the same bits, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from irp_core.backbones import load_backbone
from irp_core.batches.sizes import alike_sizes
from irp_core.config import DifferNetParams, Features, Images, Params, Training
from irp_core.detectors import Detector, DifferNet, Ensemble, Gaussian, PadsBatches
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector

SMALL = Params(features=Features(scales=(64, 32), cell_scale=64), images=Images(size=64))
CPU = torch.device("cpu")


def detectors() -> list[Detector]:
    return [
        Gaussian(CPU),
        DifferNet(512, DifferNetParams(blocks=2, hidden=16), Training(), CPU),
        Ensemble(SMALL.patch_gaussian, CPU),
    ]


@pytest.fixture(params=[0, 1, 2], ids=["gaussian", "differnet", "ensemble"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    detector = detectors()[request.param]
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(8, 4, 4, 64)).astype(np.float16)
    seen = FeatureSet(rng.normal(size=(8, 4, 512)).astype(np.float32), cells=cells)
    detector.fit(seen, epochs=1, seed=0)
    (tmp_path / "trained").mkdir()
    detector.save(tmp_path / "trained")
    save_inspector(tmp_path, tmp_path / "trained", load_backbone("bundled", None), SMALL, {"threshold": 1.5})
    return tmp_path


def photographs(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (80, 70, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("count", [1, 2, 5])
def test_small_batches_change_no_bit_of_a_score(count: int, folder: Path) -> None:
    paths = photographs(folder, count)
    usual, quick = Inspector(folder, "cpu"), Inspector(folder, "cpu")
    assert isinstance(quick.detector, PadsBatches)  # else one image is computed as a full batch
    quick.find_small_batches()
    assert quick.score(paths)["score"].tolist() == usual.score(paths)["score"].tolist()


def test_a_size_that_differs_in_a_bit_is_not_used() -> None:
    rows = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    def by_shape(batch: np.ndarray) -> np.ndarray:
        return np.nextafter(batch, np.float32(np.inf)) if len(batch) == 2 else batch

    assert alike_sizes(by_shape, rows) == (1, 4)


def test_bytes_pixels_and_files_score_the_same(folder: Path) -> None:
    (path,) = photographs(folder, 1)
    inspector = Inspector(folder, "cpu")
    from_bytes, from_pixels = inspector.judge(
        [inspector.see(path.read_bytes()), inspector.see(np.asarray(Image.open(path)))]
    )
    of_file = inspector.score([path]).to_dict("records")[0]
    assert from_bytes == {key: value for key, value in of_file.items() if key != "path"} | {"error": None}
    assert from_pixels["score"] == of_file["score"]


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), dtype=np.float32), np.zeros((4, 4, 2), dtype=np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_pixels_of_another_form_are_refused(pixels: np.ndarray, folder: Path) -> None:
    with pytest.raises(InputError, match="expected pixels"):
        Inspector(folder, "cpu").see(pixels)
