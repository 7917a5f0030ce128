"""Near-copies: found whatever they are called, told from parts that are only alike, and kept together everywhere."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from irp_core.config import Contamination, Dataset
from irp_core.data.contamination import contaminate, content_groups
from irp_core.data.copies.near_copies import near_copies
from irp_core.data.scan import scan
from irp_core.detectors.folds import assign_folds

SIDE = 256


def parts(count: int, seed: int = 0) -> list[NDArray[np.float64]]:
    """Images of one product: the same outline and lighting in each, and marks of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    product = 90 + 80 * (np.hypot(x - 0.5, y - 0.5) < 0.4) + 20 * x
    found = []
    for _ in range(count):
        own = gaussian_filter(rng.normal(0, 120, (SIDE, SIDE)), 4)
        found.append(product + own + rng.normal(0, 5) + rng.normal(0, 2, product.shape))
    return found


def eight_bits(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    return pixels.clip(0, 255).round().astype(np.uint8)


def shot_again(pixels: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Other noise, 5 % brighter, half a pixel to the side."""
    moved = (pixels + np.roll(pixels, 1, axis=1)) / 2
    return moved * 1.05 + np.random.default_rng(seed).normal(0, 2, pixels.shape)


def small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BOX))


def test_parts_that_are_only_alike_are_no_copies() -> None:
    labels = near_copies(np.stack([small(eight_bits(part)) for part in parts(60)]), 0.9)
    assert labels.tolist() == list(range(60))


def test_the_same_picture_saved_again_and_a_second_shot_are_copies() -> None:
    images = [eight_bits(part) for part in parts(40)]
    buffer = io.BytesIO()
    Image.fromarray(images[3]).save(buffer, "JPEG", quality=50)
    again = np.asarray(Image.open(buffer))
    second = eight_bits(shot_again(parts(40)[5], seed=1))
    third = eight_bits(shot_again(parts(40)[5], seed=2))
    labels = near_copies(np.stack([small(image) for image in [*images, again, second, third]]), 0.9)
    assert labels.tolist() == [*range(40), 3, 5, 5]


def test_two_products_in_one_set_are_no_copies_of_each_other() -> None:
    """What the images of each product have in common would make them alike, against the mean of both."""
    first = parts(30)
    second = [part.T[::-1] * 0.5 + 60 * (np.mgrid[:SIDE, :SIDE][0] % 16 < 4) for part in parts(30, seed=1)]
    images = [eight_bits(part) for part in [*first, *second]]
    images.append(eight_bits(shot_again(second[0], seed=3)))
    labels = near_copies(np.stack([small(image) for image in images]), 0.9)
    assert labels.tolist() == [*range(60), 30]


def test_a_large_set_is_searched_by_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [eight_bits(part) for part in parts(60)]
    images += [eight_bits(shot_again(part, seed=7)) for part in parts(60)[:10]]
    stack = [small(image) for image in images]
    exact = near_copies(np.stack(stack), 0.9)
    monkeypatch.setattr("irp_core.data.copies.near_copies._EXACT", 16)
    monkeypatch.setattr("irp_core.data.copies.near_copies._AT_ONCE", 17)
    assert near_copies(np.stack(stack), 0.9).tolist() == exact.tolist()
    assert exact.tolist() == [*range(60), *range(10)]


def test_flat_and_equal_pictures_do_no_harm() -> None:
    flat = [np.full((64, 64), level, np.uint8) for level in (0, 9, 255)]
    assert near_copies(np.stack(flat), 0.9).tolist() == [0, 1, 2]
    assert near_copies(np.zeros((0, 64, 64), np.uint8), 0.9).tolist() == []


def folder(root: Path) -> Path:
    """30 good images and 6 of one defective part and 6 of others."""
    images = {f"good/{i:02d}.png": part for i, part in enumerate(parts(30))}
    defects = parts(7, seed=1)
    for part in defects:
        part[60:100, 60:100] += 70
    images |= {f"hole/{i}.png": part for i, part in enumerate(defects)}
    images |= {f"hole/0-again-{i}.png": shot_again(defects[0], seed=i) for i in range(5)}
    for name, part in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(eight_bits(part)).save(root / name)
    return root


def test_copies_share_a_fold_and_a_side_of_the_split(tmp_path: Path) -> None:
    found = scan(folder(tmp_path))
    groups = found.near_copies.groupby("group")["image_id"].apply(list).tolist()
    shots = ["hole/0-again-0.png", "hole/0-again-1.png", "hole/0-again-2.png", "hole/0-again-3.png",
             "hole/0-again-4.png", "hole/0.png"]  # fmt: skip
    assert groups == [shots]
    assert set(found.near_copies["group"]) <= set(found.near_copies["md5"])
    sides = set()
    for seed in range(12):
        noise = Contamination(protocol="fraction_of_defects", fraction=0.99)
        rows = contaminate(found.manifest, Dataset(), noise, seed=seed, near_copies=found.near_copies)
        splits = rows.set_index("image_id").loc[shots, "split"]
        assert len(set(splits) - {"unused"}) <= 1
        sides |= set(splits)
    assert "test" in sides
    assert len(sides) > 1
    contents = content_groups(found.manifest["md5"], found.near_copies).tolist()
    folds = assign_folds(contents, np.ones(len(contents), dtype=bool), 5, seed=0)
    together = folds[found.manifest["image_id"].isin(shots).to_numpy()]
    assert len(together) == 6
    assert len(set(together)) == 1


def test_without_near_copies_a_split_is_what_it_was(tmp_path: Path) -> None:
    found = scan(folder(tmp_path), copies_from=None)
    assert found.near_copies.empty
    noise = Contamination(protocol="fraction_of_defects", fraction=0.5)
    with_none = contaminate(found.manifest, Dataset(), noise, seed=3, near_copies=found.near_copies)
    pd.testing.assert_frame_equal(with_none, contaminate(found.manifest, Dataset(), noise, seed=3))


def test_a_large_set_is_searched_by_signs_and_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    stack = [rng.integers(0, 255, (64, 64), dtype=np.uint8) for _ in range(300)]
    for number in range(40):  # correlated by 0.95
        noisy = stack[number] + rng.normal(0, 73 / 3, (64, 64))
        stack.append(noisy.clip(0, 255).astype(np.uint8))
    exact = near_copies(np.stack(stack), 0.9)
    assert np.sum(np.unique(exact, return_counts=True)[1] == 2) == 40
    monkeypatch.setattr("irp_core.data.copies.near_copies._EXACT", 100)
    monkeypatch.setattr("irp_core.data.copies.near_copies._ALL", 100)
    assert near_copies(np.stack(stack), 0.9).tolist() == exact.tolist()
