"""The small grey pictures that near-copies are found by, in a file: those of a million images take 4 GB."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from irp_core.data.look import THUMBNAIL

__all__ = ["Ordered", "Thumbnails"]


class Ordered:
    """Pictures uint8 (m, side, side) in an order of their own: `ordered[rows]` are those at these places of it."""

    def __init__(self, pictures: NDArray[np.uint8], order: NDArray[np.intp]) -> None:
        self._pictures, self._order = pictures, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._pictures[self._order[rows]]
        return found


class Thumbnails:
    """Content (md5) → grey picture uint8 (THUMBNAIL, THUMBNAIL), each content once.

    The pictures lie in a temporary file (`TMPDIR`) without a name, and are mapped when they are read.

    Example:
        >>> with Thumbnails({"b": np.zeros((64, 64), np.uint8)}) as seen:
        ...     seen.add("a", np.ones((64, 64), np.uint8))
        ...     seen.of(["a", "b"])[np.array([0, 1])][:, 0, 0].tolist()
        [1, 0]
    """

    def __init__(self, pictures: Mapping[str, NDArray[np.uint8]] = MappingProxyType({})) -> None:
        self._file = tempfile.TemporaryFile(prefix="irp-thumbnails-")  # noqa: SIM115 (it lives as long as this does)
        self._rows: dict[str, int] = {}
        for md5, picture in pictures.items():
            self.add(md5, picture)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # of a full disk that was told already
            self._file.close()

    def add(self, md5: str, picture: NDArray[np.uint8]) -> None:
        """Take a content in, unless it is there.

        Raises:
            OSError: the disk of the temporary file is full.
        """
        if md5 not in self._rows:
            with _named():
                self._file.write(picture.tobytes())
            self._rows[md5] = len(self._rows)

    def of(self, md5s: Sequence[str]) -> Ordered:
        """The pictures of these contents, in their order."""
        with _named():
            self._file.flush()
        shape = (len(self._rows), THUMBNAIL, THUMBNAIL)
        pictures = np.memmap(self._file, np.uint8, "r", shape=shape) if self._rows else np.zeros(shape, np.uint8)
        return Ordered(pictures, np.array([self._rows[md5] for md5 in md5s], dtype=np.intp))


@contextmanager
def _named() -> Iterator[None]:
    """An error of the temporary file names the folder that it is in: it has no name itself."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
