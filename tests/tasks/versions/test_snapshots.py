"""Snapshots: subsets over the same cached files, readable by DVC, tied to git."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from irp_core.errors import InputError
from tasks.versions.snapshots import add_to_cache, cached_file, checkout, locked_repository, write_snapshot


def make_images(root: Path, count: int) -> pd.DataFrame:
    rows = []
    for i in range(count):
        path = root / f"a/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"image {i}".encode())
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        rows.append((path.relative_to(root).as_posix(), md5))
    return pd.DataFrame(rows, columns=["image_id", "md5"])


def dvc(*arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True, text=True).stdout


def test_the_snapshot_has_the_hash_that_dvc_itself_would_give(workspace: Path, tmp_path: Path) -> None:
    rows = make_images(tmp_path / "raw", 6)
    with locked_repository() as repo:
        assert add_to_cache(repo, rows, tmp_path / "raw", hardlink=True) == 6
        assert add_to_cache(repo, rows, tmp_path / "raw", hardlink=True) == 0
        ours = write_snapshot(repo, rows, Path("snapshots/r/iteration-00"))
    make_images(workspace / "data", 6)
    dvc("add", "-q", "data")
    assert ours in (workspace / "data.dvc").read_text()


def test_a_hard_link_costs_no_second_copy_and_copy_leaves_the_original_alone(workspace: Path, tmp_path: Path) -> None:
    rows = make_images(tmp_path / "raw", 2)
    with locked_repository() as repo:
        add_to_cache(repo, rows.iloc[:1], tmp_path / "raw", hardlink=True)
        add_to_cache(repo, rows.iloc[1:], tmp_path / "raw", hardlink=False)
    linked, copied = ((tmp_path / "raw" / name).stat() for name in rows["image_id"])
    cached = (workspace / ".dvc/cache/files/md5" / rows["md5"][0][:2] / rows["md5"][0][2:]).stat()
    assert linked.st_ino == cached.st_ino or cached.st_blocks == linked.st_blocks  # hard link, or reflink
    assert copied.st_nlink == 1
    assert copied.st_mode & 0o200


def test_a_cached_file_is_found_wherever_dvc_keeps_it(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc("cache", "dir", str(tmp_path / "elsewhere"))
    rows = make_images(tmp_path / "raw", 1)
    md5 = rows["md5"][0]
    assert cached_file(md5) is None
    with locked_repository() as repo:
        add_to_cache(repo, rows, tmp_path / "raw", hardlink=True)
    found = cached_file(md5)
    assert found is not None and found.is_relative_to(tmp_path / "elsewhere")
    assert found.read_bytes() == b"image 0"
    monkeypatch.chdir(tmp_path)
    assert cached_file(md5) is None  # no repository is no mistake


def test_dvc_diff_names_what_an_iteration_removed(workspace: Path, tmp_path: Path) -> None:
    rows = make_images(tmp_path / "raw", 5)
    target = Path("snapshots/r/set")
    with locked_repository() as repo:
        add_to_cache(repo, rows, tmp_path / "raw", hardlink=True)
        write_snapshot(repo, rows, target)
    for command in (["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run(["git", *command], check=True)
    with locked_repository() as repo:
        write_snapshot(repo, rows.drop(index=[1, 3]), target)
    dvc("checkout", "-q", "snapshots/r/set.dvc")
    changes = json.loads(dvc("diff", "--json"))
    assert [entry["path"] for entry in changes["deleted"]] == ["snapshots/r/set/a/1.png", "snapshots/r/set/a/3.png"]
    assert changes["added"] == []


def test_a_file_that_was_changed_since_does_not_get_into_the_cache(workspace: Path, tmp_path: Path) -> None:
    rows = make_images(tmp_path / "raw", 3)
    (tmp_path / "raw" / rows["image_id"][1]).write_bytes(b"another image")
    with locked_repository() as repo, pytest.raises(InputError, match=r"1\.png: expected the image of the manifest"):
        add_to_cache(repo, rows, tmp_path / "raw", hardlink=True)
    assert not (workspace / ".dvc/cache/files/md5" / rows["md5"][1][:2]).exists()


def test_a_checkout_keeps_the_dots_of_its_name_and_out_of_what_dvc_tracks(workspace: Path, tmp_path: Path) -> None:
    rows = make_images(tmp_path / "raw", 3)
    with locked_repository() as repo:
        add_to_cache(repo, rows, tmp_path / "raw", hardlink=True)
        md5 = write_snapshot(repo, rows, Path("snapshots/set"))
    checkout(md5, Path("set.v4"), {})
    assert Path("set.v4.dvc").is_file()
    assert not Path("set.dvc").exists()
    make_images(workspace / "data", 2)
    dvc("add", "-q", "data")
    for inside in ("data/copy", "data/a/copy"):
        with pytest.raises(InputError, match=rf"{inside}: expected a folder apart from what DVC tracks, found"):
            checkout(md5, Path(inside), {})
    assert not list(Path("data").rglob("*.dvc"))
    dvc("status")


@pytest.mark.trust
def test_an_image_that_was_changed_in_the_cache_is_checked_out_by_nobody(
    workspace: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DVC takes what is write-protected in its cache for whole."""
    rows = make_images(tmp_path / "raw", 3)
    with locked_repository() as repo:
        add_to_cache(repo, rows, tmp_path / "raw", hardlink=False)
        version = write_snapshot(repo, rows, Path("snapshots/r/iteration-00"))
    cached = cached_file(rows["md5"][1])
    assert cached is not None

    def damage() -> None:
        cached.unlink(missing_ok=True)
        cached.write_bytes(b"imagf 1")
        cached.chmod(0o444)

    damage()
    with pytest.raises(InputError, match=f"{rows['md5'][1]}: not in DVC's cache"):
        checkout(version, Path("out"), {})
    assert not Path("out").exists()
    with locked_repository() as repo:
        add_to_cache(repo, rows, tmp_path / "raw", hardlink=False)
    # As `dvc remote add` and `dvc push` would, which take ten seconds to start.
    remote = tmp_path / "store"
    Path(".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    shutil.copytree(".dvc/cache/files", remote / "files")
    damage()
    caplog.clear()
    checkout(version, Path("out"), {})
    assert (Path("out") / rows["image_id"][1]).read_bytes() == b"image 1"
    assert f"{rows['image_id'][1]} ({cached}): was changed in DVC's cache" in caplog.text
