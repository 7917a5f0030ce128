"""The demo plant: same arguments same bytes, masks that tell the truth, a plant that is whole or absent."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from irp_core.demo import plant as demo
from irp_core.demo.plant import DEFECT_KINDS, ODD_KINDS, render_tile, write_demo_plant


def _digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


def _rows(root: Path) -> list[dict[str, str]]:
    with (root / "plant.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "plant"
    return write_demo_plant(root, size=64, train_good=25, test_good=8, defective=14, seed=3)


@pytest.mark.parametrize(("severity", "size"), [(0.0, 64), (1.0, 64), (0.3, 128)])
@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_mask_is_where_the_tile_differs_from_its_sound_twin(kind: str, severity: float, size: int) -> None:
    bad = render_tile(np.random.default_rng(11), size=size, defect=kind, severity=severity)
    twin = render_tile(np.random.default_rng(11), size=size)
    assert bad.image.shape == (size, size, 3) and bad.image.dtype == np.uint8
    assert bad.mask.shape == (size, size) and bad.mask.dtype == np.bool_
    assert 0 < bad.mask.sum() < 0.35 * size**2
    difference = np.abs(bad.image.astype(int) - twin.image.astype(int)).max(axis=2)
    # One pixel of blur and a few grey levels are all that may escape the mask.
    assert difference[~ndimage.binary_dilation(bad.mask, iterations=2)].max() <= 4
    assert (difference[bad.mask] > 0).mean() > 0.6
    assert difference[bad.mask].mean() > 5 * difference[~bad.mask].mean()


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_severity_is_what_makes_a_defect_obvious(kind: str) -> None:
    def change(severity: float) -> float:
        pairs = [
            (render_tile(np.random.default_rng(s), size=64, defect=kind, severity=severity).image.astype(int),
             render_tile(np.random.default_rng(s), size=64).image.astype(int))
            for s in range(2)
        ]  # fmt: skip
        return float(np.mean([np.abs(a - b).sum() for a, b in pairs]))

    assert change(0.0) < 0.6 * change(0.5) < 0.6 * change(1.0)


def test_good_tiles_have_no_mask_and_drawn_severities_stay_in_range() -> None:
    for odd in (None, *ODD_KINDS):
        tile = render_tile(np.random.default_rng(5), size=64, odd=odd)
        assert not tile.mask.any() and tile.defect is None and tile.severity is None and tile.odd == odd
    drawn = [render_tile(np.random.default_rng(s), size=32, defect="stain").severity for s in range(12)]
    assert all(s is not None and 0 <= s <= 1 for s in drawn) and len(set(drawn)) == 12


def test_odd_tiles_differ_from_plain_ones_and_the_lamps_drift() -> None:
    plain = render_tile(np.random.default_rng(5), size=64).image.astype(int)
    for odd in ODD_KINDS:
        assert np.abs(render_tile(np.random.default_rng(5), size=64, odd=odd).image - plain).mean() > 4
    early, late = (render_tile(np.random.default_rng(5), size=64, position_in_shift=p).image for p in (0.0, 1.0))
    assert early.mean() > late.mean() + 3


@pytest.mark.parametrize(
    "wrong", [{"defect": "rust"}, {"odd": "fog"}, {"severity": 1.5}, {"position_in_shift": -0.1}, {"size": 8}]
)
def test_render_refuses_what_it_does_not_know(wrong: dict[str, object]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"'{name}' parameter of render_tile must be .* Got {value!r} instead"):
        render_tile(np.random.default_rng(0), **wrong)  # type: ignore[arg-type]


def test_layout_counts_and_table(plant: Path) -> None:
    rows = _rows(plant)
    assert [r["path"] for r in rows[:2]] == ["train/good/0000.jpg", "train/good/0001.jpg"]
    assert {r["path"] for r in rows} == {p.relative_to(plant).as_posix() for p in plant.rglob("*.jpg")}
    assert len(list((plant / "train/good").iterdir())) == 25 and len(list((plant / "test/good").iterdir())) == 8
    for number, kind in enumerate(DEFECT_KINDS):
        images = sorted((plant / "test" / kind).iterdir())
        assert len(images) == (3 if number < 14 % 6 else 2)
        masks = sorted((plant / "ground_truth" / kind).iterdir())
        assert [m.name for m in masks] == [f"{i.stem}_mask.png" for i in images]
        with Image.open(masks[0]) as mask:
            assert mask.mode == "L" and mask.size == (64, 64) and set(np.unique(np.asarray(mask))) == {0, 255}
    assert all(bool(r["severity"]) == bool(r["defect"]) and not (r["odd"] and r["defect"]) for r in rows)


@pytest.mark.parametrize("stream", [0, 1])
def test_four_percent_of_the_good_are_odd(stream: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str | None] = []

    def note(rng: np.random.Generator, **kwargs: object) -> None:
        drawn.append(kwargs["odd"])  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "render_tile", note)
    for index in range(500):
        demo._Shot(seed=0, stream=stream, index=index, size=64).render()
    assert sum(odd is not None for odd in drawn) == 20 and set(drawn) == {None, *ODD_KINDS}


def test_same_arguments_same_bytes_whoever_does_the_work(plant: Path, tmp_path: Path) -> None:
    again = write_demo_plant(tmp_path / "again", size=64, train_good=25, test_good=8, defective=14, seed=3, workers=1)
    assert _digests(again) == _digests(plant)


def test_image_depends_on_seed_split_and_number_only(plant: Path, tmp_path: Path) -> None:
    small = _digests(write_demo_plant(tmp_path / "s", size=64, train_good=2, test_good=2, defective=2, seed=3))
    large = _digests(plant)
    assert all(large[name] == digest for name, digest in small.items() if not name.startswith("plant."))
    other = _digests(write_demo_plant(tmp_path / "o", size=64, train_good=2, test_good=2, defective=2, seed=4))
    assert not set(other.values()) & set(small.values())
    assert small["train/good/0000.jpg"] != small["test/good/0000.jpg"]


def test_complete_plant_is_left_alone_and_progress_counts(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    root = tmp_path / "deep" / "plant"
    arguments = {"size": 32, "train_good": 2, "test_good": 1, "defective": 1}
    write_demo_plant(root, **arguments, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert write_demo_plant(root, **arguments, progress=lambda *_: pytest.fail("drew again")) == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    with pytest.raises(FileExistsError, match="made with"):
        write_demo_plant(root, **{**arguments, "seed": 1})  # type: ignore[arg-type]


def test_foreign_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="is not a demo plant"):
        write_demo_plant(root, size=32, train_good=1, test_good=0, defective=0)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo_plant(tmp_path / "plant", size=32, train_good=4, test_good=0, defective=0, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_bad_count_is_named() -> None:
    with pytest.raises(ValueError, match="'defective' parameter of write_demo_plant must be an int in"):
        write_demo_plant(Path("never"), defective=-1)
