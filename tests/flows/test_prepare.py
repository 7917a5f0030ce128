"""`irp prepare` from a folder to its tables, and what it tells about a crop."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
from rich.console import Console

from flows.terminal.run import show_prepared
from irp_core.data.manifest import read_manifest
from irp_core.params_file import load_params
from tasks.steps.prepare import make_manifest
from tests.irp_core.data.test_layouts import kolektor


def prepared(root: Path, output: Path, crop: str) -> tuple[dict[str, int | str], str]:
    counts = make_manifest(root, load_params(None, [f"images.crop={crop}"]), output)
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


def test_without_masks_a_crop_is_not_called_harmless(tmp_path: Path) -> None:
    root = kolektor(tmp_path / "images")
    for truth in root.rglob("*_GT.png"):
        truth.unlink()
    counts, shown = prepared(root, tmp_path / "prepared", "center")
    assert (counts["layout"], counts["masks"]) == ("folder", 0)
    assert "there are no masks to tell what it loses" in shown
