"""DVC versions of single files: in the cache, with a `.dvc` file that git keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irp_core.errors import InputError
from irp_core.hashing import file_md5
from tasks.versions.dvc_files import dvc_file_of, names_version, write_dvc_file
from tasks.versions.snapshots import locked_repository

__all__ = ["version_file"]


def version_file(file: Path, target: Path, meta: dict[str, Any]) -> str:
    """Make a file a DVC version, as that `dvc add TARGET` would; returns its md5.

    Args:
        file: its content, wherever it lies.
        target: the file that `dvc checkout TARGET.dvc` will make, inside the repository.

    Raises:
        InputError: no repository, or the cache cannot be written.
    """
    from dvc_objects.fs.local import localfs

    md5 = file_md5(file)
    with locked_repository() as repo:
        odb = repo.cache.local
        cached = Path(odb.oid_to_path(md5))
        if cached.exists() and file_md5(cached) != md5:
            cached.unlink()  # DVC would leave what has the right name as it is
        if not cached.exists():
            failures: list[str] = []
            odb.add(
                [str(file)], localfs, [md5], hardlink=False, check_exists=False,
                on_error=lambda oid, error: failures.append(str(error)),
            )  # fmt: skip
            if failures:
                raise InputError(f"{odb.path}: {file.name} cannot be brought into DVC's cache ({failures[0]}).")
        if not names_version(dvc_file_of(target), md5):
            write_dvc_file(target, md5, {"size": file.stat().st_size}, meta)
    return md5
