"""DVC's cache on this machine: which images of training sets are in it, whether a remote has them, what needs them.

Only images of training sets (`snapshots.directory`) are ever named; whatever else a repository keeps in its cache is
none of this project's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tasks.runtime.environment  # noqa: F401  (before dvc is imported)
from irp_core.atomic import read_json
from irp_core.errors import InputError
from irp_core.text.plain_yaml import read_yaml
from tasks.versions.snapshots import locked_repository, open_repository

if TYPE_CHECKING:
    from dvc.repo import Repo

__all__ = ["CachedImage", "cached_images", "delete_cached"]


@dataclass(frozen=True)
class CachedImage:
    """An image in the cache.

    `bytes` are what its deletion frees: 0 where it is a hard link to an image that lies elsewhere, too. `since` is when
    the newest training set that has it was made (seconds since the epoch).
    """

    md5: str
    bytes: int
    since: float
    needed: str | None


def cached_images(directory: Path, in_service: Mapping[str, str]) -> list[CachedImage]:
    """The images of all training sets below `directory` that lie in the cache.

    Needed are those of a set in service, those that something else in the repository's working tree tracks, and those
    that DVC's default remote lacks: a set that cannot be pulled is lost.

    Args:
        in_service: version (`<md5>.dir`) → what it is in service for.

    Raises:
        InputError: the current directory is in no DVC repository.
    """
    repo = open_repository()
    try:
        newest: dict[str, float] = {}
        needed: dict[str, str] = {}
        versions: set[str] = set()
        for file in sorted(directory.rglob("*.dvc")):
            for md5 in _outputs(file):
                versions.add(md5)
                for image in _members(repo, md5):
                    newest[image] = max(newest.get(image, 0.0), file.stat().st_mtime)
        for version, reason in in_service.items():
            needed |= dict.fromkeys(_members(repo, version), reason)
        for image, reason in _others(repo, versions):
            needed.setdefault(image, reason)
        places = {image: Path(repo.cache.local.oid_to_path(image)) for image in newest}
        there = {image: place.stat() for image, place in places.items() if place.is_file()}
        only_here = _only_here(repo, [image for image in there if image not in needed])
    finally:
        repo.close()
    needed |= dict.fromkeys(only_here, "DVC's default remote lacks it")
    return [
        CachedImage(image, facts.st_size if facts.st_nlink == 1 else 0, newest[image], needed.get(image))
        for image, facts in there.items()
    ]


def delete_cached(images: Iterable[str]) -> int:
    """Delete images from the cache; returns how many were there."""
    wanted = list(images)
    if not wanted:
        return 0
    gone = 0
    with locked_repository() as repo:
        for image in wanted:
            place = Path(repo.cache.local.oid_to_path(image))
            if place.is_file():
                place.unlink()
                gone += 1
    return gone


def _outputs(file: Path) -> list[str]:
    """The versions that a `.dvc` file names; none where it is not readable."""
    try:
        return [str(output["md5"]) for output in read_yaml(file)["outs"]]
    except (InputError, KeyError, TypeError):
        return []


def _members(repo: Repo, version: str) -> list[str]:
    """The images of a version whose list lies in the cache."""
    place = Path(repo.cache.local.oid_to_path(version))
    if not place.is_file():
        return []
    try:
        return [str(entry["md5"]) for entry in read_json(place)]
    except (InputError, KeyError, TypeError, ValueError):
        return []


def _others(repo: Repo, versions: set[str]) -> list[tuple[str, str]]:
    """What other files of DVC's in the working tree track: (content, why it is needed).

    A copy of a training set's own `.dvc` file (MLflow's artifacts have one) tracks nothing else.
    """
    found = []
    for out in repo.index.outs:
        value = str(out.hash_info.value) if out.hash_info else ""
        if not value or value in versions:
            continue
        why = f"{out.stage.relpath} tracks it"
        found += [(image, why) for image in (_members(repo, value) if value.endswith(".dir") else [value])]
    return found


def _only_here(repo: Repo, images: list[str]) -> list[str]:
    """Those that DVC's default remote, from which an audit pulls, lacks: all where there is none or it is silent."""
    if not images:
        return []
    try:
        had = set(repo.cloud.get_remote_odb().oids_exist(images, jobs=4))
    except Exception:  # no remote, or what the libraries of object stores raise
        return images
    return [image for image in images if image not in had]
