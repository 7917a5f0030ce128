"""The feature store: content-addressed, atomic, safe for two processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from irp_core.errors import InputError
from irp_core.features.store import FeatureStore

SPEC: dict[str, object] = {"backbone": "x", "scales": [64]}


def rows(*values: float) -> np.ndarray:
    return np.array([[v, v + 0.5] for v in values], dtype=np.float32)


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0), ("a", 1), ("b", 0)], rows(1, 2, 3))
    store.append([("b", 1)], rows(4))
    again = FeatureStore(tmp_path, SPEC)
    assert again.get(["b", "a"], 2)[..., 0].tolist() == [[3, 4], [1, 2]]
    assert again.missing(["a", "c", "c"], 2) == [("c", 0), ("c", 1)]


def test_another_extractor_has_another_store(tmp_path: Path) -> None:
    FeatureStore(tmp_path, SPEC).append([("a", 0)], rows(1))
    other = FeatureStore(tmp_path, {**SPEC, "scales": [32]})
    assert len(other) == 0
    with pytest.raises(InputError, match="holds no features of image a"):
        other.get(["a"], 1)


def test_a_segment_without_its_index_does_not_exist(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0)], rows(1))
    (index,) = [f for f in store.directory.glob("*.json") if f.name != "spec.json"]
    index.unlink()
    assert ("a", 0) not in FeatureStore(tmp_path, SPEC)


def test_refuses_what_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN or infinity for image a"):
        FeatureStore(tmp_path, SPEC).append([("a", 0)], rows(np.nan))


def _write(root: Path, name: str, count: int) -> None:
    store = FeatureStore(root, SPEC)
    for i in range(count):
        store.append([(f"{name}{i}", 0), (f"shared{i}", 0)], rows(i, -i))


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    # Not fork: the test session has threads (Prefect's), whose locks a forked child would inherit.
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(tmp_path, name, 30)) for name in "pq"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = FeatureStore(tmp_path, SPEC)
    assert len(store) == 90
    assert store.get(["shared7", "p3", "q3"], 1)[:, 0, 0].tolist() == [-7, 3, 3]


def test_a_kill_leaves_a_readable_store(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path, "x", 100_000))
    process.start()
    while len(list(tmp_path.glob("*/*.json"))) < 10 and process.is_alive():
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = FeatureStore(tmp_path, SPEC)
    done = sum(f"x{i}" in {md5 for md5, _ in store._rows} for i in range(3))
    assert done == 3
    assert np.isfinite(store.get([md5 for md5, _ in store._rows], 1)).all()


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def _reordered(index: Path) -> None:
    record = json.loads(index.read_text())
    index.write_text(json.dumps({**record, "keys": record["keys"][::-1]}))


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
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


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_segment_is_never_used_and_said(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0), ("b", 0)], rows(1, 2), name="first")
    store.append([("c", 0)], rows(3), name="second")
    suffix, damage = DAMAGES[name]
    damage(store.directory / f"first.{suffix}")
    again = FeatureStore(tmp_path, SPEC)
    assert again.missing(["a", "b", "c"], 1) == [("a", 0), ("b", 0)]
    assert "first." in caplog.text
    assert "extracted again" in caplog.text
    again.append([("a", 0), ("b", 0)], rows(1, 2))
    assert FeatureStore(tmp_path, SPEC).get(["b", "a", "c"], 1)[:, 0, 0].tolist() == [2, 1, 3]


def test_what_is_damaged_while_it_is_in_use_is_refused(tmp_path: Path) -> None:
    FeatureStore(tmp_path, SPEC).append([("a", 0)], rows(1), name="first")
    store = FeatureStore(tmp_path, SPEC)
    _flip(store.directory / "first.npy", -3)
    with pytest.raises(InputError, match=r"first.npy: was changed .* the same command again"):
        store.get(["a"], 1)
    assert store.missing(["a"], 1) == [("a", 0)]


def test_an_index_of_an_older_version_is_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SPEC)
    store.append([("a", 0), ("b", 0)], rows(1, 2), name="first")
    (store.directory / "first.json").write_text('[["a", 0], ["b", 0]]')
    again = FeatureStore(tmp_path, SPEC)
    assert again.missing(["a", "b"], 1) == []
    assert again.get(["b"], 1)[0, 0, 0] == 2
