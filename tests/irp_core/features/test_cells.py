"""Cells, the passes that they share, and images that keep their shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from irp_core.backbones import load_backbone
from irp_core.config import Features, Images, Params
from irp_core.data.scan import scan
from irp_core.detectors import DETECTORS, detector_class
from irp_core.errors import InputError
from irp_core.features.cells import cell_grid, cells
from irp_core.features.feature_set import Local
from irp_core.features.pipeline import FeaturePipeline
from irp_core.features.store import FeatureStore
from irp_core.inspection import Inspector, save_inspector
from irp_core.params_file import load_params

CPU = torch.device("cpu")
LOCAL: tuple[Local, ...] = ("patches", "kurtosis", "cells")
SMALL = [
    "images.size=64",
    "features.scales=[64,32]",
    "features.kurtosis_scale=128",
    "features.cell_scale=128",
    "features.cell=16",
    "views.train=2",
    "views.score=2",
    "features.precision=float32",
    "features.batch_size=4",
]


def params_in(folder: Path, *options: str) -> Params:
    return load_params(None, [*SMALL, f"features.store={folder}", *options])


def test_a_cell_is_the_projected_mean_of_the_smoothed_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    fine, deep = torch.rand(2, 8, 16, 8, generator=generator), torch.rand(2, 16, 8, 4, generator=generator)
    full = cells({"fine": fine, "deep": deep}, ("fine", "deep"), (8, 4), 24)
    expected = torch.cat([torch.nn.functional.avg_pool2d(_smoothed(fine), 2), _smoothed(deep)], dim=1)
    torch.testing.assert_close(full.float().permute(0, 3, 1, 2), expected, atol=1e-3, rtol=1e-3)
    projected = cells({"fine": fine, "deep": deep}, ("fine", "deep"), (8, 4), 12)
    assert projected.shape == (2, 8, 4, 12)
    assert torch.equal(projected, cells({"fine": fine, "deep": deep}, ("fine", "deep"), (8, 4), 12))


def _smoothed(maps: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(maps, 3, stride=1, padding=1)


def test_the_grid_has_the_images_shape() -> None:
    assert cell_grid(Features(), Images(size=512)) == (23, 23)
    assert cell_grid(Features(cell=8), Images()) == (32, 32)
    rows, columns = cell_grid(Features(), Images(size=(320, 800)))
    assert rows < 23 < columns and 480 < rows * columns < 620


def test_what_shares_a_pass_has_the_bytes_of_a_pass_of_its_own(plant: Path, tmp_path: Path) -> None:
    """All features at once, and one after the other: the same rows."""
    rows = scan(plant).manifest.iloc[:7]
    together = FeaturePipeline(params_in(tmp_path / "together"), None, LOCAL)
    assert together.fill(rows, plant, "plant").misses == 7
    for need in LOCAL:
        alone = FeaturePipeline(params_in(tmp_path / need), None, [need])
        alone.fill(rows, plant, "plant")
        seen, expected = together.stored.read(rows, 2, [need]), alone.stored.read(rows, 2, [need])
        assert (seen.pooled == expected.pooled).all()
        assert (getattr(seen, need) == getattr(expected, need)).all()
    # A need that comes later does not make the pooled features anew, and gives the same bytes.
    later = FeaturePipeline(params_in(tmp_path / "kurtosis"), None, LOCAL)
    assert later.fill(rows, plant, "plant").misses == 0
    assert (later.stored.read(rows, 2, LOCAL).cells == together.stored.read(rows, 2, LOCAL).cells).all()


def test_sides_that_agree_share_a_pass(plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, ...]] = []
    pipeline = FeaturePipeline(params_in(tmp_path), None, LOCAL)
    network = pipeline._first._network._network
    forward = network.forward

    def counted(images: torch.Tensor) -> object:
        shown.append(tuple(images.shape))
        return forward(images)

    monkeypatch.setattr(network, "forward", counted)
    pipeline.fill(scan(plant).manifest.iloc[:4], plant, "plant")
    # Two batches of four views at 64 and 32, patches from the first; one of four upright views for kurtosis and cells.
    assert sorted(shape[-1] for shape in shown) == [32, 32, 64, 64, 128]


def test_cells_are_kept_in_half_precision(plant: Path, tmp_path: Path) -> None:
    rows = scan(plant).manifest.iloc[:3]
    pipeline = FeaturePipeline(params_in(tmp_path), None, ["cells"])
    pipeline.fill(rows, plant, "plant")
    found = pipeline.stored.read(rows, 1, ["cells"]).cells
    assert found is not None and found.dtype == np.float16 and found.shape == (3, 8, 8, 64)
    store = FeatureStore(tmp_path, pipeline.stored.local["cells"])
    (segment,) = store.directory.glob("*.arrow")
    assert segment.stat().st_size < 3 * 8 * 8 * 64 * 2 + 2000  # bytes: two per number, and the keys


def strips(folder: Path) -> Path:
    """Fourteen strips of 300 x 120 with a mark that moves a little; the last two have a second mark."""
    rng = np.random.default_rng(0)
    for kind, count in (("good", 12), ("bad", 2)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            strip = rng.normal(120, 4, (300, 120, 3))
            strip[40:60, 30:90] += 60
            if kind == "bad":
                strip[220:240, 80:100] -= 90
            Image.fromarray(strip.clip(0, 255).astype(np.uint8)).save(folder / kind / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", sorted(set(DETECTORS) - {"differnet", "patch_knn"}))
def test_a_strip_is_scored_in_its_own_shape_and_by_the_saved_model_too(name: str, tmp_path: Path) -> None:
    """From files to features to a saved inspector: rotated views, square scales and every detector, on strips."""
    root = strips(tmp_path / "strips")
    # A saved model shows the network batches of the default's size: so must its training, to give the same bits.
    strip = ("images.size=[160,64]", "views.train=4", "views.score=4", "features.batch_size=8")
    params = params_in(tmp_path / "store", *strip)
    kind = detector_class(name)
    rows = pd.DataFrame(scan(root).manifest)
    pipeline = FeaturePipeline(params, None, kind.needs)
    pipeline.fill(rows, root, "strips")
    good = rows["image_id"].str.startswith("good")
    seen = pipeline.stored.read(rows, 4, kind.needs)
    if seen.cells is not None:
        assert seen.cells.shape[1:3] == (13, 5)
    detector = kind.build(seen, params, CPU)
    detector.fit(seen[good.to_numpy()], epochs=1, seed=0)
    scores = detector.score(seen)
    (tmp_path / "trained").mkdir()
    detector.save(tmp_path / "trained")
    model = tmp_path / "model"
    model.mkdir()
    save_inspector(model, tmp_path / "trained", load_backbone("bundled", None), params, {"threshold": 1.0})
    table = Inspector(model, device="cpu").score([root / image for image in rows["image_id"]])
    assert table["score"].tolist() == scores.tolist()
    if kind.needs != ():
        assert scores[~good].min() > np.median(scores[good])


def test_differnet_takes_the_pooled_features_of_strips(tmp_path: Path) -> None:
    root = strips(tmp_path / "strips")
    params = params_in(
        tmp_path / "store", "images.size=[160,64]", "views.train=4", "views.score=4", "differnet.hidden=8"
    )
    rows = scan(root).manifest
    pipeline = FeaturePipeline(params, None, ())
    pipeline.fill(rows, root, "strips")
    seen = pipeline.stored.read(rows, 4)
    square = FeaturePipeline(params_in(tmp_path / "square", "views.train=4", "views.score=4"), None, ())
    square.fill(rows, root, "strips")
    assert seen.pooled.shape == square.stored.read(rows, 4).pooled.shape == (14, 4, 512)
    detector = detector_class("differnet").build(seen, params, CPU)
    detector.fit(seen, epochs=1, seed=0)
    assert np.isfinite(detector.score(seen)).all()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("[800]", r"images.size must be a side, or \[height, width\], in whole pixels from 32 to 2048. Got \[800\]."),
        ("[800, 9]", r"Got \[800, 9\]"),
        ("31", "Got 31"),
        ("big", "Got 'big'"),
        ("[8.5, 320]", r"Got \[8.5, 320\]"),
    ],
)
def test_a_size_that_is_none_is_explained(size: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_params(None, [f"images.size={size}"])


def test_a_square_crop_of_a_strip_is_refused() -> None:
    with pytest.raises(InputError, match=r"images.size must be a square where crop is center"):
        load_params(None, ["images.size=[800,320]", "images.crop=center"])


def test_what_was_stored_before_there_were_cells_is_still_found(tmp_path: Path) -> None:
    """The fingerprints of features as they were when there were none but these."""
    options = [f"features.store={tmp_path}", "features.precision=float32", "features.device=cpu"]
    stored = FeaturePipeline(load_params(None, options), None, LOCAL).stored
    found = {name: FeatureStore(tmp_path, spec).fingerprint for name, spec in stored.local.items() if name != "cells"}
    assert stored.fingerprint == "d58b6fa46f9315d6"
    assert found == {"patches": "c12267cc34be4556", "kurtosis": "5f8b8680af39b943"}


def test_the_identity_of_a_run_holds_later_keys_only_where_they_are_set() -> None:
    from tasks.versions.lineage import result_params

    assert not {"cell", "cell_scale", "cell_channels"} & set(result_params(Params())["features"])
    assert "patch_gaussian" not in result_params(Params())
    chosen = load_params(None, ["features.cell=8", "patch_gaussian.worst=0.1"])
    assert result_params(chosen)["features"]["cell"] == 8
    assert result_params(chosen)["patch_gaussian"] == {"worst": 0.1}
