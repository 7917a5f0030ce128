"""What a feature store needs of an object store; `tasks.runtime.object_store` has the one that talks to a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Elsewhere", "Objects"]


class Objects(Protocol):
    """Objects below an address, by their names relative to it; pickled, and used by other processes.

    All raise OSError where the store does not answer.
    """

    @property
    def address(self) -> str:
        """As the user wrote it."""
        ...

    def names(self, folder: str) -> set[str]:
        """The names, without the folder's, of the objects in it; none where there is no such folder."""
        ...

    def read(self, name: str) -> bytes:
        """An object's content.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        ...

    def create(self, name: str, content: bytes) -> None:
        """Write an object unless there is one of that name: of two writers at once the first one's stays."""
        ...

    def remove(self, name: str) -> None:
        """Delete an object; nothing where there is none."""
        ...


@dataclass(frozen=True)
class Elsewhere:
    """A feature store's objects, and the folder on this machine in which some of them are kept.

    Attributes:
        cache: the folder; relative to the current one of whoever reads.
        limit: bytes of segments that were fetched, over which those go that nobody read for longest.
    """

    objects: Objects
    cache: str
    limit: int
