"""Rows are looked up by a value without reading the others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from irp_core.data.manifest import MANIFEST_SCHEMA, read_table
from irp_core.errors import InputError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Ten images in three groups of rows, two of them copies, in different groups."""
    names = [f"{number}.png" for number in range(10)]
    md5s = [f"{number % 8:032x}" for number in range(10)]
    rows = {
        "image_id": names, "md5": md5s, "split": "train", "label": "good",
        "defect_type": [None] * 9 + ["hole"], "mask_path": None, "injected": False,
    }  # fmt: skip
    table = pa.Table.from_pandas(pd.DataFrame(rows), schema=MANIFEST_SCHEMA, preserve_index=False)
    pq.write_table(table, tmp_path / "manifest.parquet", row_group_size=4)
    return tmp_path / "manifest.parquet"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"md5": f"{1:032x}"}, ["1.png", "9.png"]),
        ({"image_id": "5.png"}, ["5.png"]),
        ({"md5": f"{1:032x}", "image_id": "9.png"}, ["9.png"]),
        ({"md5": f"{1:032x}", "image_id": "5.png"}, []),
        ({"image_id": "zzz"}, []),
        ({"defect_type": "hole"}, ["9.png"]),
        ({"injected": False, "image_id": "0.png"}, ["0.png"]),
    ],
)
def test_the_rows_with_a_value_are_those_of_the_whole_table(
    manifest: Path, where: dict[str, object], found: list[str]
) -> None:
    rows = read_table(manifest, MANIFEST_SCHEMA, where)
    assert rows["image_id"].tolist() == found
    whole = read_table(manifest, MANIFEST_SCHEMA)
    expected = whole[whole["image_id"].isin(found)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, expected)


def test_only_a_group_with_the_value_is_read_whole(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    original = pq.ParquetFile.read_row_group

    def noted(self: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        read.append((number, len(columns)))
        return original(self, number, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    read_table(manifest, MANIFEST_SCHEMA, {"image_id": "5.png"})
    assert read == [(1, 1), (1, 6)]  # names are sorted: a group's smallest and largest tell


def test_a_column_that_is_not_there_names_the_file(manifest: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.parquet"):
        read_table(manifest, MANIFEST_SCHEMA, {"colour": "red"})
