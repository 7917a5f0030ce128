"""THE table: one row per image, from the raw folder to the last training set.

`image_id` is the path relative to the data set's root (POSIX separators) and is unique; rows are sorted
by it. `label` and `injected` are for evaluation only: nothing that scores or removes may read them. `split` is
`train`, `test`, `both` (a defect that trains and tests, contamination.overlap), `unused`, or, as long as a
layout without a split has not been through `contamination`, `unassigned`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from irp_core.atomic import atomic_path
from irp_core.errors import InputError

__all__ = [
    "LABELS",
    "MANIFEST_SCHEMA",
    "SPLITS",
    "manifest_digest",
    "other_rows",
    "read_manifest",
    "read_table",
    "set_digest",
    "testing_rows",
    "training_rows",
    "write_manifest",
    "write_table",
]

SPLITS = ("train", "test", "both", "unassigned", "unused")
LABELS = ("good", "defective")
MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("md5", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("defect_type", pa.string()),
        pa.field("mask_path", pa.string()),
        pa.field("injected", pa.bool_(), nullable=False),
    ]
)


def write_table(table: pd.DataFrame, path: Path, schema: pa.Schema) -> None:
    """Write a data frame as parquet, whole and atomically; the same rows give the same bytes."""
    # Without pandas' own metadata the bytes depend on the rows and the schema alone.
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False).replace_schema_metadata(None)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)


def read_table(path: Path, schema: pa.Schema, where: Mapping[str, object] | None = None) -> pd.DataFrame:
    """Read a parquet file that must have `schema`'s columns; with `where`, only the rows with these values.

    A column whose field says what it was `formerly` called may have that name in the file.

    Raises:
        InputError: the file is missing, is no parquet file, or has other columns.
    """
    try:
        arrow = _rows_with(path, where) if where else pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: is not a readable parquet file ({error}).") from None
    former = {(field.metadata or {}).get(b"formerly", b"").decode(): field.name for field in schema}
    arrow = arrow.rename_columns([former.get(name, name) for name in arrow.schema.names])
    if arrow.schema.names != schema.names:
        raise InputError(f"{path}: expected columns {schema.names}, found {arrow.schema.names}.")
    frame: pd.DataFrame = arrow.cast(schema).to_pandas()
    return frame


def _rows_with(path: Path, where: Mapping[str, object]) -> pa.Table:
    """The rows with these values: the columns asked about are read first, the others only of groups of rows that match.

    That takes half of the time of a filter, which reads all columns of every group. Groups are looked through side by
    side.
    """
    with pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
    places = [schema.names.index(name) for name in where]

    def possible(number: int) -> bool:
        group = metadata.row_group(number)
        return all(map(_may_hold, (group.column(place).statistics for place in places), where.values()))

    def matching(number: int) -> pa.Table | None:
        with pq.ParquetFile(path, metadata=metadata) as file:  # one of its own: a reader serves one thread
            keys = file.read_row_group(number, columns=list(where))
            rows = reduce(pc.and_, [pc.equal(keys.column(name), value) for name, value in where.items()])
            if not pc.any(rows).as_py():
                return None
            others = [name for name in schema.names if name not in where]
            found = file.read_row_group(number, columns=others).filter(rows)
        for name in where:
            found = found.append_column(schema.field(name), keys.column(name).filter(rows))
        return found.select(schema.names)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(matching, filter(possible, range(metadata.num_row_groups)))
        return pa.concat_tables([schema.empty_table(), *(rows for rows in found if rows is not None)])


def _may_hold(statistics: pq.Statistics | None, value: Any) -> bool:
    """Whether a group of rows may have the value in a column, by the column's smallest and largest."""
    if statistics is None or not statistics.has_min_max or type(statistics.min) is not type(value):
        return True
    return bool(statistics.min <= value <= statistics.max)


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Validate and write a manifest, sorted by `image_id`."""
    ordered = manifest.sort_values("image_id", kind="stable", ignore_index=True)
    _validate(ordered, str(path))
    write_table(ordered, path, MANIFEST_SCHEMA)


def read_manifest(path: Path) -> pd.DataFrame:
    """Read and validate a manifest."""
    manifest = read_table(path, MANIFEST_SCHEMA)
    _validate(manifest, str(path))
    return manifest


def manifest_digest(manifest: pd.DataFrame) -> str:
    """SHA-256 (hex) of all rows and columns, independent of the file's encoding."""
    text = manifest[MANIFEST_SCHEMA.names].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def set_digest(rows: pd.DataFrame) -> str:
    """SHA-256 (hex) of a training set's (image_id, md5) rows, in their order: names the set where DVC does not."""
    text = rows[["image_id", "md5"]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def training_rows(manifest: pd.DataFrame) -> pd.DataFrame:
    """`image_id` and `md5` of the training images: all that scoring and removal may see.

    Example:
        >>> manifest = pd.DataFrame({"image_id": ["a.png", "b.png"], "md5": ["0", "1"], "split": ["train", "test"]})
        >>> training_rows(manifest)["image_id"].tolist(), testing_rows(manifest)["image_id"].tolist()
        (['a.png'], ['b.png'])
    """
    return manifest.loc[manifest["split"].isin(("train", "both")), ["image_id", "md5"]].reset_index(drop=True)


def testing_rows(manifest: pd.DataFrame) -> pd.DataFrame:
    """All columns of the test images."""
    return manifest.loc[manifest["split"].isin(("test", "both"))].reset_index(drop=True)


def other_rows(manifest: pd.DataFrame) -> pd.DataFrame:
    """`image_id` and `md5` of the images that no training sees: test and unused ones."""
    return manifest.loc[~manifest["split"].isin(("train", "both")), ["image_id", "md5"]].reset_index(drop=True)


def _validate(manifest: pd.DataFrame, source: str) -> None:
    if repeated := manifest.loc[manifest["image_id"].duplicated(), "image_id"].tolist():
        raise InputError(f"{source}: image_id must be unique, found {repeated[0]!r} more than once.")
    for column, allowed in (("split", SPLITS), ("label", LABELS)):
        found = set(manifest[column].dropna().unique()) - set(allowed)
        if found:
            raise InputError(f"{source}: {column} must be one of {allowed}, found {sorted(found)[0]!r}.")
    if not manifest["md5"].str.fullmatch(r"[0-9a-f]{32}").all():
        raise InputError(f"{source}: md5 must be 32 hexadecimal digits in every row.")
