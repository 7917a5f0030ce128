"""Smaller batches are used where they give the same bits, and only there."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from irp_core.backbones import load_backbone
from irp_core.batches.lanes import Lanes, lanes_for
from irp_core.batches.sizes import alike_sizes
from irp_core.config import DifferNetParams, Features, Images, Params, Training
from irp_core.detectors import Detector, DifferNet, Ensemble, Gaussian, PadsBatches
from irp_core.errors import InputError
from irp_core.features.cells import cell_grid
from irp_core.features.extraction import NetworkPass, rows_of
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
    cells = rng.normal(size=(8, *cell_grid(SMALL.features, SMALL.images), 64)).astype(np.float16)
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


@pytest.mark.parametrize(("count", "lanes"), [(1, 1), (2, 2), (5, 3)])
def test_small_batches_change_no_bit_of_a_score(
    count: int, lanes: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irp_core.inspection.inspector.lanes_for", lambda _: Lanes(lanes))
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


class Shown:
    """A network whose numbers are right everywhere, or not in a thread of its own."""

    def __init__(self, *, wrong_in_a_lane: bool = False, precision: torch.dtype = torch.float32) -> None:
        self.precision = precision
        self.sizes: list[tuple[int, bool]] = []
        self._wrong = wrong_in_a_lane

    def with_maps(self, pixels: np.ndarray) -> tuple[np.ndarray, dict]:
        in_a_lane = threading.current_thread().name.startswith("irp-lane")
        self.sizes.append((len(pixels), in_a_lane))
        off = float(self._wrong and in_a_lane) + (len(pixels) == 1)  # alone, a view has other bits
        return pixels.reshape(len(pixels), -1).astype(np.float64) + off, {}


@pytest.mark.parametrize(
    ("views", "batches"), [(4, [2, 2]), (3, [2, 2]), (8, [4, 4]), (12, [8, 4]), (32, [8, 8, 8, 8])]
)
def test_views_are_computed_side_by_side_in_batches_that_keep_every_lane_at_work(
    views: int, batches: list[int]
) -> None:
    shown, pixels = Shown(), list(np.arange(views * 12, dtype=np.uint8).reshape(views, 2, 2, 3))
    shows = NetworkPass(shown, [], pooled=True)  # type: ignore[arg-type]
    shows.find_small_batches({(2, 2)}, 8, Lanes(2))
    shown.sizes.clear()
    rows = rows_of(shows, pixels, 8)["pooled"]
    assert np.array_equal(rows, np.stack(pixels).reshape(views, -1))
    assert sorted(shown.sizes) == sorted((size, True) for size in batches)


@pytest.mark.parametrize(("views", "in_a_lane"), [(2, [False]), (9, [True, True])])
def test_in_bfloat16_whose_rounding_hides_most_differences_every_batch_is_a_full_one(
    views: int, in_a_lane: list[bool]
) -> None:
    """And one alone has all cores."""
    shown = Shown(precision=torch.bfloat16)
    shows = NetworkPass(shown, [], pooled=True)  # type: ignore[arg-type]
    shows.find_small_batches({(2, 2)}, 8, Lanes(2))
    shown.sizes.clear()
    rows_of(shows, list(np.zeros((views, 2, 2, 3), dtype=np.uint8)), 8)
    assert shown.sizes == [(8, lane) for lane in in_a_lane]


def test_lanes_that_change_a_bit_are_not_used() -> None:
    shown = Shown(wrong_in_a_lane=True)
    shows = NetworkPass(shown, [], pooled=True)  # type: ignore[arg-type]
    shows.find_small_batches({(2, 2)}, 8, Lanes(2))
    shown.sizes.clear()
    rows_of(shows, list(np.zeros((4, 2, 2, 3), dtype=np.uint8)), 8)
    assert shown.sizes == [(4, False)]
    assert lanes_for(torch.device("meta")) is None
