"""Fetch a public data set: download, check, unpack; whole or not at all.

`data/raw/ksdd2/` appears when it is complete; beside it lie the archive and `ksdd2.json`, the record of where
it came from and of its sha256.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pooch

from irp_core.atomic import atomic_directory, read_json, write_json
from irp_core.errors import InputError
from tasks.fetch.downloader import NoArchive, ResumingDownloader
from tasks.fetch.sources import Source
from tasks.fetch.unpacking import unpack

__all__ = ["Fetched", "fetch", "unpack"]


@dataclass(frozen=True)
class Fetched:
    """Where a data set lies; `archive` and `sha256` are None if it was there already."""

    root: Path
    archive: Path | None = None
    sha256: str | None = None


def fetch(source: Source, to: Path, *, accept_license: bool = False) -> Fetched:
    """Put `source` into `to / source.name`, unless it is there.

    An archive that lies at `to / source.archive` is used instead of a download. Its sha256 must be the known
    one; where none is known, the first is recorded in `to / <name>.json` and every later one must be the same.

    Raises:
        InputError: the licence is not accepted, no network (says what to do by hand), no room on the disk,
            another hash, not an archive, or an archive of something else.
    """
    root = to / source.name
    if root.exists():
        if not source.is_complete(root):
            raise InputError(f"{root}: expected {source.title} or nothing, found something else; choose another --to.")
        return Fetched(root)
    if source.must_accept and not accept_license:
        raise InputError(
            f"irp fetch {source.name} expects --accept-license: {source.title} comes under {source.license} "
            f"({source.license_url})."
        )
    archive, record = to / source.archive, to / f"{source.name}.json"
    known = source.sha256 or _recorded_sha256(record)
    _check_room(source, archive)
    url = None if archive.exists() else _download(source, archive, known)
    sha256 = pooch.file_hash(str(archive)) if url is None or known is None else known
    if known is not None and sha256 != known:
        raise InputError(
            f"{archive}: expected sha256 {known} ({source.sha256_source}), found {sha256} in {_size(archive):,} bytes; "
            "delete it and run the same command again."
        )
    with atomic_directory(root) as folder:
        unpack(archive, folder)
        _lift(source, archive, folder)
        # Not earlier: a hash is worth trusting only once the archive has proved to be the data set.
        write_json(record, _record(source, archive, url, sha256))
    return Fetched(root, archive, sha256)


def _recorded_sha256(record: Path) -> str | None:
    if not record.exists():
        return None
    try:
        return str(read_json(record)["sha256"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{record}: expected the record of an earlier fetch, found something else.") from None


def _record(source: Source, archive: Path, url: str | None, sha256: str) -> dict[str, object]:
    return {
        "title": source.title,
        "url": url or "put there by hand",
        "archive": archive.name,
        "bytes": archive.stat().st_size,
        "sha256": sha256,
        "sha256_source": source.sha256_source,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "license": source.license,
        "license_url": source.license_url,
        "citation": source.citation,
    }


def _check_room(source: Source, archive: Path) -> None:
    # The archive, and about as much unpacked: images hardly compress.
    needed = 2 * source.size - _size(archive) - _size(_part(archive))
    place = next(folder for folder in archive.absolute().parents if folder.exists())
    if (free := shutil.disk_usage(place).free) < needed:
        raise InputError(
            f"{archive.parent}: expected {needed / 1e9:.1f} GB of free disk for {source.title}, found {free / 1e9:.1f}."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _part(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.part")


def _download(source: Source, archive: Path, known: str | None) -> str:
    """Download and verify; returns the address that served it."""
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for url in source.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=None if known is None else f"sha256:{known}",
                fname=archive.name,
                path=archive.parent,
                downloader=ResumingDownloader(_part(archive)),
            )
            return url
        except httpx.HTTPStatusError as error:  # gone from here: the next address may have it
            failures.append(f"{url}: HTTP {error.response.status_code}")
        except NoArchive as error:
            failures.append(f"{url}: {error}")
        except httpx.HTTPError as error:  # no network, or it broke: the next address would begin anew
            failures.append(f"{url}: {type(error).__name__}")
            break
        except InputError:
            raise
        except ValueError as error:  # pooch's, on another hash; it deletes the file
            found = re.findall(r"[0-9a-f]{64}", str(error))[-1:] or ["another"]
            raise InputError(
                f"{url}: expected a file of sha256 {known} ({source.sha256_source}), found {found[0]}; it was deleted."
            ) from None
    size = _size(_part(archive))
    kept = f", it goes on after the {size:,} bytes that are here" if size else ""
    raise InputError(
        f"{source.title} cannot be downloaded ({'; '.join(failures)}): run the same command again{kept}, "
        f"or get the archive by hand (see {source.page}) and put it at {archive}."
    )


def _lift(source: Source, archive: Path, folder: Path) -> None:
    """Take the data set out of the one folder that some archives wrap it in."""
    if source.is_complete(folder):
        return
    found = sorted(path for path in folder.iterdir())
    if len(found) == 1 and found[0].is_dir() and source.is_complete(found[0]):
        wrapper = found[0].rename(folder / ".wrapper")
        for path in wrapper.iterdir():
            path.rename(folder / path.name)
        wrapper.rmdir()
        return
    names = ", ".join(path.name for path in found[:5]) or "nothing"
    raise InputError(f"{archive}: expected the folders of {source.title}, found {names}.")
