"""The publishers' layouts, with what really occurs in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from irp_core.config import Contamination, Dataset
from irp_core.data.contamination import contaminate
from irp_core.data.crop_loss import count_lost, crop_loss
from irp_core.data.layouts.mvtec import CATEGORIES, categories_below
from irp_core.data.manifest import testing_rows as held_out
from irp_core.data.manifest import training_rows
from irp_core.data.scan import detect_layout, scan
from irp_core.data.walk import Tree
from irp_core.errors import InputError
from irp_core.features.images import decode, decode_mask, resized

STRIP = (630, 230)  # (height, width) of a KolektorSDD2 image, about


def picture(path: Path, shape: tuple[int, ...]) -> Path:
    """A noise image; every path has pixels of its own, so that none is another's copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path).encode()))
    Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(path)
    return path


def mask(path: Path, shape: tuple[int, int], box: tuple[int, int, int, int] | None, value: int = 255) -> Path:
    """A mask with `value` in rows and columns box = (top, bottom, left, right)."""
    pixels: NDArray[np.uint8] = np.zeros(shape, np.uint8)
    if box is not None:
        pixels[box[0] : box[1], box[2] : box[3]] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def kolektor(root: Path) -> Path:
    """5 good and 4 defective images to train on, 3 and 2 to test; widths vary, as they do in the real set."""
    boxes = {"end": (0, 40, 0, 60), "middle": (300, 320, 100, 120), "across": (190, 210, 50, 60), "dot": (9, 10, 9, 10)}
    number = 10000
    for split, goods, bads in (("train", 5, 4), ("test", 3, 2)):
        for i in range(goods + bads):
            shape = (STRIP[0], STRIP[1] - i)
            picture(root / split / f"{number}.png", (*shape, 3))
            box = None if i < goods else list(boxes.values())[i - goods]
            mask(root / split / f"{number}_GT.png", shape, box)
            number += 1
    return root


def test_kolektorsdd2_is_labelled_by_its_ground_truth(tmp_path: Path) -> None:
    found = scan(kolektor(tmp_path))
    assert found.layout == "ksdd2"
    assert found.quarantine.empty
    rows = found.manifest
    assert rows.groupby(["split", "label"]).size().to_dict() == {
        ("train", "good"): 5, ("train", "defective"): 4, ("test", "good"): 3, ("test", "defective"): 2,
    }  # fmt: skip
    assert not rows["image_id"].str.contains("_GT").any()
    assert (rows["mask_path"].notna() == (rows["label"] == "defective")).all()
    assert rows.set_index("image_id").loc["train/10005.png", "mask_path"] == "train/10005_GT.png"


def test_an_image_without_ground_truth_is_quarantined_not_taken_for_good(tmp_path: Path) -> None:
    kolektor(tmp_path)
    (tmp_path / "train" / "10000_GT.png").unlink()
    (tmp_path / "test" / "10009_GT.png").write_bytes(b"damaged")
    # What the publishers' archive holds besides: copies that follow no naming rule.
    for name in ("10005", "10005_GT"):
        copy = tmp_path / "train" / f"{name} (copy).png"
        copy.write_bytes((tmp_path / "train" / f"{name}.png").read_bytes())
    found = scan(tmp_path)
    reasons = dict(found.quarantine.itertuples(index=False))
    assert reasons == {
        "test/10009.png": "ground truth 10009_GT.png: not an image file (PNG, JPEG, BMP, TIFF, WEBP)",
        "train/10000.png": "no ground truth 10000_GT.png",
        "train/10005 (copy).png": "no ground truth 10005 (copy)_GT.png",
        "train/10005_GT (copy).png": "no ground truth 10005_GT (copy)_GT.png",
    }
    assert len(found.manifest) == 12
    assert found.duplicates.empty


def test_defects_of_the_training_split_are_the_pool_and_the_test_split_stays_whole(tmp_path: Path) -> None:
    manifest = scan(kolektor(tmp_path)).manifest
    clean = contaminate(manifest, Dataset(), Contamination(), seed=0)
    assert sorted(clean.loc[clean["split"] == "train", "label"]) == ["good"] * 5
    for overlap in (False, True):
        noise = Contamination(protocol="fraction_of_defects", fraction=0.5, overlap=overlap)
        noisy = contaminate(manifest, Dataset(), noise, seed=0)
        injected = noisy[noisy["injected"]]
        assert len(injected) == 2
        assert injected["image_id"].str.startswith("train/").all()
        assert set(injected["image_id"]) <= set(training_rows(noisy)["image_id"])
        tested = held_out(noisy)["image_id"]
        assert tested.str.startswith("test/").sum() == 5
        assert len(tested) == 5 + (2 if overlap else 0)
    with pytest.raises(InputError, match="needs 6 defective training images, found 4 in the pool: 2 are missing"):
        contaminate(manifest, Dataset(), Contamination(set_size=8, fraction=0.75), seed=0)


def test_a_training_defect_that_the_test_split_holds_too_is_not_injected(tmp_path: Path) -> None:
    kolektor(tmp_path)
    for ending in (".png", "_GT.png"):
        (tmp_path / "train" / f"10005{ending}").write_bytes((tmp_path / "test" / f"10012{ending}").read_bytes())
    noise = Contamination(protocol="fraction_of_defects", fraction=0.99)
    rows = contaminate(scan(tmp_path).manifest, Dataset(), noise, seed=0).set_index("image_id")
    assert rows["injected"].sum() == 3
    assert rows.loc["train/10005.png", "split"] == "unused"


def test_a_crop_is_charged_with_the_defects_that_it_loses(tmp_path: Path) -> None:
    manifest = scan(kolektor(tmp_path)).manifest
    lost = crop_loss(tmp_path, manifest, "center").set_index("image_id")
    assert lost.loc["train/10005.png"].tolist() == [40 * 60, 0]  # at the end of the strip
    assert lost.loc["train/10006.png"].tolist() == [20 * 20, 20 * 20]  # in its middle
    # The crop of a 223 px wide strip begins at row 203: 7 of the 20 rows are left.
    assert lost.loc["train/10007.png"].tolist() == [20 * 10, 7 * 10]
    assert count_lost(lost) == (3, 1)
    assert crop_loss(tmp_path, manifest, "none").empty


def test_the_crop_that_is_measured_is_the_crop_that_the_network_sees(tmp_path: Path) -> None:
    for shape in ((630, 223), (101, 300), (64, 64)):
        path = mask(tmp_path / "x.png", shape, (shape[0] // 3, shape[0], 20, shape[1]))
        table = pd.DataFrame({"image_id": ["x.png"], "mask_path": ["x.png"]})
        side = min(shape)
        seen = np.asarray(resized(decode(path.read_bytes()), (side, side), "center"))[..., 0] > 0
        assert crop_loss(tmp_path, table, "center")["kept_pixels"].tolist() == [int(seen.sum())]


def test_empty_and_unreadable_masks_are_neither_lost_nor_cut(tmp_path: Path) -> None:
    mask(tmp_path / "empty.png", (40, 20), None)
    (tmp_path / "damaged.png").write_bytes(b"?")
    names = ["absent.png", "damaged.png", "empty.png"]
    table = crop_loss(tmp_path, pd.DataFrame({"image_id": names, "mask_path": names}), "center")
    assert table["kept_pixels"].isna().tolist() == [True, True, False]
    assert count_lost(table) == (0, 0)


def test_masks_of_any_encoding_show_the_same_defect(tmp_path: Path) -> None:
    truth = np.zeros((12, 10), bool)
    truth[2:5, 3:9] = True
    levels = truth.astype(np.uint8)
    faded = levels * 255
    faded[5, 3:9] = 6  # the magnetic tiles' masks fade out over a few grey levels
    rgba = np.dstack([levels * 255] * 3 + [np.full_like(levels, 255)])
    palette = Image.fromarray(levels * 3)
    palette.putpalette([0, 0, 0] * 256)  # black all over: the index is what counts
    images = {"0-1": Image.fromarray(levels), "0-255": Image.fromarray(levels * 255), "bit": Image.fromarray(truth),
              "faded": Image.fromarray(faded), "rgba": Image.fromarray(rgba), "palette": palette,
              "16-bit": Image.fromarray(levels.astype(np.uint16))}  # fmt: skip
    for name, image in images.items():
        path = tmp_path / f"{name}.png"
        image.save(path)
        np.testing.assert_array_equal(decode_mask(path.read_bytes()), truth, err_msg=name)


def category(root: Path, shape: tuple[int, ...] = (1024, 1024)) -> Path:
    """An MVTec AD category as published: no `ground_truth/good`, grey in some categories, 1024 px."""
    for i in range(2):
        picture(root / "train" / "good" / f"{i:03d}.png", shape)
        picture(root / "test" / "good" / f"{i:03d}.png", shape)
        picture(root / "test" / "scratch_head" / f"{i:03d}.png", shape)
        mask(root / "ground_truth" / "scratch_head" / f"{i:03d}_mask.png", shape[:2], (3, 9, 3, 9))
    return root


@pytest.mark.parametrize("shape", [(1024, 1024), (900, 900, 3)], ids=["grey", "colour"])
def test_an_mvtec_category_as_published(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found = scan(category(tmp_path / "screw", shape))
    assert (found.layout, found.quarantine.empty, found.duplicates.empty) == ("mvtec", True, True)
    rows = found.manifest.set_index("image_id")
    assert rows.groupby(["split", "label"]).size().to_dict() == {
        ("train", "good"): 2, ("test", "good"): 2, ("test", "defective"): 2,
    }  # fmt: skip
    defect = rows.loc["test/scratch_head/001.png"]
    assert defect[["defect_type", "mask_path"]].tolist() == [
        "scratch_head", "ground_truth/scratch_head/001_mask.png",
    ]  # fmt: skip
    assert rows.loc[rows["label"] == "good", "mask_path"].isna().all()


def test_masks_with_other_stems(tmp_path: Path) -> None:
    root = category(tmp_path / "pill", (40, 40))
    folder = root / "ground_truth" / "scratch_head"
    (folder / "000_mask.png").rename(folder / "000.png")  # the bare stem
    (folder / "001_mask.png").rename(folder / "001_mask.bmp")  # another ending
    mask(folder / "001.png", (40, 40), None)  # beside the publishers' form, which wins
    mask(folder / "777_mask.png", (40, 40), None)  # of no image
    picture(root / "test" / "scratch_head" / "002.jpg", (40, 40))  # a defect that nobody outlined
    rows = scan(root).manifest.set_index("image_id")
    assert rows.loc[rows["label"] == "defective", "mask_path"].fillna("").to_dict() == {
        "test/scratch_head/000.png": "ground_truth/scratch_head/000.png",
        "test/scratch_head/001.png": "ground_truth/scratch_head/001_mask.bmp",
        "test/scratch_head/002.jpg": "",
    }
    assert len(rows) == 7


def test_all_of_mvtec_is_not_one_data_set(tmp_path: Path) -> None:
    assert len(CATEGORIES) == 15
    for name in CATEGORIES:
        category(tmp_path / name, (16, 16))
    (tmp_path / "license.txt").write_text("CC BY-NC-SA 4.0")
    with pytest.raises(InputError, match=r"found the folder of 15 \(bottle, cable, .*zipper\); name one, for example"):
        detect_layout(tmp_path)
    assert detect_layout(tmp_path / "grid") == "mvtec"


def test_magnetic_tiles_as_published(tmp_path: Path) -> None:
    """Grey JPEGs, all of other sizes, with a mask beside each, good ones too; four masks of MT_Uneven are empty."""
    for i, name in enumerate(("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven")):
        shape = (200 + 7 * i, 140 + 3 * i)
        folder = tmp_path / f"MT_{name}" / "Imgs"
        picture(folder / f"exp1_num_{i}.jpg", shape)
        mask(folder / f"exp1_num_{i}.png", shape, None if name in ("Free", "Uneven") else (0, 20, 0, 20))
    (tmp_path / "README.md").write_text("Saliency of magnetic tile surface defects")
    picture(tmp_path / "dataset.jpg", (50, 50, 3))  # the overview beside the README is no tile
    found = scan(tmp_path)
    assert found.layout == "mtd"
    rows = found.manifest
    assert len(rows) == 6
    assert rows["label"].value_counts().to_dict() == {"defective": 5, "good": 1}
    assert sorted(rows["defect_type"].dropna()) == ["blowhole", "break", "crack", "fray", "uneven"]
    assert rows["mask_path"].notna().sum() == 5
    assert count_lost(crop_loss(tmp_path, rows, "center")) == (4, 0)


def test_the_time_of_a_detection_does_not_grow_with_the_number_of_folders() -> None:
    passes = 0

    class Counted(tuple[str, ...]):
        def __iter__(self) -> Iterator[str]:
            nonlocal passes
            passes += 1
            return super().__iter__()

    tree = Tree(Path(), Counted(f"camera-{number:03d}/day/1.png" for number in range(300)), {}, ())
    assert categories_below(tree) == []
    assert tree.folders("camera-007") == ["day"]
    assert tree.folders("camera-007/day") == tree.folders("camera") == []
    assert passes == 1
