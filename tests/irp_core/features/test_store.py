"""The feature store: content-addressed, atomic, safe for two processes, few open files, small segments joined."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irp_core.errors import InputError
from irp_core.features import store as store_module
from irp_core.features.segments import Keys, digests_of
from irp_core.features.store import FeatureStore
from irp_core.features.store_index import StoreIndex

SPEC: dict[str, object] = {"backbone": "x", "scales": [64]}


def rows(*values: float) -> np.ndarray:
    return np.array([[v, v + 0.5] for v in values], dtype=np.float32)


def segments(store: FeatureStore) -> list[Path]:
    return sorted(store.directory.glob("*.arrow"))


def write_older(directory: Path, name: str, keys: list[tuple[str, int]], values: np.ndarray, digest: bool) -> None:
    """A segment as irp up to 0.7 wrote it (without a digest: up to 0.5)."""
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / f"{name}.npy", values)
    listed = [list(key) for key in keys]
    array = hashlib.sha256((directory / f"{name}.npy").read_bytes()).hexdigest()
    both = hashlib.sha256(f"{array}\n{json.dumps(listed)}".encode()).hexdigest()
    (directory / f"{name}.json").write_text(json.dumps({"keys": listed, "sha256": both} if digest else listed))


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0), ("a", 1), ("b", 0)], rows(1, 2, 3))
    store.append([("b", 1)], rows(4))
    again = FeatureStore(tmp_path, SPEC)
    assert again.get(["b", "a"], 2)[..., 0].tolist() == [[3, 4], [1, 2]]
    assert again.missing(["a", "c", "c"], 2) == [("c", 0), ("c", 1)]
    assert ("b", 1) in again
    assert ("b", 2) not in again
    assert again.get([], 2).shape == (0, 2, 0)


def test_another_extractor_has_another_store(tmp_path: Path) -> None:
    FeatureStore(tmp_path, SPEC).append([("a", 0)], rows(1))
    other = FeatureStore(tmp_path, {**SPEC, "scales": [32]})
    assert len(other) == 0
    with pytest.raises(InputError, match="holds no features of image a"):
        other.get(["a"], 1)


def test_rows_have_the_type_that_the_spec_says(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, {**SPEC, "dtype": "float16"})
    store.append([("a", 0)], rows(0.1))
    found = FeatureStore(tmp_path, {**SPEC, "dtype": "float16"}).get(["a"], 1)
    assert found.dtype == np.float16
    assert found[0, 0].tolist() == rows(0.1).astype(np.float16)[0].tolist()


def test_refuses_what_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN or infinity for image a"):
        FeatureStore(tmp_path, SPEC).append([("a", 0)], rows(np.nan))


def test_any_arrow_reader_reads_a_segment(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    md5 = "0123456789abcdef" * 2
    store.append([(md5, 3)], rows(1))
    (path,) = segments(store)
    with pa.memory_map(str(path)) as source:
        (row,) = pa.ipc.open_file(source).read_all().to_pylist()
    assert row == {"digest": bytes.fromhex(md5), "view": 3, "features": [1.0, 1.5]}
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:32]


# Keys of few images, so that some share their digest's first half, and views come in any order, more than once.
keys_of_segments = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=8, unique=True), max_size=5
)


@given(keys_of_segments)
def test_the_index_finds_what_a_dictionary_finds(listed: list[list[tuple[str, int]]]) -> None:
    def keys(of: list[tuple[str, int]]) -> Keys:
        digests = np.array([[7, ord(name)] for name, _ in of], dtype=np.uint64).reshape(-1, 2)
        return Keys(digests, np.array([view for _, view in of], dtype=np.uint16))

    index = StoreIndex()
    expected: dict[tuple[str, int], tuple[int, int]] = {}
    for number, of in enumerate(listed):
        index.add(number, keys(of))
        for row, key in enumerate(of):
            expected.setdefault(key, (number, row))
    places = index.find(keys([(name, 0) for name in "abcd"]).digests, views=4)
    found = {
        (name, view): (int(places.segment[i, view]), int(places.row[i, view]))
        for i, name in enumerate("abcd")
        for view in range(4)
        if places.segment[i, view] >= 0
    }
    assert found == expected
    assert len(index) == len(expected)


def test_names_that_are_no_md5_have_digests_of_their_own() -> None:
    md5s = ["a", "b", "f" * 32, "F" * 31, " " * 2 + "0" * 30, "ü" * 32]
    assert len(np.unique(digests_of(md5s), axis=0)) == len(md5s)


def _write(root: Path, name: str, count: int) -> None:
    store = FeatureStore(root, SPEC)
    for i in range(count):
        store.append([(f"{name}{i}", 0), (f"shared{i}", 0)], rows(i, -i))
        store.compact(at_least=7)


def test_two_processes_append_and_join_at_once(tmp_path: Path) -> None:
    # Not fork: the test session has threads (Prefect's), whose locks a forked child would inherit.
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(tmp_path, name, 60)) for name in "pq"]
    reader = FeatureStore(tmp_path, SPEC)
    for process in processes:
        process.start()
    seen = 0
    while any(process.is_alive() for process in processes):
        reader.refresh()
        known = [f"{name}{i}" for name in "pq" for i in range(60) if (f"{name}{i}", 0) in reader]
        assert len(known) >= seen  # nothing that was there is lost while segments are joined
        seen = len(known)
        assert reader.get(known, 1)[:, 0, 0].tolist() == [int(name[1:]) for name in known] if known else True
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = FeatureStore(tmp_path, SPEC)
    assert len(store) == 180
    assert store.get(["shared7", "p3", "q3"], 1)[:, 0, 0].tolist() == [-7, 3, 3]
    assert len(segments(store)) < 20


def test_a_kill_leaves_a_readable_store(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path, "x", 100_000))
    process.start()
    while ("x20", 0) not in FeatureStore(tmp_path, SPEC) and process.is_alive():
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = FeatureStore(tmp_path, SPEC)
    assert store.missing([f"x{i}" for i in range(20)], 1) == []
    assert store.get([f"x{i}" for i in range(20)], 1)[:, 0, 0].tolist() == list(range(20))


def test_many_small_segments_are_joined_and_no_file_stays_open(tmp_path: Path, few_files: None) -> None:
    store = FeatureStore(tmp_path, SPEC)
    names = [f"image {i}" for i in range(300)]
    for i, name in enumerate(names):
        store.append([(name, 0)], rows(i))
    other = FeatureStore(tmp_path, SPEC)  # opened before they are joined
    assert other.get(names, 1)[:, 0, 0].tolist() == list(range(300))
    assert store.compact() == 300
    assert len(segments(store)) == 1
    for reader in (store, other, FeatureStore(tmp_path, SPEC)):
        assert reader.missing(names, 1) == []
        assert reader.get(names[::-1], 1)[:, 0, 0].tolist() == list(range(300))[::-1]
    assert store.compact() == 0


def test_large_segments_are_left_and_small_ones_fill_up_to_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FULL", 20_000)
    store = FeatureStore(tmp_path, SPEC)
    for i in range(100):
        store.append([(f"image {i}", 0)], rows(i))
        store.compact()
    sizes = sorted(path.stat().st_size for path in segments(store))
    assert sum(sizes) < 30_000
    assert FeatureStore(tmp_path, SPEC).get(["image 42"], 1)[0, 0, 0] == 42


def test_joining_drops_copies_and_what_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0), ("b", 0)], rows(1, 2))
    store.append([("c", 0)], rows(3))
    damaged = segments(store)
    store.append([("b", 0), ("a", 0)], rows(2, 1))
    store.append([("d", 0)], rows(4))
    (of_c,) = [path for path in damaged if b"\x00\x00\x40\x40" in path.read_bytes()]  # 3.0
    _flip(of_c, -200)
    assert store.compact(at_least=2) == 3
    assert "was changed since it was written" in caplog.text
    again = FeatureStore(tmp_path, SPEC)
    (path,) = segments(again)
    with pa.memory_map(str(path)) as source:
        assert len(pa.ipc.open_file(source).read_all()) == 3
    assert again.missing(["a", "b", "c", "d"], 1) == [("c", 0)]


def test_joining_equal_segments_loses_nothing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0)], rows(1))
    write_older(store.directory, "zzz", [("a", 0)], rows(1), digest=True)
    store.refresh()
    store.compact(at_least=2)
    assert FeatureStore(tmp_path, SPEC).get(["a"], 1)[0, 0, 0] == 1


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def _reordered(index: Path) -> None:
    record = json.loads(index.read_text())
    index.write_text(json.dumps({**record, "keys": record["keys"][::-1]}))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped byte of the rows": lambda path: _flip(path, path.read_bytes().index(rows(1).tobytes())),
    "a flipped byte of a key": lambda path: _flip(path, path.read_bytes().index(digests_of(["b"]).astype(">u8"))),
    "a flipped byte of the beginning": lambda path: _flip(path, 1),
    "a flipped byte of the schema": lambda path: _flip(path, 40),
    "a flipped byte of the end": lambda path: _flip(path, -1),
    "a link that leads nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a short file": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "an empty file": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_bytes(b"x" * 1000),
    "no file": Path.unlink,
    "another name": lambda path: path.rename(path.with_stem("0" * 32)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_segment_is_never_used_and_said(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0), ("b", 0)], rows(1, 2))
    (first,) = segments(store)
    store.append([("c", 0)], rows(3))
    DAMAGES[name](first)
    again = FeatureStore(tmp_path, SPEC)
    missing = again.missing(["a", "b", "c"], 1)
    if name == "a flipped byte of a key":  # of which it is not known any more: nothing of the segment was to be read
        again.missing(["a"], 1)
    assert ("c", 0) not in missing
    assert set(again.missing(["a", "b"], 1)) == {("a", 0), ("b", 0)}
    if name != "no file":
        assert "extracted again" in caplog.text
    again.append([("a", 0), ("b", 0)], rows(1, 2))
    assert FeatureStore(tmp_path, SPEC).get(["b", "a", "c"], 1)[:, 0, 0].tolist() == [2, 1, 3]


def test_a_folder_in_the_place_of_a_segment_is_named(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0)], rows(1))
    (segment,) = segments(store)
    segment.unlink()
    (segment / "whose").mkdir(parents=True)
    with pytest.raises(InputError, match=f"{segment}: expected a file of the feature store, found a folder"):
        FeatureStore(tmp_path, SPEC)
    assert (segment / "whose").is_dir()


def test_any_flipped_byte_is_found(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "whole", SPEC)
    store.append([("a", 0), ("b", 0)], rows(1, 2))
    (whole,) = segments(store)
    content = whole.read_bytes()
    for at in range(0, len(content), 7):
        folder = tmp_path / str(at) / store.fingerprint
        folder.mkdir(parents=True)
        (folder / whole.name).write_bytes(content)
        _flip(folder / whole.name, at)
        damaged = FeatureStore(tmp_path / str(at), SPEC)
        # A key that changed is missing; nothing else of the segment is handed out.
        assert ("a", 0) in damaged.missing(["a", "b"], 1) or ("b", 0) in damaged.missing(["a", "b"], 1)
        assert damaged.missing(["a", "b"], 1) == [("a", 0), ("b", 0)]


def test_what_is_damaged_while_it_is_in_use_is_refused(tmp_path: Path) -> None:
    FeatureStore(tmp_path, SPEC).append([("a", 0)], rows(1))
    store = FeatureStore(tmp_path, SPEC)
    _flip(segments(store)[0], -3)
    with pytest.raises(InputError, match=r"arrow: was changed .* the same command again"):
        store.get(["a"], 1)
    assert store.missing(["a"], 1) == [("a", 0)]


def test_what_was_deleted_while_it_is_in_use_is_missing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0)], rows(1))
    segments(store)[0].unlink()
    with pytest.raises(InputError, match="holds no features of image a"):
        store.get(["a"], 1)


@pytest.mark.parametrize("digest", [True, False])
def test_an_older_store_is_read_as_it_is_and_joined_in_place(digest: bool, tmp_path: Path) -> None:
    directory = FeatureStore(tmp_path, SPEC).directory
    write_older(directory, "first", [("a", 0), ("b", 0)], rows(1, 2), digest)
    write_older(directory, "second", [("c", 0)], rows(3), digest)
    store = FeatureStore(tmp_path, SPEC)
    assert store.missing(["a", "b", "c"], 1) == []
    assert store.get(["b", "c"], 1)[:, 0, 0].tolist() == [2, 3]
    assert store.compact(at_least=2) == 2
    assert [path.suffix for path in directory.iterdir() if path.name not in ("spec.json", ".joining")] == [".arrow"]
    assert FeatureStore(tmp_path, SPEC).get(["b", "c", "a"], 1)[:, 0, 0].tolist() == [2, 3, 1]


OLDER_DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a flipped byte of the array": ("npy", lambda path: _flip(path, -3)),
    "a flipped byte of the array's header": ("npy", lambda path: _flip(path, 20)),
    "a short array": ("npy", lambda path: path.write_bytes(path.read_bytes()[:-4])),
    "an empty array": ("npy", lambda path: path.write_bytes(b"")),
    "no array": ("npy", Path.unlink),
    "a reordered index": ("json", _reordered),
    "a short index": ("json", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "an empty index": ("json", lambda path: path.write_bytes(b"")),
    "an index of something else": ("json", lambda path: path.write_text('"x"')),
    "an index without its digest": ("json", lambda path: path.write_text('{"keys": [["a", 0], ["b", 0]]}')),
    "an index in another encoding": ("json", lambda path: path.write_bytes(path.read_text().encode("utf-16"))),
    "a deep index": ("json", lambda path: path.write_text("[" * 100_000)),
}


@pytest.mark.parametrize("name", OLDER_DAMAGES)
def test_a_damaged_older_segment_is_never_used_and_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = FeatureStore(tmp_path, SPEC).directory
    write_older(directory, "first", [("a", 0), ("b", 0)], rows(1, 2), digest=True)
    write_older(directory, "second", [("c", 0)], rows(3), digest=True)
    suffix, damage = OLDER_DAMAGES[name]
    damage(directory / f"first.{suffix}")
    again = FeatureStore(tmp_path, SPEC)
    assert again.missing(["a", "b", "c"], 1) == [("a", 0), ("b", 0)]
    assert "first." in caplog.text
    assert "extracted again" in caplog.text
    again.append([("a", 0), ("b", 0)], rows(1, 2))
    assert FeatureStore(tmp_path, SPEC).get(["b", "a", "c"], 1)[:, 0, 0].tolist() == [2, 1, 3]
