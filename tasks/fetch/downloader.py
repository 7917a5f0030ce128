"""A downloader for pooch that goes on where an interrupted download stopped (pooch's own begins anew)."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
from tqdm import tqdm

from irp_core.atomic import read_json, write_json
from irp_core.errors import InputError

__all__ = ["NoArchive", "ResumingDownloader"]

_TIMEOUT = httpx.Timeout(60.0, connect=30.0)


class NoArchive(Exception):
    """The server sends a web page: a login, a share that has expired."""


class ResumingDownloader:
    """Download into `part`, and hand the file to pooch when it is whole.

    What is there of `part` is not asked for again: the request carries `Range`, and `If-Range` with the
    validator of the first answer, so that a file that was replaced meanwhile, or a server that knows no ranges,
    sends everything and the download begins anew. A connection that breaks is taken up again at once, as long
    as each attempt brings `least_progress` bytes.

    Raises:
        httpx.HTTPError: the server cannot be reached, refuses, or the connection broke; `part` is kept.
        NoArchive: it sends a web page.
        InputError: another process downloads the same file.
    """

    def __init__(self, part: Path, *, least_progress: int = 1 << 20) -> None:
        self.part = part
        self._validator = part.with_name(f"{part.name}.json")
        self._least_progress = least_progress

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """As pooch calls it: `output_file` is a temporary file whose hash is checked next."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as stream:
            while True:
                before = stream.seek(0, 2)
                try:
                    self._receive(url, stream)
                    break
                except httpx.TransportError:
                    if stream.seek(0, 2) - before < self._least_progress:
                        raise
        self.part.replace(output_file)
        self._validator.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        with open(self.part, "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.part}: another process is downloading this file; wait for it.") from None
            try:
                yield stream
            except BaseException:
                if stream.seek(0, 2) == 0:  # nothing to go on from
                    self.part.unlink()
                raise

    def _receive(self, url: str, stream: IO[bytes]) -> None:
        """One request: append what `stream` lacks."""
        offset = stream.seek(0, 2)
        headers = {"Accept-Encoding": "identity"}  # a range counts the file's own bytes
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self._validator.exists():
                headers["If-Range"] = read_json(self._validator)
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as response:
            first, total = _content_range(response)
            if offset and response.status_code == 416 and total == offset:
                return  # interrupted between the last byte and the rename
            if offset and (response.status_code == 416 or (response.status_code == 206 and first != offset)):
                stream.truncate(0)
                return self._receive(url, stream)
            response.raise_for_status()
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise NoArchive("a web page")  # what is here already must not give way to it
            if response.status_code != 206:
                offset = 0
                stream.truncate(0)
                self._remember(response)
            self._append(response, stream, offset)

    def _remember(self, response: httpx.Response) -> None:
        etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        # A weak ETag ("W/…") promises no identical bytes and may not stand in If-Range.
        if validator := (etag if etag.startswith('"') else modified):
            write_json(self._validator, validator)
        else:
            self._validator.unlink(missing_ok=True)

    def _append(self, response: httpx.Response, stream: IO[bytes], offset: int) -> None:
        length = response.headers.get("Content-Length")
        name = self.part.name.removesuffix(".part")
        with tqdm(
            desc=name,
            total=offset + int(length) if length else None,
            initial=offset,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,  # no terminal, no bar
        ) as progress:
            for chunk in response.iter_raw():
                stream.write(chunk)
                progress.update(len(chunk))


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """(first byte, bytes in all) of a `Content-Range` header: `bytes 5-9/10`, `bytes */10`."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not found:
        return None, None
    first, total = found.groups()
    return int(first) if first else None, int(total) if total != "*" else None
