"""Versions of packed sets: an index of their own and the same shards, whole on any machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from irp_core.errors import InputError
from irp_core.packed.images import read_image
from irp_core.packed.index import open_packed
from irp_core.packed.packing import pack
from tasks.versions.packed import add_packed_to_cache, cached_image, image_places, set_members
from tasks.versions.publish import _push
from tasks.versions.snapshots import checkout, locked_repository, set_objects, write_snapshot
from tests.tasks.versions.test_snapshots import make_images


@pytest.fixture
def rows(workspace: Path, tmp_path: Path) -> pd.DataFrame:
    """Six images in three shards, packed into the workspace's folder `packed`."""
    rows = make_images(tmp_path / "raw", 6)
    pack(tmp_path / "raw", rows["image_id"].tolist(), Path("packed"), left_out=[], shard_bytes=15, max_bytes=100)
    shutil.rmtree(tmp_path / "raw")
    return rows


def version_of(rows: pd.DataFrame, name: str) -> str:
    with locked_repository() as repo:
        members = add_packed_to_cache(repo, rows, Path("packed"), hardlink=False)
        return write_snapshot(repo, members, Path("snapshots/r") / name)


def test_an_iterations_version_is_its_index_and_the_same_shards(rows: pd.DataFrame) -> None:
    whole, part = version_of(rows, "iteration-00"), version_of(rows.iloc[[0, 1, 3]], "iteration-01")
    objects = [set_objects(version).set_index("image_id")["md5"] for version in (whole, part)]
    assert objects[0].index.tolist() == [
        "packed.parquet", "shard-000000.tar", "shard-000001.tar", "shard-000002.tar", "shards.parquet",
    ]  # fmt: skip
    assert objects[1].index.tolist() == [
        "packed.parquet", "shard-000000.tar", "shard-000001.tar", "shards.parquet",
    ]  # fmt: skip
    same = [name for name in objects[1].index if name.endswith(".tar")]
    assert objects[1][same].equals(objects[0][same])
    members, files = set_members(part)
    assert files == 2 + 2 and members["image_id"].tolist() == rows["image_id"].iloc[[0, 1, 3]].tolist()
    assert version_of(rows, "again") == whole


def test_a_wiped_cache_is_pulled_and_the_folder_is_a_packed_set(rows: pd.DataFrame, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with locked_repository() as repo, repo.config.edit("repo") as config:
        config["remote"]["there"] = {"url": remote}
        config["core"]["remote"] = "there"
    version = version_of(rows.iloc[:3], "iteration-00")
    _push({version, *set_objects(version)["md5"]}, "there", remote)
    shutil.rmtree(".dvc/cache/files")
    shutil.rmtree("packed")
    assert cached_image(version, rows["md5"].iloc[1]) is None
    set_members(version)  # fetches the list and the index: three files
    assert cached_image(version, rows["md5"].iloc[1]) is None  # its shard is not here, and is not fetched for it
    assert sum(file.is_file() for file in Path(".dvc/cache/files").rglob("*")) == 3
    places = image_places(version, rows["md5"].iloc[:3].tolist())
    assert [read_image(places[md5]) for md5 in rows["md5"].iloc[:3]] == [b"image 0", b"image 1", b"image 2"]
    assert (found := cached_image(version, rows["md5"].iloc[1])) is not None and read_image(found) == b"image 1"
    assert cached_image(version, rows["md5"].iloc[5]) is None
    with pytest.raises(InputError, match="not in the version"):
        image_places(version, rows["md5"].iloc[5:].tolist())
    folder = checkout(version, Path("out"), {})
    assert open_packed(folder).image_ids() == tuple(rows["image_id"].iloc[:3])
    assert read_image(folder / rows["image_id"].iloc[2]) == b"image 2"


def test_a_shard_that_was_changed_is_never_a_version(rows: pd.DataFrame) -> None:
    shard = Path("packed/shard-000001.tar")
    shard.write_bytes(shard.read_bytes().replace(b"image 3", b"image !"))
    with pytest.raises(InputError, match="expected the image of the manifest"):
        version_of(rows, "iteration-00")
    with pytest.raises(InputError, match="found others in its index"):
        version_of(rows.assign(md5="0" * 32), "iteration-00")
