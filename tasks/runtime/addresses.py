"""An address as the user wrote it (`s3://…`, `sftp://…`, a path) → the file system that fsspec has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from irp_core.errors import InputError

__all__ = ["file_system"]


def file_system(address: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """(file system, path in it) of an address.

    Args:
        options: of the file system, as fsspec takes them.

    Raises:
        InputError: a file system that is not known or not installed, or options that it does not take.
    """
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise InputError(
            f"{address}: its file system needs a package that is not installed ({error}); "
            "for s3:// it is pip install 'irp-refine[s3]'."
        ) from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{address}: expected an address that fsspec knows ({error}).") from None
    return found
