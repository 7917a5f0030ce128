"""What a packed set's folder holds, and which names may stand in it.

`shard-000000.tar`, `shard-000001.tar` …: plain tar files whose members are called like the images (`image_id`), as
WebDataset reads them. `packed.parquet`: a row per image with its place. `shards.parquet`: a row per shard with its md5.
`left_out.parquet`: what the folder held besides, with the reason.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from irp_core.errors import InputError

__all__ = [
    "INDEX", "INDEX_SCHEMA", "LEFT_OUT", "LEFT_OUT_SCHEMA", "SHARDS", "SHARDS_SCHEMA", "expect_images", "expect_shard",
    "is_packed", "shard_name",
]  # fmt: skip

INDEX = "packed.parquet"
SHARDS = "shards.parquet"
LEFT_OUT = "left_out.parquet"

# Sorted by `image_id`; `shard` is a `number` of the other table, `offset` and `bytes` are those of the image's bytes.
INDEX_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("md5", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
SHARDS_SCHEMA = pa.schema(
    [
        pa.field("number", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("md5", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
    ]
)
LEFT_OUT_SCHEMA = pa.schema(
    [("path", pa.string()), ("files", pa.int64()), ("reason", pa.string()), ("quarantined", pa.bool_())]
)
# An absolute path, an empty part, `.` or `..`, or a null byte.
_ESCAPES = r"(^|/)\.{0,2}(/|$)|\x00"


def is_packed(folder: Path) -> bool:
    """Whether a folder holds a packed set; of one that may not be entered, no."""
    try:
        return (folder / INDEX).is_file()
    except OSError:
        return False


def shard_name(number: int) -> str:
    """
    Example:
        >>> shard_name(7)
        'shard-000007.tar'
    """
    return f"shard-{number:06d}.tar"


def expect_shard(name: str, folder: Path) -> None:
    """Refuse a shard's name that is not that of a .tar file directly in its folder.

    Raises:
        InputError: any other name.
    """
    if not re.fullmatch(r"[^/\\\x00]+\.tar", name) or name.startswith("."):
        raise InputError(f"{folder / SHARDS}: expected names of .tar files in this folder, found {name!r}.")


def expect_images(names: pa.Array, source: Path) -> None:
    """Refuse names that lead out of a folder.

    Raises:
        InputError: such a name, which it shows.
    """
    wrong = pc.filter(names, pc.match_substring_regex(names, _ESCAPES))
    if len(wrong):
        raise InputError(f"{source}: refused, its image {wrong[0].as_py()!r} lies outside of the set.")
