"""DVC versions of packed sets: an iteration's version is its own index and the same shards, none of them copied again.

Such a version's folder is a packed set itself (`irp_core.packed`): its index has the images that were trained on, its
shards are those that hold at least one of them. What a shard holds besides is in no row of the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from irp_core.errors import InputError
from irp_core.hashing import file_md5
from irp_core.packed.images import part_of
from irp_core.packed.index import PackedSet, open_packed, read_index, write_checked
from irp_core.packed.layout import INDEX, INDEX_SCHEMA, SHARDS, SHARDS_SCHEMA
from tasks.versions.snapshots import add_to_cache, cached_file, cached_files, files_here, set_objects

if TYPE_CHECKING:
    from dvc.repo import Repo

__all__ = ["add_packed_to_cache", "cached_image", "image_places", "set_members"]


def add_packed_to_cache(repo: Repo, rows: pd.DataFrame, root: Path, *, hardlink: bool) -> pd.DataFrame:
    """Bring the index of `rows` and the shards that they lie in into DVC's cache.

    Args:
        rows: `image_id` and `md5` of images of the packed set `root`.

    Returns:
        `image_id` (here the path in the version's folder) and `md5` of its files.

    Raises:
        InputError: an image that the set does not have with this content, or a shard that was changed since.
    """
    with _tables(rows, open_packed(root)) as (folder, tables, shards):
        add_to_cache(repo, shards, root, hardlink=hardlink)
        add_to_cache(repo, tables, folder, hardlink=False)
    return pd.concat([tables, shards], ignore_index=True)


@contextmanager
def _tables(rows: pd.DataFrame, packed: PackedSet) -> Iterator[tuple[Path, pd.DataFrame, pd.DataFrame]]:
    """A folder with the version's own tables; path and md5 of these, and of the shards."""
    known = packed.rows()
    chosen = known[known["image_id"].isin(rows["image_id"])].reset_index(drop=True)
    wanted = rows[["image_id", "md5"]].sort_values("image_id", ignore_index=True)
    if not chosen[["image_id", "md5"]].equals(wanted.astype(chosen.dtypes[["image_id", "md5"]])):
        raise InputError(f"{packed.folder}: expected the images of the manifest, found others in its index.")
    shards = packed.shard_rows()
    shards = shards[shards["number"].isin(chosen["shard"])].reset_index(drop=True)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_checked(chosen, folder / INDEX, INDEX_SCHEMA)
        write_checked(shards, folder / SHARDS, SHARDS_SCHEMA)
        tables = pd.DataFrame(
            [(name, file_md5(folder / name)) for name in (INDEX, SHARDS)], columns=["image_id", "md5"]
        )
        yield folder, tables, shards.rename(columns={"name": "image_id"})[["image_id", "md5"]]


def set_members(md5: str) -> tuple[pd.DataFrame, int]:
    """`image_id` and `md5` of the images in a version, fetched from the remote where the cache lacks it, and how many
    files the version has: as many, or the shards and tables of a packed set.

    Raises:
        InputError: nowhere to be had, or not the list that its hash names.
    """
    listed = set_objects(md5)
    packed = _packed_version(md5) if _in_shards(listed) else None
    return (listed if packed is None else packed.rows()[["image_id", "md5"]]), len(listed)


def image_places(version: str | None, md5s: list[str]) -> Mapping[str, Path]:
    """md5 → the address (`irp_core.packed.images`) of a version's image in DVC's cache, fetched where that lacks it.

    Args:
        version: None: each image is an object of its own.

    Raises:
        InputError: some are nowhere to be had.
    """
    packed = None if version is None else _packed_version(version)
    if packed is None:
        return cached_files(md5s)
    wanted = packed.rows().drop_duplicates("md5").set_index("md5").reindex(md5s)
    if wanted["bytes"].isna().any():
        raise InputError(f"{wanted.index[wanted['bytes'].isna()][0]}: not in the version {version}.")
    shards = {number: row["md5"] for number, row in packed.shards.items()}
    files = cached_files([shards[int(number)] for number in wanted["shard"].unique()])
    return {
        str(row.Index): part_of(files[shards[int(row.shard)]], int(row.offset), int(row.bytes))
        for row in wanted.itertuples()
    }


def cached_image(version: str | None, md5: str) -> Path | None:
    """Where an image with this content lies in DVC's cache on this machine; None where it does not.

    Nothing is fetched: a picture on a page is not worth a shard, let alone all of a set's.
    """
    if (found := cached_file(md5)) is not None or version is None or cached_file(version) is None:
        return found
    try:
        place = _places_in_shards(version).get(md5)
    except InputError:  # a version of which the cache has not even the index
        return None
    file = cached_file(place[0]) if place else None
    return part_of(file, *place[1:]) if place and file else None


@lru_cache(maxsize=4)
def _places_in_shards(version: str) -> Mapping[str, tuple[str, int, int]]:
    """md5 of an image → md5 of its shard, offset and size in bytes; none where the version's images are files."""
    packed = _packed_version(version, fetch=False)
    if packed is None:
        return {}
    rows = packed.rows()
    shards = [packed.shards[number]["md5"] for number in rows["shard"].tolist()]
    places = zip(shards, rows["offset"].tolist(), rows["bytes"].tolist(), strict=True)
    return dict(zip(rows["md5"].tolist(), places, strict=True))


def _in_shards(listed: pd.DataFrame) -> bool:
    """Whether a version's list (`set_objects`) is that of a packed set."""
    return {INDEX, SHARDS} <= set(listed["image_id"])


@lru_cache(maxsize=4)
def _packed_version(version: str, fetch: bool = True) -> PackedSet | None:
    """The index of a version; None where its images are files.

    Raises:
        InputError: nowhere to be had, or, unless it may be fetched, not on this machine; one that was changed.
    """
    objects = set_objects(version)
    if not _in_shards(objects):
        return None
    listed = dict(objects.itertuples(index=False))
    tables = [listed[INDEX], listed[SHARDS]]
    files = cached_files(tables) if fetch else files_here(tables)
    if missing := set(tables) - files.keys():
        raise InputError(f"{min(missing)}: not in DVC's cache on this machine.")
    for md5, file in files.items():
        if (found := file_md5(file)) != md5:
            raise InputError(f"{file}: was changed in DVC's cache: its md5 is {found}.")
    return read_index(files[listed[INDEX]], files[listed[SHARDS]], files[listed[INDEX]].parent)
