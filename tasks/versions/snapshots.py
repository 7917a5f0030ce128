"""DVC versions of the training sets: the one place that talks to DVC, under its lock.

DVC keeps a directory as a list of (md5, path), itself an object of the cache. A refined set is a subset, so
its snapshot is a new, shorter list over files that the cache already holds: no image is copied or hashed
again, and `dvc checkout`, `push`, `pull`, `status`, `diff` and `gc` treat it as any other output.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

import tasks.runtime.environment  # noqa: F401  (before dvc is imported)
from irp_core.atomic import read_json
from irp_core.config import digest
from irp_core.errors import InputError
from irp_core.hashing import file_md5, file_sha256
from irp_core.packed.layout import is_packed
from irp_core.run.directory import RunDirectory
from irp_core.run.step_files import write_snapshot as write_snapshot_note
from tasks.runtime.retries import IO_RETRIES
from tasks.versions.dvc_files import dvc_file_of, names_version, write_dvc_file, write_text

if TYPE_CHECKING:
    from dvc.repo import Repo

__all__ = [
    "add_to_cache",
    "cached_file",
    "cached_files",
    "check_repository",
    "checkout",
    "files_here",
    "locked_repository",
    "open_repository",
    "set_objects",
    "snapshot",
    "write_snapshot",
]

_LOG = logging.getLogger(__name__)
_LOCK_SECONDS = 300


@task(task_run_name="snapshot-{iteration}", cache_policy=NO_CACHE, **IO_RETRIES)
def snapshot(run_path: str, iteration: int) -> str:
    """Make iteration `iteration`'s training set a DVC version; returns its hash (`<md5>.dir`)."""
    from tasks.versions.packed import add_packed_to_cache  # which stands upon this file

    run = RunDirectory(Path(run_path))
    settings = run.params().snapshots
    with run.timed("snapshot"):
        rows = run.training_set(iteration)
        target = Path(settings.directory) / run.run_id / f"iteration-{iteration:02d}"
        dvc_file = dvc_file_of(target)
        key = digest("snapshot", rows.to_dict("list"), str(target))

        def make(folder: Path) -> None:
            with locked_repository() as repo:
                root, hardlink = run.data_root(), settings.link == "hardlink"
                members = rows
                if is_packed(root):
                    members = add_packed_to_cache(repo, rows, root, hardlink=hardlink)
                elif iteration == 0:
                    add_to_cache(repo, rows, root, hardlink=hardlink)
                # In git, DVC alone then tells which run cut this set from which other.
                lineage = {"run": run.run_id, "iteration": iteration}
                if parent := run.snapshot(iteration - 1):
                    lineage["parent"] = parent["md5"]
                md5 = write_snapshot(repo, members, target, meta={"irp": lineage})
                write_text(target.parent / ".gitignore", "/iteration-*\n!/iteration-*.dvc\n/digests.json\n")
            write_snapshot_note(folder, md5, dvc_file, file_sha256(dvc_file))

        run.do("snapshot", iteration, key, make)
        if damage := _damage(run.snapshot(iteration), dvc_file):
            _LOG.warning("%s; the version is written again.", damage)
            run.forget("snapshot", iteration)
            run.do("snapshot", iteration, key, make)
    version = run.snapshot(iteration)
    assert version is not None
    return version["md5"]


def _damage(version: dict[str, str] | None, dvc_file: Path) -> str | None:
    """What of a version that lies outside the run's folder is not as it was written; None where all is."""
    if version is None or not dvc_file.exists():
        return f"{dvc_file}: is gone"
    noted = version.get("dvc_file_sha256")  # irp up to 0.7 noted none
    if not (names_version(dvc_file, version["md5"]) if noted is None else file_sha256(dvc_file) == noted):
        return f"{dvc_file}: was changed since it was written"
    repo = open_repository()
    try:
        listed = Path(repo.cache.local.oid_to_path(version["md5"]))
    finally:
        repo.close()
    if listed.is_file() and f"{file_md5(listed)}.dir" == version["md5"]:
        return None
    return f"{listed}: DVC's list of the images is gone or was changed"


def check_repository() -> None:
    """Say at once, not after an hour, that there is nowhere to keep a snapshot.

    Raises:
        InputError: the current directory is in no DVC repository.
    """
    open_repository().close()


def open_repository() -> Repo:
    """The DVC repository around the current directory."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        return Repo()
    except (NotDvcRepoError, SCMError):
        raise InputError(
            f"{Path.cwd()}: snapshots need a git and DVC repository here, found none; run `git init` and "
            f"`dvc init`, or pass --no-dvc."
        ) from None


@contextmanager
def locked_repository() -> Iterator[Repo]:
    """The repository, with DVC's own lock held; waits while another DVC process works."""
    from dvc.lock import LockError

    repo = open_repository()
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while True:
            try:
                repo.lock.lock()
                break
            except LockError:
                if time.monotonic() > deadline:
                    raise InputError(f"{repo.root_dir}: DVC's lock is held by another process.") from None
                time.sleep(0.5)
        try:
            yield repo
        finally:
            repo.lock.unlock()
    finally:
        repo.close()


def add_to_cache(repo: Repo, rows: pd.DataFrame, root: Path, *, hardlink: bool) -> int:
    """Bring the images that DVC's cache lacks into it; returns how many.

    Each is hashed once more before: under the md5 of the manifest another content, of a file that was changed since,
    would spoil every version that has it. A reflink is tried first, then a copy. With `hardlink` a hard link is
    tried in between: it takes no room, and makes the image itself read-only, as `dvc add` does with `cache.type
    hardlink`; nobody's images are made so unasked.

    Raises:
        InputError: a file was changed since, or could not be brought in.
    """
    from dvc_objects.fs.local import localfs

    odb = repo.cache.local
    unique = rows.drop_duplicates("md5")
    present = {oid for oid in unique["md5"] if odb.exists(oid)}
    missing = unique[~unique["md5"].isin(present)]
    for image_id, md5 in zip(missing["image_id"], missing["md5"], strict=True):
        if (found := file_md5(root / image_id)) != md5:
            raise InputError(f"{root / image_id}: expected the image of the manifest (md5 {md5}), found md5 {found}.")
    failures: list[str] = []
    odb.add(
        [str(root / image_id) for image_id in missing["image_id"]],
        localfs,
        missing["md5"].tolist(),
        hardlink=hardlink,
        check_exists=False,
        on_error=lambda oid, error: failures.append(f"{oid}: {error}"),
    )
    if failures:
        raise InputError(f"{odb.path}: {len(failures)} images cannot be brought into DVC's cache ({failures[0]}).")
    return len(missing)


def write_snapshot(repo: Repo, rows: pd.DataFrame, target: Path, meta: dict[str, Any] | None = None) -> str:
    """Write the directory object of `rows` (`image_id`, `md5`) and the `.dvc` file for `target`.

    Args:
        rows: images that the cache already holds.
        target: the folder that `dvc checkout <target>.dvc` will create, inside the repository.
        meta: written into the `.dvc` file; DVC leaves it alone.

    Returns:
        The directory's hash, `<md5>.dir`.
    """
    from dvc_data.hashfile.db import add_update_tree
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for image_id, md5 in zip(rows["image_id"], rows["md5"], strict=True):
        tree.add(tuple(image_id.split("/")), None, HashInfo("md5", md5))
    tree.digest()
    listed = Path(repo.cache.local.oid_to_path(tree.oid))
    if listed.exists() and f"{file_md5(listed)}.dir" != tree.oid:
        listed.unlink()  # DVC would leave what has the right name as it is
    add_update_tree(repo.cache.local, tree)
    write_dvc_file(target, str(tree.oid), {"nfiles": len(tree)}, meta)
    return str(tree.oid)


def set_objects(md5: str) -> pd.DataFrame:
    """`image_id` (path in its folder) and `md5` of the files of a version, fetched where the cache lacks its list.

    Raises:
        InputError: nowhere to be had, or not the list that its hash names.
    """
    repo = open_repository()
    try:
        if not repo.cache.local.exists(md5):
            _pull(repo, [md5])
        path = Path(repo.cache.local.oid_to_path(md5))
        if f"{file_md5(path)}.dir" != md5:
            raise InputError(f"{path}: DVC's list of the images was changed, its md5 is no longer {md5[:12]}….")
        return pd.DataFrame(
            [(entry["relpath"], entry["md5"]) for entry in read_json(path)], columns=["image_id", "md5"]
        )
    finally:
        repo.close()


def cached_files(files: list[str]) -> dict[str, Path]:
    """md5 of each of `files` → its place in DVC's cache, fetched from the remote where the cache lacks it.

    Raises:
        InputError: some are nowhere to be had.
    """
    repo = open_repository()
    try:
        odb = repo.cache.local
        _pull(repo, [file for file in files if not odb.exists(file)])
        return {file: Path(odb.oid_to_path(file)) for file in files}
    finally:
        repo.close()


def cached_file(md5: str) -> Path | None:
    """The file with this content in DVC's cache on this machine; None where there is none. Nothing is fetched."""
    return files_here([md5]).get(md5)


def files_here(files: list[str]) -> dict[str, Path]:
    """md5 of those of `files` that DVC's cache has on this machine → their places in it. Nothing is fetched."""
    try:
        repo = open_repository()
    except InputError:
        return {}
    try:
        places = {file: Path(repo.cache.local.oid_to_path(file)) for file in files}
        return {file: path for file, path in places.items() if path.is_file()}
    finally:
        repo.close()


def checkout(md5: str, target: Path, meta: dict[str, Any]) -> Path:
    """Make the folder `target` hold exactly the version `md5`, with a `.dvc` file beside it that says so.

    Raises:
        InputError: `target` exists, lies outside the repository or where DVC allows none, or the version is nowhere to
            be had.
    """
    from dvc.exceptions import DvcException

    file = dvc_file_of(target)
    if target.exists():
        raise InputError(f"{target}: exists; name a folder that does not, with --to.")
    if file.exists() and not names_version(file, md5):
        raise InputError(f"{file}: exists and names another version; name another folder, with --to.")
    members = set_objects(md5)
    _see_that_whole(members)
    with locked_repository() as repo:
        if not target.resolve().is_relative_to(Path(repo.root_dir).resolve()):
            raise InputError(f"{target}: expected a folder inside the repository {repo.root_dir}.")
        place = target.resolve()
        for tracked in (Path(out.fs_path) for out in repo.index.outs):
            # Of two outputs that overlap DVC takes neither: every command in the repository would end with an error.
            if tracked != place and (place.is_relative_to(tracked) or tracked.is_relative_to(place)):
                raise InputError(f"{target}: expected a folder apart from what DVC tracks, found one over {tracked}.")
        if not file.exists():
            write_snapshot(repo, members, target, meta)
        _ignore(target)
    repo = open_repository()
    try:
        repo.checkout([str(file)])
    except DvcException as error:
        raise InputError(f"{target}: DVC cannot check it out ({str(error).splitlines()[0]}).") from None
    finally:
        repo.close()
    return target


def _see_that_whole(members: pd.DataFrame) -> None:
    """Have all files of a version in DVC's cache, as they were added: DVC takes what is write-protected there for
    whole. What was changed is had again from the remote.

    Raises:
        InputError: nowhere to be had.
    """
    places = cached_files(members["md5"].unique().tolist())
    for md5 in [md5 for md5, path in places.items() if file_md5(path) != md5]:
        name = members.loc[members["md5"] == md5, "image_id"].iloc[0]
        _LOG.warning("%s (%s): was changed in DVC's cache; it is had again from the remote.", name, places[md5])
        places[md5].unlink()
    cached_files(list(places))


def _ignore(target: Path) -> None:
    """Keep git from seeing the images, as `dvc add` does: one line more in the folder's `.gitignore`."""
    ignored = target.parent / ".gitignore"
    lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.exists() else []
    if f"/{target.name}" not in lines and "/iteration-*" not in lines:
        write_text(ignored, "\n".join([*lines, f"/{target.name}"]) + "\n")


def _pull(repo: Repo, objects: list[str]) -> None:
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.hash_info import HashInfo

    if not objects:
        return
    what = objects[0] if len(objects) == 1 else f"{objects[0]} and {len(objects) - 1} more"
    try:
        repo.cloud.pull([HashInfo("md5", md5) for md5 in objects])
    except (DvcException, OSError) as error:  # no remote configured, or one that does not answer
        reason = str(error).splitlines()[0]
        raise InputError(f"{what}: not in DVC's cache, and cannot be pulled ({reason}).") from None
    missing = [md5 for md5 in objects if not repo.cache.local.exists(md5)]
    if missing:
        raise InputError(f"{missing[0]}: neither in DVC's cache nor in its remote ({len(missing)} of {len(objects)}).")
