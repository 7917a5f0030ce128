"""A prepared data set: the manifest, and what was left out of it and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from irp_core.atomic import atomic_path
from irp_core.data.manifest import read_manifest, read_table, training_rows, write_manifest, write_table
from irp_core.data.schemas import (
    CROP_LOSS_SCHEMA,
    DUPLICATES_SCHEMA,
    HEALTH_SCHEMA,
    IGNORED_SCHEMA,
    NEAR_COPIES_SCHEMA,
    NOTES_SCHEMA,
    QUARANTINE_SCHEMA,
)
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.run.files import CROP_LOSS, DUPLICATES, HEALTH, IGNORED, MANIFEST, NEAR_COPIES, NOTES, QUARANTINE

if TYPE_CHECKING:  # scanning brings Pillow and SciPy along; reading what it found needs neither
    from irp_core.data.scan import Scan

__all__ = ["PreparedSet", "expect_trainable"]

_BESIDE = (QUARANTINE, DUPLICATES, NEAR_COPIES, IGNORED, NOTES)  # what a run keeps besides the manifest


@dataclass(frozen=True)
class PreparedSet:
    """The folder that `irp prepare` writes, and that a run begins from."""

    path: Path

    def exists(self) -> bool:
        return (self.path / MANIFEST).is_file()

    def manifest(self) -> pd.DataFrame:
        return read_manifest(self.path / MANIFEST)

    def write_manifest(self, manifest: pd.DataFrame) -> None:
        write_manifest(manifest, self.path / MANIFEST)

    def write_left_out(self, quarantine: pd.DataFrame, duplicates: pd.DataFrame) -> None:
        """Write the unreadable files and the copies of one content."""
        write_table(quarantine, self.path / QUARANTINE, QUARANTINE_SCHEMA)
        write_table(duplicates, self.path / DUPLICATES, DUPLICATES_SCHEMA)

    def write_notices(self, ignored: pd.DataFrame, near_copies: pd.DataFrame, notes: pd.DataFrame) -> None:
        """Write what is no image of the set, the near-copies, and what is odd about the set."""
        write_table(ignored, self.path / IGNORED, IGNORED_SCHEMA)
        write_table(near_copies, self.path / NEAR_COPIES, NEAR_COPIES_SCHEMA)
        write_table(notes, self.path / NOTES, NOTES_SCHEMA)

    def write_found(self, found: Scan) -> None:
        """Write all of a scan but the manifest, which comes last: a set is complete when it is there."""
        self.write_left_out(found.quarantine, found.duplicates)
        self.write_notices(found.ignored, found.near_copies, found.notes)

    def quarantine(self) -> pd.DataFrame:
        return self._table(QUARANTINE, QUARANTINE_SCHEMA)

    def duplicates(self) -> pd.DataFrame:
        return self._table(DUPLICATES, DUPLICATES_SCHEMA)

    def ignored(self) -> pd.DataFrame:
        return self._table(IGNORED, IGNORED_SCHEMA)

    def near_copies(self) -> pd.DataFrame:
        return self._table(NEAR_COPIES, NEAR_COPIES_SCHEMA)

    def notes(self) -> pd.DataFrame:
        return self._table(NOTES, NOTES_SCHEMA)

    def write_health(self, table: pd.DataFrame) -> None:
        """Write what the training images are like (`irp_core.monitoring.set_health`)."""
        write_table(table, self.path / HEALTH, HEALTH_SCHEMA)

    def health(self) -> pd.DataFrame:
        return self._table(HEALTH, HEALTH_SCHEMA)

    def _table(self, name: str, schema: pa.Schema) -> pd.DataFrame:
        """A table; empty where an older set has none."""
        file = self.path / name
        frame: pd.DataFrame = read_table(file, schema) if file.exists() else schema.empty_table().to_pandas()
        return frame

    def table_digests(self) -> dict[str, str]:
        """sha256 of each table beside the manifest that a run keeps: of the near-copies its folds are made, too."""
        there = [name for name in _BESIDE if (self.path / name).is_file()]
        return {name: file_sha256(self.path / name) for name in there}

    def write_crop_loss(self, measured: pd.DataFrame) -> None:
        """Write the defects that the crop loses."""
        write_table(measured, self.path / CROP_LOSS, CROP_LOSS_SCHEMA)

    def copy_to(self, folder: Path) -> None:
        """Copy what a run keeps of it: the manifest, the unreadable and the ignored files, the copies, the notes."""
        for name in (MANIFEST, *_BESIDE):
            source = self.path / name
            if source.exists():
                with atomic_path(folder / name) as temporary:
                    temporary.write_bytes(source.read_bytes())


def expect_trainable(manifest: pd.DataFrame, root: Path) -> None:
    """Refuse a set on which nothing can be trained, before the network sees an image.

    Raises:
        InputError: fewer than two different training images.
    """
    different = training_rows(manifest)["md5"].nunique()
    if different < 2:
        raise InputError(f"{root}: expected 2 different training images at least, found {different} after the split.")
