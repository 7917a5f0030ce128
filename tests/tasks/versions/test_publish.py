"""A set is published when its remote has every image and its branch names it: in a folder, or in an object store."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.hashing import file_md5
from tasks.versions.branch import commit_files, file_on_branch, push_branch
from tasks.versions.publish import _push, check_published, remote_of
from tasks.versions.snapshots import add_to_cache, locked_repository, write_snapshot

DVC_FILE = "snapshots/run/iteration-00.dvc"


def made_set() -> str:
    """A set of three files as a DVC version; returns its hash."""
    raw = Path("raw")
    raw.mkdir()
    for number in range(3):
        (raw / f"{number}.png").write_text(f"image {number}")
    rows = pd.DataFrame({"image_id": [f"{n}.png" for n in range(3)]})
    rows["md5"] = [file_md5(raw / name) for name in rows["image_id"]]
    with locked_repository() as repo:
        add_to_cache(repo, rows, raw, hardlink=False)
        return write_snapshot(repo, rows, Path(DVC_FILE).with_suffix(""))


def objects(md5: str) -> set[str]:
    return {md5, *(file_md5(file) for file in Path("raw").iterdir())}


def committed(line: Line) -> str:
    return commit_files(line.git_branch, {DVC_FILE: Path(DVC_FILE)}, "a set")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def test_a_folder_is_the_remote_where_nothing_else_is_named(workspace: Path) -> None:
    line = Line(name="line3", inbox="in")
    md5 = made_set()
    name, url = remote_of(line)
    assert (name, url) == ("lines", str(workspace / "lines" / "remote"))
    assert remote_of(Line(name="line4", inbox="in")) == (name, url)  # lines share their images
    with pytest.raises(InputError, match="lacks 4 of its objects"):
        check_published(md5, DVC_FILE, line)
    _push(objects(md5), name, url)
    with pytest.raises(InputError, match="expected it on the branch line/line3, found none"):
        check_published(md5, DVC_FILE, line)
    committed(line)
    check_published(md5, DVC_FILE, line)
    gone = next(path for path in Path(url).rglob("*") if path.is_file() and not path.name.endswith(".dir"))
    gone.unlink()
    with pytest.raises(InputError, match="lacks 1 of its objects"):
        check_published(md5, DVC_FILE, line)
    _push(objects(md5), name, url)  # though DVC noted that it had been there
    check_published(md5, DVC_FILE, line)


def test_the_remote_of_a_project_that_was_moved_moves_with_it(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(name="line3", inbox="in")
    md5 = made_set()
    _push(objects(md5), *remote_of(line))
    committed(line)
    moved = workspace.with_name("Werk Süd, verlegt")
    workspace.rename(moved)
    monkeypatch.chdir(moved)
    assert remote_of(line) == ("lines", str(moved / "lines" / "remote"))
    check_published(md5, DVC_FILE, line)
    assert not workspace.exists()


def test_a_remote_is_taken_by_its_name_or_entered_by_its_address(workspace: Path, tmp_path: Path) -> None:
    with open(".dvc/config", "a") as config:
        config.write("[cache]\n    # of this plant\n    type = reflink,copy\n")
    elsewhere = str(tmp_path / "Außenlager 2 # Ost")
    by_address = Line(name="line3", inbox="in", remote=elsewhere)
    assert remote_of(by_address) == ("line-line3", elsewhere)
    assert remote_of(Line(name="line4", inbox="in", remote="line-line3"))[1] == elsewhere
    assert "# of this plant\n    type = reflink, copy" in Path(".dvc/config").read_text(encoding="utf-8")
    md5 = made_set()
    _push(objects(md5), "line-line3", elsewhere)  # DVC reads what was written


def test_commits_leave_the_working_tree_alone(workspace: Path) -> None:
    Path("notes.txt").write_text("mine")
    git("add", "notes.txt")
    staged = git("diff", "--cached", "--name-only")
    first, second = Path("a.dvc"), Path("b.dvc")
    first.write_text("1")
    second.write_text("2")
    one = commit_files("line/line3", {"sets/a.dvc": first}, "one")
    assert commit_files("line/line3", {"sets/a.dvc": first}, "the same again") == one
    two = commit_files("line/line3", {"sets/b.dvc": second}, "two")
    assert git("rev-parse", f"{two}^").strip() == one
    assert git("ls-tree", "-r", "--name-only", "line/line3").split() == ["sets/a.dvc", "sets/b.dvc"]
    assert git("diff", "--cached", "--name-only") == staged
    assert file_on_branch("line/line3", "sets/b.dvc") == "2" and file_on_branch("line/line3", "c") is None


def test_a_branch_that_is_checked_out_stays_clean(workspace: Path) -> None:
    Path("a.dvc").write_text("1")
    git("checkout", "-q", "-b", "line/line3")
    commit_files("line/line3", {"a.dvc": Path("a.dvc")}, "one")
    assert git("status", "--porcelain", "--", "a.dvc") == ""


def test_a_branch_is_pushed_or_the_remote_is_named(workspace: Path, tmp_path: Path) -> None:
    Path("a.dvc").write_text("1")
    commit = commit_files("line/line3", {"a.dvc": Path("a.dvc")}, "one")
    git("init", "-q", "--bare", str(tmp_path / "bare"))
    git("remote", "add", "plant", str(tmp_path / "bare"))
    push_branch("line/line3", "plant")
    assert git("ls-remote", "plant", "refs/heads/line/line3").split()[0] == commit
    git("remote", "set-url", "plant", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match="git push plant line/line3: "):
        push_branch("line/line3", "plant")


def test_an_object_store_is_a_remote(workspace: Path, object_store: str) -> None:
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    import fsspec

    fsspec.filesystem("s3", endpoint_url=object_store, skip_instance_cache=True).mkdir("sets")
    with locked_repository() as repo, repo.config.edit("repo") as config:
        config["remote"]["plant"] = {"url": "s3://sets/line3", "endpointurl": object_store}
    line = Line(name="line3", inbox="in", remote="plant")
    md5 = made_set()
    committed(line)
    with pytest.raises(InputError, match="lacks 4 of its objects"):
        check_published(md5, DVC_FILE, line)
    _push(objects(md5), *remote_of(line))
    check_published(md5, DVC_FILE, line)
