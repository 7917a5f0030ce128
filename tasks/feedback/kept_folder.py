"""The folder of images that a service kept, as every process sees it: the service that fills it, a review that answers.

Of each image its bytes (`MD5.image`), what the detector saw in it (`MD5.npy`: the mean of its pooled features), and
last `MD5.json`, with the digests of itself and of that, without which the others are a kill's left-overs. The folder's
size is bounded: the oldest images that nobody answered for go first, left-overs and images whose facts are damaged at
once. Whoever writes holds its lock; nothing is held in memory but what the files that are there said.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, read_json_object, write_json
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.run.inputs import is_sealed, sealed_record

__all__ = ["KeptFolder"]

_LOG = logging.getLogger(__name__)
_FACTS = ("md5", "score", "threshold", "decision", "name", "model", "at", "size", "answered")
_SIZE = 1_000_000_000
_ENDINGS = (
    ".json",
    ".npy",
    ".image",
)  # in the order in which they are deleted: without facts the others are left-overs
_MD5 = re.compile(r"[0-9a-f]{32}")


class KeptFolder:
    """The images that are kept in a folder.

    Args:
        folder: that is there.
        images, size: at most so many images, and bytes of them together.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, *, images: int = 500, size: int = _SIZE) -> None:
        self.folder, self._images, self._size = folder, images, size
        if not folder.is_dir():
            raise InputError(f"{folder}: expected the folder that `irp serve --keep` fills, found none.")
        self._read: dict[str, tuple[int, dict[str, Any]]] = {}  # md5 → when its facts were written, and these
        self._of_threads = threading.Lock()  # the file's lock counts per process, and excludes other processes alone
        self._of_processes = FileLock(folder / ".lock", thread_local=False)

    def __len__(self) -> int:
        return len(self._known())

    def __contains__(self, md5: object) -> bool:
        return self._facts(str(md5)) is not None

    def rows(self) -> list[dict[str, Any]]:
        """What is kept, the latest first: `md5, name, model, score, threshold, decision, at, size, answered`."""
        return sorted(self._known().values(), key=lambda row: (-row["at"], row["md5"]))

    def row(self, md5: str) -> dict[str, Any]:
        """One of `rows`.

        Raises:
            KeyError: it is not kept.
        """
        found = self._facts(md5)
        if found is None:
            raise KeyError(md5)
        return {name: found[name] for name in _FACTS}

    def image(self, md5: str) -> Path:
        """The file with an image's bytes."""
        return self.folder / f"{md5}.image"

    def features(self, md5: str) -> NDArray[np.float32]:
        """What the detector saw in an image (d,).

        Raises:
            FileNotFoundError: it is not kept any more, or was damaged.
        """
        file = self.folder / f"{md5}.npy"
        content = file.read_bytes()
        noted = (self._facts(md5) or {}).get("features_sha256")  # irp up to 0.13 noted none
        if noted not in (None, hashlib.sha256(content).hexdigest()):
            _LOG.warning("%s: was changed since it was written; the image is left out.", file)
            raise FileNotFoundError(file)
        found: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        return found

    def answer(self, md5: str, answered: bool = True) -> dict[str, Any]:
        """Note that a person answered for an image: it goes last. Its row.

        Raises:
            KeyError: it is not kept.
        """
        with self._writing():
            known = self._facts(md5)
            if known is None or not self.image(md5).is_file():  # it made room for another meanwhile
                raise KeyError(md5)
            facts = {**known, "answered": answered}
            write_json(self.folder / f"{md5}.json", sealed_record(facts))
        return {name: facts[name] for name in _FACTS}

    def add(
        self, name: str | None, content: bytes, row: dict[str, Any], model: str, features: NDArray[np.float32]
    ) -> None:
        """Keep an image; the oldest that nobody answered for make room. One larger than all may be is left out.

        Args:
            row: `md5, score, threshold, decision`, as the model judged it.
        """
        md5 = row["md5"]
        if len(content) > self._size:
            return
        facts = {key: row[key] for key in ("md5", "score", "threshold", "decision")}
        facts |= {"name": name, "model": model, "at": time.time(), "size": len(content), "answered": False}
        with self._writing():
            if md5 in self:
                return
            with atomic_path(self.image(md5)) as temporary:
                temporary.write_bytes(content)
            with atomic_path(self.folder / f"{md5}.npy") as temporary:
                with temporary.open("wb") as file:
                    np.save(file, features, allow_pickle=False)
                facts["features_sha256"] = file_sha256(temporary)
            write_json(self.folder / f"{md5}.json", sealed_record(facts))
            self._shrink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._of_threads, self._of_processes:
            yield

    def _shrink(self) -> None:
        known = self._known()
        for md5 in {file.stem for file in self.folder.iterdir() if file.suffix in _ENDINGS} - known.keys():
            if _MD5.fullmatch(md5) and self._is_left_over(md5):
                self._delete(md5)
        total = sum(row["size"] for row in known.values())
        for row in sorted(known.values(), key=lambda row: (row["answered"], row["at"])):
            if len(known) <= self._images and total <= self._size:
                return
            self._delete(row["md5"])
            total -= known.pop(row["md5"])["size"]

    def _delete(self, md5: str) -> None:
        for ending in _ENDINGS:
            (self.folder / f"{md5}{ending}").unlink(missing_ok=True)
        self._read.pop(md5, None)

    def _is_left_over(self, md5: str) -> bool:
        """Whether an image's facts are gone or damaged; not where they only cannot be read now."""
        try:
            (self.folder / f"{md5}.json").read_bytes()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return self._facts(md5) is None

    def _known(self) -> dict[str, dict[str, Any]]:
        found = {file.stem: self._facts(file.stem) for file in sorted(self.folder.glob("*.json"))}
        for md5 in set(self._read) - found.keys():  # another process deleted them
            self._read.pop(md5, None)
        return {md5: {name: facts[name] for name in _FACTS} for md5, facts in found.items() if facts is not None}

    def _facts(self, md5: str) -> dict[str, Any] | None:
        file = self.folder / f"{md5}.json"
        try:
            written = file.stat().st_mtime_ns
            before = self._read.get(md5)
            if before is None or before[0] != written:
                facts = read_json_object(file, *_FACTS)
                if not is_sealed(facts) or facts["md5"] != md5:
                    raise InputError(f"{file}: was changed since it was written; the image is left out.")
                before = self._read[md5] = (written, facts)
        except FileNotFoundError:
            self._read.pop(md5, None)
            return None
        except InputError as error:
            if file.exists():
                _LOG.warning("%s", error)
            return None
        return before[1]
