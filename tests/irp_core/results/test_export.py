"""The exported folder: kept images and two lists, whole or not at all; the originals are only read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from irp_core.data.scan import scan
from irp_core.errors import InputError
from irp_core.hashing import file_md5
from irp_core.results.export import export_set

STATES = {"a.png": "kept", "b.png": "removed", "sub/c.png": "restored", "d.png": "kept", "e.png": "removed"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in STATES:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"pixels of {name}".encode())
    return tmp_path / "data"


@pytest.fixture
def images(root: Path) -> pd.DataFrame:
    """The final states; a review kept d.png, which the last model had not seen."""
    names = list(STATES)
    return pd.DataFrame(
        {
            "image_id": names,
            "md5": [file_md5(root / name) for name in names],
            "state": list(STATES.values()),
            "trained_on": [True, False, True, False, False],
            "score": [1.0, 2.0, 1.5, 1.8, 3.0],
            "label": "defective",
        }
    )


def nowhere(md5s: list[str]) -> Mapping[str, Path]:
    raise InputError("no repository.")


def export(images: pd.DataFrame, root: Path, to: Path, **options: Any) -> Any:
    return export_set(images, root, to, **{"how": "copy", "about": {"run": "r"}, "elsewhere": nowhere, **options})


def test_the_copy_holds_the_kept_images_and_says_who_went(images: pd.DataFrame, root: Path, tmp_path: Path) -> None:
    done = export(images, root, tmp_path / "out")
    assert (done.kept, done.removed, done.decided_later) == (3, 2, 1)
    copied = {p.relative_to(tmp_path / "out/images").as_posix() for p in (tmp_path / "out/images").rglob("*.png")}
    kept, removed = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("kept", "removed"))
    assert copied == set(kept["image_id"]) == {"a.png", "sub/c.png", "d.png"}
    assert removed["image_id"].tolist() == ["e.png", "b.png"]  # the most suspicious first
    assert [Path(source).read_bytes() for source in removed["path"]] == [b"pixels of e.png", b"pixels of b.png"]
    assert not {"label", "injected"} & {*kept, *removed}  # for evaluation only
    assert json.loads((tmp_path / "out/export.json").read_text())["kept"] == 3
    # A copy is the user's own: writing to it leaves the original as it was.
    (tmp_path / "out/images/a.png").write_bytes(b"painted over")
    assert (root / "a.png").read_bytes() == b"pixels of a.png"


def test_links_lead_to_the_originals_and_lists_bring_no_images(
    images: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    export(images, root, tmp_path / "links", how="link")
    assert (tmp_path / "links/images/sub/c.png").readlink() == root.resolve() / "sub/c.png"
    export(images, root, tmp_path / "lists", how="lists")
    assert not (tmp_path / "lists/images").exists()
    assert (tmp_path / "lists/kept.csv").read_text() == (tmp_path / "links/kept.csv").read_text()


def test_a_changed_image_is_found_elsewhere_or_nothing_is_written(
    images: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cached"
    cache.write_bytes((root / "a.png").read_bytes())
    (root / "a.png").write_bytes(b"retouched")
    with pytest.raises(InputError, match=r"a\.png: expected the image that the run read .* \(no repository\.\)"):
        export(images, root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export(images, root, tmp_path / "out", elsewhere=lambda md5s: dict.fromkeys(md5s, cache))
    assert (tmp_path / "out/images/a.png").read_bytes() == b"pixels of a.png"


def test_an_export_is_no_part_of_a_data_set(images: pd.DataFrame, root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder outside the data set"):
        export(images, root, root / "clean")
    with pytest.raises(InputError, match="found something there"):
        export(images, root, root.parent)
    from irp_core.demo.plant import write_demo_plant

    plant = write_demo_plant(tmp_path / "plant", size=64, train_good=2, test_good=1, defective=1, seed=0)
    before = len(scan(plant).manifest)
    export(images, root, plant / "train" / "good" / "clean")
    assert len(scan(plant).manifest) == before


def test_a_name_that_leads_out_of_the_folder_is_refused(images: pd.DataFrame, root: Path, tmp_path: Path) -> None:
    images.loc[0, "image_id"] = "../outside.png"
    with pytest.raises(InputError, match="expected an image's path below the data set's folder"):
        export(images, root, tmp_path / "out")
