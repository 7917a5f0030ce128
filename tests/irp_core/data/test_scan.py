"""Folders in, manifests out; odd files are read or quarantined, never fatal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irp_core.data.scan import detect_layout, scan
from irp_core.errors import InputError
from irp_core.features.images import decode

RNG = np.random.default_rng(0)


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (20, 16), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "P": (), "RGB": (3,), "RGBA": (4,)}[mode if mode != "I;16" else "L"]
    pixels = RNG.integers(0, 255, (size[1], size[0], *channels), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path, **options)
    elif mode == "P":
        Image.fromarray(np.repeat(pixels[..., None], 3, -1)).quantize(8).save(path, **options)
    else:
        Image.fromarray(pixels).save(path, **options)
    return path


def test_every_kind_of_image_is_read(tmp_path: Path) -> None:
    for name, mode in [("a.PNG", "RGB"), ("b.jpeg", "L"), ("c.bmp", "RGB"), ("d.tiff", "I;16"), ("e.webp", "RGBA"),
                       ("sub/f.png", "P"), ("sub/deep/g.tif", "L"), ("h.png", "I;16")]:  # fmt: skip
        save(tmp_path / name, mode)
    (tmp_path / "notes.txt").write_text("not listed")
    found = scan(tmp_path)
    assert found.layout == "folder"
    assert found.manifest["image_id"].tolist() == [
        "a.PNG", "b.jpeg", "c.bmp", "d.tiff", "e.webp", "h.png", "sub/deep/g.tif", "sub/f.png",
    ]  # fmt: skip
    assert found.quarantine.empty
    assert (found.manifest["split"] == "train").all()
    assert found.manifest["label"].isna().all()


def test_bad_files_are_quarantined_with_the_reason(tmp_path: Path) -> None:
    good = save(tmp_path / "good.jpg", size=(200, 200))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("I am no image")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:2000])
    found = scan(tmp_path)
    assert found.manifest["image_id"].tolist() == ["good.jpg"]
    reasons = dict(found.quarantine.itertuples(index=False))
    assert reasons["empty.png"] == "empty file"
    assert reasons["text.png"] == "not an image file (PNG, JPEG, BMP, TIFF, WEBP)"
    assert "truncated" in reasons["cut.jpg"]


def test_copies_are_reported(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    save(tmp_path / "c.png")
    assert scan(tmp_path).duplicates["image_id"].tolist() == ["a.png", "b.png"]


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    values = np.array([[0, 256, 65535, 32768]], dtype=np.uint16)
    for name in ("x.tiff", "x.png"):
        Image.fromarray(values).save(tmp_path / name)
        assert np.asarray(decode((tmp_path / name).read_bytes()))[0, :, 0].tolist() == [0, 1, 255, 128]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    path = save(tmp_path / "a.jpg", size=(30, 10), exif=exif)
    assert decode(path.read_bytes()).size == (10, 30)


def test_labelled_folder(tmp_path: Path) -> None:
    save(tmp_path / "good" / "1.png")
    save(tmp_path / "scratch" / "2.png")
    rows = scan(tmp_path).manifest.set_index("image_id")
    assert rows.loc["good/1.png", "label"] == "good"
    assert rows.loc["scratch/2.png", ["label", "defect_type"]].tolist() == ["defective", "scratch"]


def test_mvtec_layout(plant: Path) -> None:
    found = scan(plant)
    assert found.layout == "mvtec"
    rows = found.manifest
    assert rows.groupby(["split", "label"]).size().to_dict() == {
        ("train", "good"): 24, ("test", "good"): 8, ("test", "defective"): 16,
    }  # fmt: skip
    masks = rows.loc[rows["label"] == "defective", "mask_path"]
    assert all((plant / mask).is_file() for mask in masks)


def test_mtd_layout_tells_masks_from_images(tmp_path: Path) -> None:
    save(tmp_path / "MT_Free" / "Imgs" / "a.jpg", "L")
    save(tmp_path / "MT_Free" / "Imgs" / "a.png", "L")  # the mask of a.jpg
    save(tmp_path / "MT_Free" / "Imgs" / "extra.png", "P")  # an image: it has no partner
    save(tmp_path / "MT_Crack" / "Imgs" / "b.jpg", "L")
    save(tmp_path / "MT_Crack" / "Imgs" / "b.png", "L")
    found = scan(tmp_path)
    assert found.layout == "mtd"
    rows = found.manifest.set_index("image_id")
    assert list(rows.index) == ["MT_Crack/Imgs/b.jpg", "MT_Free/Imgs/a.jpg", "MT_Free/Imgs/extra.png"]
    assert rows.loc["MT_Crack/Imgs/b.jpg", ["defect_type", "mask_path"]].tolist() == ["crack", "MT_Crack/Imgs/b.png"]


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder of images, found nothing"):
        detect_layout(tmp_path / "absent")
    with pytest.raises(InputError, match="expected at least one readable image"):
        scan(tmp_path)
    save(tmp_path / "a.png")
    with pytest.raises(InputError, match="is not in layout 'mtd'; it looks like 'folder'"):
        scan(tmp_path, "mtd")
