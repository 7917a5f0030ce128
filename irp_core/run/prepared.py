"""A prepared data set: the manifest, and what was left out of it and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from irp_core.atomic import atomic_path
from irp_core.data.manifest import read_manifest, write_manifest, write_table
from irp_core.data.schemas import CROP_LOSS_SCHEMA, DUPLICATES_SCHEMA, QUARANTINE_SCHEMA
from irp_core.run.files import CROP_LOSS, DUPLICATES, MANIFEST, QUARANTINE

__all__ = ["PreparedSet"]


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

    def write_crop_loss(self, measured: pd.DataFrame) -> None:
        """Write the defects that the crop loses."""
        write_table(measured, self.path / CROP_LOSS, CROP_LOSS_SCHEMA)

    def copy_to(self, folder: Path) -> None:
        """Copy what a run keeps of it: the manifest, the unreadable files, the copies."""
        for name in (MANIFEST, QUARANTINE, DUPLICATES):
            source = self.path / name
            if source.exists():
                with atomic_path(folder / name) as temporary:
                    temporary.write_bytes(source.read_bytes())
