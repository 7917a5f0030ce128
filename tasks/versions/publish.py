"""Training sets where another machine finds them: their images in a DVC remote, their `.dvc` files on a git branch."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from irp_core.atomic import atomic_path
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.run.directory import RunDirectory
from tasks.runtime.retries import IO_RETRIES
from tasks.versions.branch import commit_files, file_on_branch, push_branch
from tasks.versions.snapshots import locked_repository, open_repository, set_objects

if TYPE_CHECKING:
    from dvc.repo import Repo

__all__ = ["Published", "check_published", "publish", "remote_of"]

_LOG = logging.getLogger(__name__)
_OURS = "lines"  # the DVC remote of lines that name none


@dataclass(frozen=True)
class Published:
    """Where a run's training sets are to be had.

    Attributes:
        remote: name of the DVC remote, and `url` its address.
        commit: on `branch`, which has the `.dvc` file `dvc_file` of the set `md5` that the last model trained on.
        objects: number of images and lists that the remote was found to have.
    """

    remote: str
    url: str
    branch: str
    commit: str
    dvc_file: str
    md5: str
    objects: int


@task(task_run_name="publish-{line.name}", cache_policy=NO_CACHE, **IO_RETRIES)
def publish(run_path: str, line: Line) -> dict[str, Any]:
    """Push every training set of a finished run, see that the remote has them, and commit their `.dvc` files.

    Raises:
        OSError: a remote that does not answer, or does not have what was pushed.
        InputError: the run has no versions, or the images are not in DVC's cache.
    """
    run = RunDirectory(Path(run_path))
    versions = [run.snapshot(k) for k in range(int(run.summary()["iterations"]) + 1)]
    if not all(versions):
        raise InputError(f"{run.path}: expected a DVC version of every training set, found a set without one.")
    sets = {version["md5"]: version["dvc_file"] for version in versions if version}
    last = versions[-1]
    assert last is not None
    name, url = remote_of(line)
    objects = {md5 for listed in sets for md5 in [listed, *set_objects(listed)["md5"]]}
    _push(objects, name, url)
    files = {_in_repository(Path(file)): Path(file) for file in [*sets.values(), *_beside(last["dvc_file"])]}
    commit = commit_files(line.git_branch, files, f"{run.run_id}: the training sets of line {line.name}")
    if line.git_remote:
        push_branch(line.git_branch, line.git_remote)
    return asdict(Published(name, url, line.git_branch, commit, last["dvc_file"], last["md5"], len(objects)))


def check_published(md5: str, dvc_file: str, line: Line) -> None:
    """See that a set can be pulled elsewhere.

    Raises:
        InputError: what of it is where nobody else can have it.
    """
    name, url = remote_of(line)
    try:
        missing = _missing({md5, *set_objects(md5)["md5"]}, name)
    except OSError as error:
        raise InputError(f"{dvc_file}: its remote {url} does not answer ({error}); nothing was promoted.") from None
    if missing:
        raise InputError(
            f"{dvc_file}: the remote {url} lacks {len(missing)} of its objects, {sorted(missing)[0]} among them; "
            f"nothing was promoted (dvc push {dvc_file} --remote {name} brings them there)."
        )
    content = file_on_branch(line.git_branch, _in_repository(Path(dvc_file)))
    if content is None or md5 not in content:
        raise InputError(f"{dvc_file}: expected it on the branch {line.git_branch}, found none; nothing was promoted.")
    if line.git_remote:
        try:
            push_branch(line.git_branch, line.git_remote)
        except OSError as error:
            raise InputError(f"{error}; nothing was promoted.") from None


def remote_of(line: Line) -> tuple[str, str]:
    """Name and address of the DVC remote of a line; one that DVC does not know yet is entered in its configuration.

    The address in `remote` may be a remote's name; without one it is DVC's default remote, else a folder of the
    project, which becomes the default.
    """
    with locked_repository() as repo:
        _follow(repo, line)
        known = {name: str(remote.get("url", "")) for name, remote in repo.config.get("remote", {}).items()}
        wanted = line.remote or repo.config["core"].get("remote")
        if wanted in known:
            return str(wanted), known[str(wanted)]
        url = wanted or str(LineFolder(line.name).remote.resolve())
        if "://" not in url:
            url = str(Path(url).expanduser().resolve())
        for name, there in known.items():
            if there == url:
                return name, url
        name = f"line-{line.name}" if line.remote else _OURS
        _enter_remote(repo, name, url)
        return name, url


def _follow(repo: Repo, line: Line) -> None:
    """Where the project was moved with its remote, the address follows: DVC would make the old folder again.

    The address is absolute for whoever clones the branch.
    """
    here = LineFolder(line.name).remote.resolve()
    entered = str(repo.config.get("remote", {}).get(_OURS, {}).get("url", here))
    if Path(entered) == here or "://" in entered or Path(entered).exists() or not here.is_dir():
        return
    _LOG.warning("DVC's remote %r was moved with the project: from %s to %s.", _OURS, entered, here)
    _enter_remote(repo, _OURS, str(here))
    repo.config.load()


def _enter_remote(repo: Repo, name: str, url: str) -> None:
    """Enter a remote in DVC's configuration, as the default one where there is none.

    DVC's own way (3.67) writes ASCII: of a folder with an umlaut in its path it leaves an empty file.
    """
    from configobj import ConfigObj

    file = Path(repo.config.files["repo"])
    config = ConfigObj(file.read_text(encoding="utf-8").splitlines(), encoding="utf-8")
    config.setdefault("core", {}).setdefault("remote", name)
    config[f'remote "{name}"'] = {"url": url}
    with atomic_path(file) as temporary, temporary.open("wb") as written:
        config.write(written)


def _push(objects: set[str], name: str, url: str) -> None:
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.hash_info import HashInfo

    repo = open_repository()
    try:
        cache, remote = repo.cache.local, repo.cloud.get_remote_odb(name, "push")
        # Without DVC's own note of what the remote has: that outlives what it speaks of.
        result = repo.cloud.transfer(cache, remote, [HashInfo("md5", md5) for md5 in objects], cache_odb=cache)
        if result.failed:
            raise OSError(f"{url}: {len(result.failed)} of {len(objects)} objects could not be pushed.")
        if missing := _missing_from(remote, objects):
            raise OSError(f"{url}: {len(missing)} of {len(objects)} objects are not there after they were pushed.")
    except OSError:
        raise
    except DvcException as error:
        raise OSError(f"{url}: cannot be pushed to ({str(error).splitlines()[0]}).") from error
    except Exception as error:  # the libraries of object stores raise their own
        raise OSError(f"{url}: cannot be pushed to ({type(error).__name__}: {error}).") from error
    finally:
        repo.close()


def _missing(objects: set[str], name: str) -> set[str]:
    repo = open_repository()
    try:
        return _missing_from(repo.cloud.get_remote_odb(name, "status"), objects)
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        repo.close()


def _missing_from(remote: Any, objects: set[str]) -> set[str]:
    return objects - set(remote.oids_exist(sorted(objects)))


def _beside(dvc_file: str) -> list[str]:
    """What a clone of the branch needs besides: DVC's configuration with the remote, and what DVC ignores."""
    repo = open_repository()
    try:
        root = Path(repo.root_dir)
        names = [".dvc/config", ".dvc/.gitignore", ".dvcignore"]
        found = [str(root / name) for name in names if (root / name).is_file()]
    finally:
        repo.close()
    ignored = Path(dvc_file).parent / ".gitignore"
    return [*found, *([str(ignored)] if ignored.is_file() else [])]


def _in_repository(file: Path) -> str:
    """A file's path from the top of the git repository."""
    repo = open_repository()
    try:
        return file.resolve().relative_to(_top(repo)).as_posix()
    except ValueError:
        raise InputError(f"{file}: expected a file of the git repository {_top(repo)}.") from None
    finally:
        repo.close()


def _top(repo: Repo) -> Path:
    root = getattr(repo.scm, "root_dir", None)
    if root is None:
        raise InputError(f"{repo.root_dir}: expected a git repository for the lines' branches, found none (git init).")
    return Path(root).resolve()
