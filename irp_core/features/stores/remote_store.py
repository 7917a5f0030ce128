"""A feature store in an object store: the same segments, written there whole and fetched where they are read.

Below the address `<fingerprint>/<digest>.arrow` is a segment, as on disk (`irp_core.features.segments`), and
`<fingerprint>/keys/<digest>.<digest of the keys>.arrow` its entry in the index: which images and views it holds. The
segment is written first and its entry last, so what is listed can be read. Both are named by the digest of their bytes
and never changed; each is written only where there is none, so two writers need no lock and none undoes the other's.

On this machine, in the cache's folder, lie the index, the segments that were read last, and what was extracted and is
not yet written there: a killed command loses none of it, and the next one writes it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from irp_core.atomic import atomic_path
from irp_core.features.segments import SUFFIX, Keys, Segment, keys_of_bytes, keys_to_bytes, name_of
from irp_core.features.store import FULL, MANY, FeatureStore
from irp_core.features.stores.objects import Elsewhere

__all__ = ["RemoteStore"]

_LOG = logging.getLogger(__name__)
_KEYS = "keys"
_FETCHED = "fetched"


class RemoteStore(FeatureStore):
    """Rows of one extractor, as of `FeatureStore`; some of its segments lie elsewhere.

    Args:
        elsewhere: where, and what is kept here.
        spec: see `FeatureStore`.

    Raises:
        OSError: the object store does not answer.
    """

    def __init__(self, elsewhere: Elsewhere, spec: dict[str, object]) -> None:
        self._elsewhere = elsewhere
        self._entries: dict[str, str] = {}  # segment → its entry in the index
        super().__init__(Path(elsewhere.cache), spec)

    def refresh(self) -> None:
        """As of any store; what others have written elsewhere since is found, too."""
        listed = self._elsewhere.objects.names(f"{self.fingerprint}/{_KEYS}")
        self._entries = {name.partition(".")[0] + SUFFIX: name for name in sorted(listed) if name.endswith(SUFFIX)}
        for name in self._entries.keys() & self._segments.keys():
            self._moved(name)
        super().refresh()

    def _found(self) -> Iterator[tuple[str, tuple[Segment, Keys] | str]]:
        for name, entry in self._entries.items():
            if name not in self._segments and (keys := self._keys(entry)) is not None:
                self._keep(name)  # of a writer that was killed after the entry
                yield name, (self._remote(name, len(keys)), keys)
        yield from super()._found()

    def _present(self) -> set[str]:
        return super()._present() | self._entries.keys()

    def _remote(self, name: str, count: int) -> _RemoteSegment:
        entry = f"{self.fingerprint}/{_KEYS}/{self._entries[name]}"
        return _RemoteSegment(self._elsewhere, self.directory / _FETCHED / name, count, entry)

    def _moved(self, name: str) -> None:
        """Note that a segment lies elsewhere; one that was written here becomes one that was fetched."""
        if isinstance(self._segments[name], _RemoteSegment):
            return
        self._segments[name] = self._remote(name, self._segments[name].count)
        self._keep(name)

    def _keep(self, name: str) -> None:
        """Move a segment that was written here, if it is still there, to those that were fetched."""
        if (self.directory / name).exists():
            kept = self.directory / _FETCHED / name
            kept.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process has moved it
                (self.directory / name).replace(kept)

    def _keys(self, entry: str) -> Keys | None:
        """An entry of the index, which is fetched once; None where it is not what its name says."""
        kept, digest = self.directory / _KEYS / entry, entry.split(".")[1]
        with suppress(FileNotFoundError):
            if name_of(content := kept.read_bytes()) == digest:
                return keys_of_bytes(content)
            kept.unlink(missing_ok=True)  # damage of this machine's copy says nothing of the entry itself
        try:
            content = self._elsewhere.objects.read(f"{self.fingerprint}/{_KEYS}/{entry}")
        except FileNotFoundError:
            return None
        if name_of(content) != digest:
            _LOG.warning("%s/%s: was changed since it was written; what it listed is extracted again.",
                         self._elsewhere.objects.address, entry)  # fmt: skip
            self._elsewhere.objects.remove(f"{self.fingerprint}/{_KEYS}/{entry}")
            return None
        with atomic_path(kept) as temporary:
            temporary.write_bytes(content)
        return keys_of_bytes(content)

    def _look_again(self, name: str) -> None:
        self.refresh()
        if not isinstance(self._segments.get(name), _RemoteSegment):  # else it is fetched again
            super()._look_again(name)

    def _small(self) -> list[str]:
        return [name for name in super()._small() if not isinstance(self._segments[name], _RemoteSegment)]

    def compact(self, *, at_least: int = MANY) -> int:
        """As of any store, of what is not written elsewhere yet; large segments are written there."""
        joined = super().compact(at_least=at_least)
        for name in self._pending():
            if self._segments[name].size >= FULL // 2:
                self._write_elsewhere(name)
        return joined

    def publish(self) -> None:
        """Write all that is not written elsewhere yet.

        Raises:
            OSError: the object store does not answer; what was extracted stays here, for the next time.
        """
        self.compact(at_least=2)
        for name in self._pending():
            self._write_elsewhere(name)

    def _pending(self) -> list[str]:
        return sorted(name for name, segment in self._segments.items() if not isinstance(segment, _RemoteSegment))

    def _write_elsewhere(self, name: str) -> None:
        if not self._is_sound(name):
            return
        segment, objects = self._segments[name], self._elsewhere.objects
        keys = segment.keys()
        listed = keys_to_bytes(keys)
        entry = f"{name.removesuffix(SUFFIX)}.{name_of(listed)}{SUFFIX}"
        with atomic_path(self.directory / _KEYS / entry) as temporary:
            temporary.write_bytes(listed)
        objects.create(f"{self.fingerprint}/spec.json", (self.directory / "spec.json").read_bytes())
        objects.create(f"{self.fingerprint}/{name}", segment.path.read_bytes())
        objects.create(f"{self.fingerprint}/{_KEYS}/{entry}", listed)
        self._entries[name] = entry
        self._moved(name)


class _RemoteSegment(Segment):
    """A segment elsewhere; it is fetched when it is read, and held against its digest like any other.

    Args:
        path: where it lies here, when it was fetched.
        count: of its rows.
        entry: the name of its entry in the index.
    """

    def __init__(self, elsewhere: Elsewhere, path: Path, count: int, entry: str) -> None:
        super().__init__(path, count, 0, path.stem)
        self._elsewhere, self._entry = elsewhere, entry
        self._name = f"{path.parent.parent.name}/{path.name}"

    def damage(self, dtype: np.dtype[Any]) -> str | None:
        for again in (False, True):
            try:
                if again or not self.path.exists():
                    self._fetch()
            except FileNotFoundError:
                return f"{self._elsewhere.objects.address}/{self._name}: is gone"
            state = self.path.stat()
            os.utime(self.path, ns=(time.time_ns(), state.st_mtime_ns))  # read last
            if (found := super().damage(dtype)) is None:
                return None
            self.path.unlink(missing_ok=True)
        return f"{self._elsewhere.objects.address}/{self._name}: was changed since it was written ({found})"

    def _fetch(self) -> None:
        content = self._elsewhere.objects.read(self._name)
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(content)
        _make_room(Path(self._elsewhere.cache), self._elsewhere.limit, self.path)

    def remove(self) -> None:
        """Delete the segment, its entry first."""
        self._elsewhere.objects.remove(self._entry)
        self._elsewhere.objects.remove(self._name)
        self.path.unlink(missing_ok=True)


def _make_room(cache: Path, limit: int, newest: Path) -> None:
    """Delete fetched segments until they take `limit` bytes; those go first that nobody read for longest.

    Whoever is reading one keeps it until then: the file system does.
    """
    files = []
    for file in cache.glob(f"*/{_FETCHED}/*{SUFFIX}"):
        with suppress(FileNotFoundError):
            state = file.stat()
            files.append((file != newest, -state.st_atime_ns, file, state.st_size))
    taken = 0
    for _, _, file, size in sorted(files):
        taken += size
        if taken > limit and file != newest:
            file.unlink(missing_ok=True)
