"""The feature store's objects at an address (`features.store: s3://BUCKET/PATH`), by fsspec.

Endpoint and credentials are the file system's own: environment variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`),
its configuration files, or fsspec's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from irp_core.config import Params
from irp_core.features.stores.objects import Elsewhere
from tasks.runtime.addresses import file_system

__all__ = ["FileSystemObjects", "elsewhere"]


def elsewhere(params: Params) -> Elsewhere | None:
    """Where the feature store lies, if not in a folder."""
    if not params.features.elsewhere:
        return None
    objects = FileSystemObjects(params.features.store.rstrip("/"))
    return Elsewhere(objects, params.runtime.store_cache, params.runtime.store_cache_bytes)


@dataclass(frozen=True)
class FileSystemObjects:
    """Objects below an address that fsspec knows (`irp_core.features.stores.objects.Objects`)."""

    address: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return file_system(self.address, {})

    def __reduce__(self) -> tuple[Any, ...]:  # another process opens the file system anew
        return FileSystemObjects, (self.address,)

    def names(self, folder: str) -> set[str]:
        with self._answering() as (system, root):
            system.invalidate_cache()
            try:
                found = system.ls(f"{root}/{folder}", detail=False)
            except FileNotFoundError:
                return set()
            return {name.rpartition("/")[2] for name in found}

    def read(self, name: str) -> bytes:
        with self._answering() as (system, root):
            content: bytes = system.cat_file(f"{root}/{name}")
            return content

    def create(self, name: str, content: bytes) -> None:
        with self._answering() as (system, root), suppress(FileExistsError):
            try:
                system.pipe_file(f"{root}/{name}", content, mode="create")
            except FileNotFoundError:  # no object store: it wants folders; never a bucket that is not there
                folders = [root] if "/" in root else []  # else it is the bucket
                folders += [f"{root}/{parent}" for parent in reversed(PurePosixPath(name).parents[:-1])]
                for folder in folders:
                    with suppress(FileExistsError):
                        system.mkdir(folder, create_parents=False)
                system.pipe_file(f"{root}/{name}", content, mode="create")

    def remove(self, name: str) -> None:
        with self._answering() as (system, root), suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")

    @contextmanager
    def _answering(self) -> Iterator[tuple[Any, str]]:
        place = self._place  # or a sentence on what is wrong with the address
        try:
            yield place
        except OSError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise OSError(
                f"{self.address}: the feature store does not answer ({error or type(error).__name__})."
            ) from error
