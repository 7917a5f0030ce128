"""The feature store in an object store: the rows of one in a folder, from a cache of bounded size."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from irp_core.errors import InputError
from irp_core.features.store import FeatureStore
from irp_core.features.stores.objects import Elsewhere
from irp_core.features.stores.remote_store import RemoteStore

SPEC: dict[str, object] = {"of": "test"}
NAMES = [f"{number:032x}" for number in range(6)]
ROWS = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


@dataclass(frozen=True)
class InFolder:
    """Objects that are files; each call may be counted or refused."""

    folder: Path

    @property
    def address(self) -> str:
        return "test://store"

    def names(self, folder: str) -> set[str]:
        there = self.folder / folder
        return {file.name for file in there.iterdir()} if there.is_dir() else set()

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def create(self, name: str, content: bytes) -> None:
        if (self.folder / ".off").exists():
            raise OSError("the feature store does not answer")
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_bytes(content)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


@pytest.fixture
def here(tmp_path: Path) -> Elsewhere:
    return Elsewhere(InFolder(tmp_path / "objects"), str(tmp_path / "here"), 10**9)


def on_another_machine(here: Elsewhere) -> Elsewhere:
    return replace(here, cache=f"{here.cache}-there")


def write(store: FeatureStore, *images: int) -> None:
    store.append([(NAMES[image], 0) for image in images], ROWS[list(images)])


def objects(here: Elsewhere) -> list[str]:
    assert isinstance(here.objects, InFolder)
    root = here.objects.folder
    return sorted(str(file.relative_to(root).parent) for file in root.rglob("*.arrow"))


def test_another_machine_reads_what_was_published(here: Elsewhere) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0, 1)
    write(store, 2)
    assert store.get(NAMES[:3], 1)[:, 0].tolist() == ROWS[:3].tolist()  # not there yet, but here
    store.publish()
    assert objects(here) == [store.fingerprint, f"{store.fingerprint}/keys"]  # joined: one segment, one entry
    other = RemoteStore(pickle.loads(pickle.dumps(on_another_machine(here))), SPEC)  # noqa: S301 - its own
    assert other.missing(NAMES[:4], 1) == [(NAMES[3], 0)]
    assert other.get(NAMES[:3], 1)[:, 0].tolist() == ROWS[:3].tolist()
    assert store.get(NAMES[:3], 1).tolist() == other.get(NAMES[:3], 1).tolist()


def test_two_writers_lose_nothing(here: Elsewhere) -> None:
    one, other = RemoteStore(here, SPEC), RemoteStore(on_another_machine(here), SPEC)
    write(one, 0, 1)
    write(other, 1, 2)
    one.publish()
    other.publish()
    for store in (one, other):
        store.refresh()
        assert store.missing(NAMES[:3], 1) == []
        assert store.get(NAMES[:3], 1)[:, 0].tolist() == ROWS[:3].tolist()


def test_a_segment_without_its_entry_is_not_there(here: Elsewhere) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0)
    store.publish()
    assert isinstance(here.objects, InFolder)
    (entry,) = (here.objects.folder / store.fingerprint / "keys").iterdir()
    entry.unlink()  # a writer that was killed between the two
    other = RemoteStore(on_another_machine(here), SPEC)
    assert other.missing(NAMES[:1], 1) == [(NAMES[0], 0)]


def test_what_could_not_be_written_is_written_the_next_time(here: Elsewhere) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0)
    assert isinstance(here.objects, InFolder)
    here.objects.folder.mkdir()
    off = here.objects.folder / ".off"
    off.touch()
    with pytest.raises(OSError, match="does not answer"):
        store.publish()
    off.unlink()
    again = RemoteStore(here, SPEC)  # another process, the same cache
    again.publish()
    assert RemoteStore(on_another_machine(here), SPEC).missing(NAMES[:1], 1) == []
    assert store.get(NAMES[:1], 1)[:, 0].tolist() == ROWS[:1].tolist()  # its file moved meanwhile


def test_the_cache_keeps_what_was_read_last(here: Elsewhere) -> None:
    for image in range(4):
        store = RemoteStore(on_another_machine(here), SPEC)
        write(store, image)
        store.publish()
    (size,) = {file.stat().st_size for file in Path(f"{here.cache}-there").glob("*/fetched/*")}
    small = RemoteStore(replace(here, limit=2 * size), SPEC)
    for image in range(4):
        small.get([NAMES[image]], 1)
        assert len(list(Path(here.cache).glob("*/fetched/*"))) <= 2
    assert small.get(NAMES[:4], 1)[:, 0].tolist() == ROWS[:4].tolist()


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_extracted(
    here: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0, 1)
    store.publish()
    (copy,) = Path(here.cache).glob("*/fetched/*")
    damaged = copy.read_bytes()[:-9] + b"123456789"
    copy.write_bytes(damaged)
    assert RemoteStore(here, SPEC).get(NAMES[:2], 1)[:, 0].tolist() == ROWS[:2].tolist()
    assert isinstance(here.objects, InFolder)
    (here.objects.folder / store.fingerprint / copy.name).write_bytes(damaged)
    other = RemoteStore(on_another_machine(here), SPEC)
    with pytest.raises(InputError, match=r"test://store/.*was changed since it was written"):
        other.get(NAMES[:2], 1)
    with caplog.at_level(logging.WARNING):
        assert other.missing(NAMES[:2], 1) == [(NAMES[0], 0), (NAMES[1], 0)]
    write(other, 0, 1)
    other.publish()
    assert RemoteStore(on_another_machine(on_another_machine(here)), SPEC).missing(NAMES[:2], 1) == []


def test_an_object_that_is_gone_is_extracted_again(here: Elsewhere) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0)
    store.publish()
    assert isinstance(here.objects, InFolder)
    for file in (here.objects.folder / store.fingerprint).glob("*.arrow"):
        file.unlink()
    other = RemoteStore(on_another_machine(here), SPEC)
    assert other.missing(NAMES[:1], 1) == [(NAMES[0], 0)]
    assert objects(here) == []  # its entry is gone, too


def test_an_entry_that_is_not_what_its_name_says_is_no_entry(here: Elsewhere) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0)
    store.publish()
    assert isinstance(here.objects, InFolder)
    (entry,) = (here.objects.folder / store.fingerprint / "keys").iterdir()
    entry.write_bytes(b"cut")
    other = RemoteStore(on_another_machine(here), SPEC)
    assert other.missing(NAMES[:1], 1) == [(NAMES[0], 0)]
    write(other, 0)
    other.publish()  # under the same name
    assert RemoteStore(on_another_machine(on_another_machine(here)), SPEC).missing(NAMES[:1], 1) == []


def test_a_damaged_copy_of_an_entry_says_nothing_of_the_entry(here: Elsewhere) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0)
    store.publish()
    (copy,) = Path(here.cache).glob("*/keys/*")
    whole = copy.read_bytes()
    copy.write_bytes(b"cut")
    assert RemoteStore(here, SPEC).missing(NAMES[:1], 1) == []
    assert copy.read_bytes() == whole
    assert RemoteStore(on_another_machine(here), SPEC).missing(NAMES[:1], 1) == []


def test_a_writer_that_was_killed_after_the_entry_leaves_nothing_uncounted(
    here: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(here, SPEC)
    write(store, 0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RemoteStore, "_moved", killed)
        store.publish()
    (left,) = store.directory.glob("*.arrow")
    again = RemoteStore(here, SPEC)
    assert not left.exists()
    assert (store.directory / "fetched" / left.name).exists()
    assert again.get(NAMES[:1], 1)[:, 0].tolist() == ROWS[:1].tolist()
