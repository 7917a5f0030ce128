"""Whole or not at all, whatever fails at whatever point; links and permissions stay; leftovers of kills go."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from irp_core import atomic
from irp_core.atomic import atomic_directory, atomic_path, read_json, read_json_object, write_json
from irp_core.errors import InputError

pytestmark = pytest.mark.trust

BOUNDARIES = ("open", "fsync", "chmod", "replace", "close")


def _write_file(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("new")


def _write_folder(target: Path) -> None:
    with atomic_directory(target) as temporary:
        (temporary / "a").write_text("new")
        (temporary / "b").mkdir()
        (temporary / "b" / "c").write_text("new")


def _content(target: Path) -> dict[str, str]:
    files = [target] if target.is_file() else [f for f in target.rglob("*") if f.is_file()]
    return {file.relative_to(target.parent).as_posix(): file.read_text() for file in files}


@pytest.mark.parametrize("write", [_write_file, _write_folder])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_failure_at_any_boundary_leaves_the_old_or_the_new(
    write: Callable[[Path], None], boundary: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th call of the boundary fails, for every n until none is left to fail."""
    target = tmp_path / "target"
    write(target)
    new = _content(target)
    holder = Path if boundary in ("chmod", "replace") else os
    real = getattr(holder, boundary)
    for number in range(30):
        calls = iter(range(1000))

        def failing(*arguments: object, **options: object) -> object:
            if next(calls) == number:  # noqa: B023
                if boundary == "close":  # the handle is gone all the same
                    real(*arguments, **options)
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        for file in [target] if target.is_file() else [f for f in target.rglob("*") if f.is_file()]:
            file.write_text("old")
        old = _content(target)
        failed = False
        with monkeypatch.context() as patch:
            patch.setattr(holder, boundary, failing)
            try:
                write(target)
            except OSError as error:
                failed = error.errno == code
        left = _content(target) if target.exists() else None
        # A folder cannot be replaced in one step: for a moment there is none, and the step is made again.
        assert left in ((old, new, None) if write is _write_folder else (old, new))
        for file in tmp_path.glob(".target.*.tmp"):  # where the cleaning failed: swept up later
            assert boundary in ("open", "close")
            shutil.rmtree(file)
        assert [file.name for file in tmp_path.iterdir()] in (["target"], [])
        if left is None:
            write(target)
        if not failed and next(calls) <= number:
            break
    else:
        pytest.fail("the boundary never came to an end")
    assert number > 0


@pytest.mark.parametrize("write", [_write_file, _write_folder])
def test_the_new_name_is_flushed_to_the_disk_too(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    flush, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_ino), flush(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (done.append(path.name), rename(path, target))[1])
    write(tmp_path / "target")
    assert [isinstance(entry, str) for entry in done[-2:]] == [True, False]
    assert done[-1] == tmp_path.stat().st_ino
    assert len(done) >= 3  # the content before the name


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    shared = tmp_path / "share" / "decisions.csv"
    shared.parent.mkdir()
    shared.write_text("old")
    shared.chmod(0o640)
    link = tmp_path / "decisions.csv"
    link.symlink_to(shared)
    _write_file(link)
    assert link.is_symlink()
    assert shared.read_text() == "new"
    assert stat.S_IMODE(shared.stat().st_mode) == 0o640
    dangling = tmp_path / "later.csv"
    dangling.symlink_to(tmp_path / "share" / "later.csv")
    _write_file(dangling)
    assert dangling.is_symlink()
    assert (tmp_path / "share" / "later.csv").read_text() == "new"


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk" / "model").mkdir(parents=True)
    (tmp_path / "model").symlink_to(tmp_path / "disk" / "model")
    _write_folder(tmp_path / "model")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "disk" / "model" / "a").read_text() == "new"


_HOLD = """
import sys, time
from pathlib import Path
from irp_core.atomic import atomic_directory
with atomic_directory(Path(sys.argv[1])) as temporary:
    (temporary / "half").write_bytes(bytes(1000))
    print("made", flush=True)
    time.sleep(60)
"""


def test_what_a_kill_leaves_is_swept_up_and_what_is_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setattr(atomic, "_SWEPT", set())
    child = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path / "data")], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None
    assert child.stdout.readline() == b"made\n"
    left = list(tmp_path.glob(".data.*.tmp"))
    past = time.time() - 3600
    for folder in left:
        os.utime(folder, (past, past))
    _write_file(tmp_path / "other")
    assert [f for f in left if (f / "half").exists()]  # in use
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    atomic._SWEPT.clear()
    _write_file(tmp_path / "other")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1,", b"\xff\xfe{\x00}\x00", b"\x80", b"[" * 100_000, b"nul", b'{"a": 1} x']
)
def test_a_damaged_json_file_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "plate.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"plate\.json: expected a JSON file, found one that is damaged") as refused:
        read_json(file)
    assert "\n" not in str(refused.value)


def test_a_json_file_of_something_else_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "plate.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_json(file)
    write_json(file, [1])
    with pytest.raises(InputError, match="expected a JSON object, found list"):
        read_json_object(file)
    write_json(file, {"b": 1})
    with pytest.raises(InputError, match="expected the key 'a'"):
        read_json_object(file, "a")
