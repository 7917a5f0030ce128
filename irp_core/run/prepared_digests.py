"""The digests of a prepared set that is used later: of every table of its folder, held before a run begins from it.

The paper's sets have none: DVC has their md5 (`dvc.lock`), and prepares again what was changed.
"""

from __future__ import annotations

from pathlib import Path

from irp_core.atomic import read_json_object, write_json
from irp_core.errors import InputError
from irp_core.hashing import altered_files, file_sha256
from irp_core.run.files import PREPARED

__all__ = ["check_prepared", "note_prepared"]


def note_prepared(folder: Path) -> None:
    """Write the sha256 of each of the set's tables beside them, when all of them are there."""
    write_json(folder / PREPARED, {file.name: file_sha256(file) for file in sorted(folder.glob("*.parquet"))})


def check_prepared(folder: Path) -> None:
    """Refuse a prepared set that is not as `irp prepare` left it; one without digests passes.

    Raises:
        InputError: a table is gone or was changed, or the digests cannot be read.
    """
    noted = folder / PREPARED
    if not noted.exists() and not noted.is_symlink():
        return
    for name, what in altered_files(folder, read_json_object(noted)):
        raise InputError(
            f"{folder / name}: {what} since the set was prepared; `irp prepare` writes it again (delete "
            f"{noted.name} beside it if the change is yours)."
        )
