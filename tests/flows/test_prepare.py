"""`irp prepare` from a folder to its tables, and what it tells about a crop."""

from __future__ import annotations

import re
import shutil
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from flows.terminal.health import show_health
from flows.terminal.run import show_prepared
from irp_core.data.manifest import read_manifest
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from tasks.steps.health import measure_health
from tasks.steps.prepare import make_manifest
from tests.flows.harness import refine_in
from tests.irp_core.data.test_layouts import kolektor, mask, picture


def prepared(root: Path, output: Path, crop: str, layout: str = "auto") -> tuple[dict[str, int | str], str]:
    counts = make_manifest(root, load_params(None, [f"images.crop={crop}", f"dataset.layout={layout}"]), output)
    terminal = StringIO()
    show_prepared(Console(file=terminal, width=200), counts, root, output)
    return counts, terminal.getvalue()


def test_prepare_counts_what_the_crop_loses(tmp_path: Path) -> None:
    root = kolektor(tmp_path / "ksdd2")
    counts, shown = prepared(root, tmp_path / "prepared", "center")
    assert counts["masks"] == 6
    assert (counts["defects_lost"], counts["defects_cut"]) == (3, 1)
    assert "of 6 defects with a mask it loses 3 (no pixel is left inside) and cuts 1." in shown
    table = pd.read_parquet(tmp_path / "prepared" / "crop_loss.parquet")
    assert table.loc[table["kept_pixels"] == 0, "image_id"].tolist() == [
        "test/10012.png", "train/10005.png", "train/10008.png",
    ]  # fmt: skip
    assert (read_manifest(tmp_path / "prepared" / "manifest.parquet")["split"] == "train").sum() == 5


def test_the_full_image_loses_nothing_and_says_nothing(tmp_path: Path) -> None:
    counts, shown = prepared(kolektor(tmp_path / "ksdd2"), tmp_path / "prepared", "none")
    assert (counts["defects_lost"], counts["defects_cut"]) == (0, 0)
    assert "images.crop" not in shown


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([(500, 1250)] * 5, "-S images.size=[608,240] (now 256)"),  # a strip: as many pixels as a square of 384
        ([(1250, 500)] * 4 + [(1240, 510)], "-S images.size=[240,608] (now 256)"),
        ([(90, 300)] * 5, "-S images.size=[464,144] (now 256)"),
        ([(500, 400)] * 5, "-S images.size=384 (now 256)"),  # nearly square
        ([(400, 1200), (1200, 400)] * 3, "-S images.size=384 (now 256)"),  # strips of no common shape
        ([(100, 80)] * 5, None),  # the default is as good
    ],
)
def test_prepare_recommends_a_size_by_the_sets_own(
    sizes: list[tuple[int, int]], said: str | None, tmp_path: Path
) -> None:
    for number, (width, height) in enumerate(sizes):
        picture(tmp_path / "images" / f"{number}.png", (height, width))
    _, shown = prepared(tmp_path / "images", tmp_path / "prepared", "none")
    assert (said in shown) if said else ("Recommended" not in shown)
    # What is recommended is a size that the parameters take, and is not recommended again.
    if said:
        size = said.removeprefix("-S ").split(" ")[0]
        checked = load_params(None, [size])
        counts = make_manifest(tmp_path / "images", checked, tmp_path / "again")
        assert counts["size"] == counts["recommended_size"]


def test_without_masks_a_crop_is_not_called_harmless(tmp_path: Path) -> None:
    root = kolektor(tmp_path / "images")
    for truth in root.rglob("*_GT.png"):
        truth.unlink()
    counts, shown = prepared(root, tmp_path / "prepared", "center", "folder")
    assert (counts["layout"], counts["masks"]) == ("folder", 0)
    assert "there are no masks to tell what it loses" in shown


def test_prepare_counts_by_folder_and_says_what_it_leaves(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    for name in ("Good/1.png", "Good/2.png", "Good/3.png", "Good/4.png", "crack/1.png", "beside.png"):
        picture(root / name, (40, 40))
    mask(root / "mask" / "1.png", (40, 40), (3, 9, 3, 9))
    (root / "crack" / "empty.png").touch()
    (root / "notes.txt").write_text("x")
    counts, shown = prepared(root, tmp_path / "prepared", "none")
    assert (counts["quarantined"], counts["ignored"], counts["masks"]) == (1, 3, 1)
    assert "Quarantined: crack/empty.png (empty file)" in shown
    assert "Ignored: 1 file, in a folder of masks (for example mask/1.png)" in shown
    assert "Ignored: 1 file, beside the folders of a labelled set: neither good nor of a defect" in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.split("By folder")[1].splitlines() if line.strip()}
    assert rows["folder"] == ["train", "test", "quarantined", "ignored"]
    assert rows["."] == ["0", "0", "0", "2"]
    assert rows["Good"] == ["3", "1", "0", "0"]
    assert rows["crack"] == ["0", "1", "1", "0"]
    assert rows["mask"] == ["0", "0", "0", "1"]


def test_prepare_tells_what_the_images_are_like_and_which_are_unlike_the_rest(plant: Path, tmp_path: Path) -> None:
    root, output = tmp_path / "images", tmp_path / "prepared"
    shutil.copytree(plant / "train" / "good", root)
    dark = Image.open(next(iter(sorted(root.iterdir())))).point(lambda value: value // 4)
    dark.resize((50, 40)).save(root / "dark.png")
    params = load_params(None, ["dataset.layout=folder", "dataset.test_fraction=0.1"])
    _, shown = prepared(root, output, "none", "folder")
    assert "images are like" not in shown  # a run begins without that second look at the images
    PreparedSet(output).write_manifest(PreparedSet(output).manifest().assign(split="train"))
    assert measure_health.fn(str(root), params.model_dump(mode="json"), str(output)) >= 1
    table = PreparedSet(output).health()
    terminal = StringIO()
    show_health(Console(file=terminal, width=120), PreparedSet(output))
    shown = terminal.getvalue()
    assert f"What the {len(table)} training images are like" in shown
    assert len(table) == len(list(root.iterdir()))
    assert re.search(r"^dark\.png: darker.*50 x 40$", shown, re.MULTILINE), shown
    assert "Size: 64 x 64 pixels" in shown and "and 1 other sizes" in shown


def test_an_unlabelled_set_is_refined_and_scored_on_its_hashed_test_split(
    tmp_path: Path, plant: Path, prefect_api: str
) -> None:
    """What a line brings has no labels; a later set keeps the earlier one's split."""
    images = sorted((plant / "train").rglob("*.jpg"))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for image in images:
        shutil.copy(image, inbox / f"{image.parent.name}-{image.name}")
    unlabelled = ["dataset.split=hash", "contamination.fraction=0", "snapshots.enabled=false"]
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    run = RunDirectory(refine_in(workspace, inbox, [*unlabelled, "refinement.max_iterations=1"]))
    before = run.manifest().set_index("md5")["split"]
    assert set(before) == {"train", "test"}
    scored = pd.read_parquet(run.path / "test_scores.parquet")
    assert set(scored["md5"]) == set(before[before == "test"].index)
    for index, image in enumerate(sorted((plant / "test").rglob("*.jpg"))):
        shutil.copy(image, inbox / f"0-new-{index}.jpg")
    make_manifest(inbox, load_params(None, unlabelled), tmp_path / "next", before=run.path)
    after = read_manifest(tmp_path / "next" / "manifest.parquet").set_index("md5")["split"]
    assert len(after) > len(before)
    assert after[before.index].equals(before)
