"""Data sets from a local server that misbehaves as servers do: checked, resumed, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from irp_core.atomic import read_json
from irp_core.data.layouts.mvtec import CATEGORIES
from irp_core.data.scan import detect_layout, scan
from irp_core.errors import InputError
from tasks.fetch.data_sets import fetch, unpack
from tasks.fetch.downloader import ResumingDownloader
from tasks.fetch.sources import SOURCES, Source
from tests.irp_core.data.test_layouts import category, kolektor, mask, picture


@dataclass
class Publisher:
    """What the server serves and how, and what it was asked for."""

    content: bytes = b""
    ranges: bool = True
    etag: str = '"1"'
    breaks_after: int | None = None  # bytes of the body, then the connection is dropped
    status: int = 200
    type: str = "application/zip"
    address: str = ""
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    sent: int = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        body, status = self.content, self.status
        if wanted and self.ranges and request.headers.get("If-Range", self.etag) == self.etag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if first < len(body) else 416
            body = body[first:]
        request.send_response(status)
        request.send_header("Content-Type", self.type)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", self.etag)
        if status == 206:
            request.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        if status == 416:
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
        request.end_headers()
        body = body[: self.breaks_after]
        self.sent += len(body)
        request.close_connection = True
        with suppress(ConnectionError):  # the client has seen enough
            request.wfile.write(body)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    served = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served.address = f"http://127.0.0.1:{server.server_port}/archive"
        yield served
        server.shutdown()


def zipped(root: Path, inside: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, f"{inside}{path.relative_to(root)}")
    return packed.getvalue()


@pytest.fixture(scope="module")
def ksdd2_zip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The layout of the publishers' archive: train and test at the top, and pickled splits that nobody opens."""
    root = kolektor(tmp_path_factory.mktemp("made") / "ksdd2")
    (root / "split_weakly_16.pyb").write_bytes(b"\x80\x04.")
    return zipped(root)


def source(name: str, publisher: Publisher, content: bytes, **changes: object) -> Source:
    """The real source, at the local address, with the made archive's size and hash."""
    publisher.content = content
    known = None if SOURCES[name].sha256 is None else hashlib.sha256(content).hexdigest()
    made = replace(SOURCES[name], urls=(publisher.address,), size=len(content), sha256=known)
    return replace(made, **changes)  # type: ignore[arg-type]


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_data_set_is_downloaded_checked_and_ready_to_read(
    publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path
) -> None:
    ksdd2 = source("ksdd2", publisher, ksdd2_zip)
    left = tmp_path / ".ksdd2.killed_0.tmp"  # of a fetch that was killed an hour ago while it unpacked
    (left / "train").mkdir(parents=True)
    os.utime(left, (time.time() - 3600,) * 2)
    done = fetch(ksdd2, tmp_path)
    assert done.root == tmp_path / "ksdd2"
    assert len(scan(done.root).manifest) == 14
    assert left_in(tmp_path) == {"ksdd2", "ksdd2.json", "KolektorSDD2.zip"}
    record = read_json(tmp_path / "ksdd2.json")
    assert (record["sha256"], record["url"]) == (ksdd2.sha256, publisher.address)
    assert record["license"] == "CC BY-NC-SA 4.0"
    # A second call asks for nothing and needs nothing, not even the archive.
    (tmp_path / "KolektorSDD2.zip").unlink()
    again = fetch(ksdd2, tmp_path)
    assert (again.root, again.sha256, publisher.asked) == (done.root, None, [None])


def test_an_interrupted_download_goes_on_where_it_stopped(
    publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path
) -> None:
    ksdd2 = source("ksdd2", publisher, ksdd2_zip)
    publisher.breaks_after = 1000
    with pytest.raises(InputError, match="run the same command again, it goes on after the 1,000 bytes that are here"):
        fetch(ksdd2, tmp_path)
    assert not (tmp_path / "ksdd2").exists()
    publisher.breaks_after = None
    fetch(ksdd2, tmp_path)
    assert publisher.asked == [None, "bytes=1000-"]
    assert publisher.sent == len(ksdd2_zip)  # no byte twice
    assert left_in(tmp_path) == {"ksdd2", "ksdd2.json", "KolektorSDD2.zip"}


def test_a_rough_line_is_taken_up_again_at_once(publisher: Publisher, tmp_path: Path) -> None:
    publisher.content = bytes(range(250)) * 40
    publisher.breaks_after = 3000
    output = tmp_path / "out"
    ResumingDownloader(tmp_path / "x.part", least_progress=1)(publisher.address, str(output), None)
    assert output.read_bytes() == publisher.content
    assert publisher.asked == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    assert publisher.sent == len(publisher.content)


def test_a_download_that_was_cut_before_its_last_step_asks_for_no_byte(publisher: Publisher, tmp_path: Path) -> None:
    publisher.content = b"whole"
    (tmp_path / "x.part").write_bytes(b"whole")
    ResumingDownloader(tmp_path / "x.part")(publisher.address, str(tmp_path / "out"), None)
    assert (tmp_path / "out").read_bytes() == b"whole"
    assert publisher.sent == 0


def test_two_downloads_of_one_file_do_not_mix(publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path) -> None:
    ksdd2 = source("ksdd2", publisher, ksdd2_zip)
    with (tmp_path / "KolektorSDD2.zip.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is downloading this file; wait for it"):
            fetch(ksdd2, tmp_path)
        assert left_in(tmp_path) == {"KolektorSDD2.zip.part"}
    assert publisher.asked == []


@pytest.mark.parametrize("reason", ["no ranges", "another file"])
def test_the_download_begins_anew_where_it_cannot_go_on(
    publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path, reason: str
) -> None:
    ksdd2 = source("ksdd2", publisher, ksdd2_zip)
    publisher.breaks_after = 1000
    if reason == "another file":  # what the server held before
        publisher.content = bytes(len(ksdd2_zip))
    with pytest.raises(InputError):
        fetch(ksdd2, tmp_path)
    publisher.breaks_after, publisher.content = None, ksdd2_zip
    if reason == "another file":
        publisher.etag = '"2"'
    else:
        publisher.ranges = False
    fetch(ksdd2, tmp_path)
    assert publisher.asked == [None, "bytes=1000-"]
    assert publisher.sent == 1000 + len(ksdd2_zip)


def test_a_truncated_or_foreign_file_is_refused_and_deleted(
    publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path
) -> None:
    ksdd2 = source("ksdd2", publisher, ksdd2_zip)
    for content in (ksdd2_zip[:-100], b"x" * len(ksdd2_zip)):
        publisher.content = content
        found = hashlib.sha256(content).hexdigest()
        with pytest.raises(InputError, match=rf"expected a file of sha256 {ksdd2.sha256} .*found {found}; it was dele"):
            fetch(ksdd2, tmp_path)
        assert left_in(tmp_path) == set()
    publisher.content = ksdd2_zip
    assert fetch(ksdd2, tmp_path).sha256 == ksdd2.sha256


def test_without_a_publishers_hash_the_first_one_is_trusted_from_then_on(publisher: Publisher, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for name in ("MT_Free", "MT_Crack"):
        picture(made / name / "Imgs" / "exp1_num_1.jpg", (40, 30))
        mask(made / name / "Imgs" / "exp1_num_1.png", (40, 30), None if name == "MT_Free" else (1, 5, 1, 5))
    content = zipped(made, inside="Magnetic-tile-defect-datasets.-cc4eb53/")  # GitHub wraps a commit in a folder
    to = tmp_path / "raw"
    tiles = source("mtd", publisher, content[:-100])
    with pytest.raises(InputError, match="expected a whole zip or tar archive, found a damaged one"):
        fetch(tiles, to)
    assert not (to / "mtd.json").exists()  # a truncated archive's hash is not worth trusting
    (to / tiles.archive).unlink()
    publisher.content = content
    done = fetch(tiles, to)
    assert detect_layout(done.root) == "mtd"
    assert left_in(done.root) == {"MT_Crack", "MT_Free"}
    assert read_json(to / "mtd.json")["sha256"] == done.sha256 == hashlib.sha256(content).hexdigest()

    (to / tiles.archive).unlink()
    done.root.rename(tmp_path / "moved")
    publisher.content = zipped(made, inside="Magnetic-tile-defect-datasets.-other/")
    with pytest.raises(InputError, match=rf"expected a file of sha256 {done.sha256} \(this machine's first download"):
        fetch(tiles, to)


def mvtec_tar(folder: Path) -> bytes:
    for name in CATEGORIES:
        category(folder / name, (16, 16))
    (folder / "license.txt").write_text("CC BY-NC-SA 4.0")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=0) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return packed.getvalue()


def test_mvtec_needs_its_licence_accepted_and_brings_all_categories(publisher: Publisher, tmp_path: Path) -> None:
    mvtec = source("mvtec", publisher, mvtec_tar(tmp_path / "made"))
    with pytest.raises(InputError, match=r"expects --accept-license: MVTec AD comes under CC BY-NC-SA 4\.0 \(https"):
        fetch(mvtec, tmp_path / "raw")
    assert publisher.asked == []
    done = fetch(mvtec, tmp_path / "raw", accept_license=True)
    assert [detect_layout(done.root / name) for name in CATEGORIES] == ["mvtec"] * 15
    with pytest.raises(InputError, match=rf"name one, for example {re.escape(str(done.root / 'bottle'))}"):
        detect_layout(done.root)


def test_an_archive_that_lacks_a_category_is_not_mvtec(publisher: Publisher, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=0) as archive:
        archive.add(category(tmp_path / "bottle", (16, 16)), "bottle")
    mvtec = source("mvtec", publisher, packed.getvalue())
    with pytest.raises(InputError, match="expected the folders of MVTec AD, found bottle"):
        fetch(mvtec, tmp_path / "raw", accept_license=True)
    assert left_in(tmp_path / "raw") == {mvtec.archive}


def test_an_address_that_is_gone_gives_way_to_the_next(publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path) -> None:
    ksdd2 = source("ksdd2", publisher, ksdd2_zip)
    publisher.breaks_after = 1000
    with pytest.raises(InputError):
        fetch(ksdd2, tmp_path)
    publisher.breaks_after = None
    # An expired share answers 404, or with a web page; what was downloaded before survives both.
    for status, kind, reason in ((404, "text/plain", "HTTP 404"), (200, "text/html; charset=utf-8", "a web page")):
        publisher.status, publisher.type, publisher.ranges = status, kind, False
        with pytest.raises(InputError, match=rf"{publisher.address}: {reason}.*{publisher.address}: {reason}"):
            fetch(replace(ksdd2, urls=(publisher.address, publisher.address)), tmp_path)
        assert (tmp_path / "KolektorSDD2.zip.part").stat().st_size == 1000


def test_without_a_network_an_archive_put_there_by_hand_is_used(
    publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path
) -> None:
    ksdd2 = replace(source("ksdd2", publisher, ksdd2_zip), urls=("http://127.0.0.1:9/KolektorSDD2.zip",))
    place = tmp_path / "KolektorSDD2.zip"
    with pytest.raises(InputError, match=rf"get the archive by hand \(see https.*\) and put it at {place}"):
        fetch(ksdd2, tmp_path)
    assert left_in(tmp_path) == set()
    place.write_bytes(ksdd2_zip[:500])
    with pytest.raises(InputError, match=r"KolektorSDD2\.zip: expected sha256 .* in 500 bytes; delete it"):
        fetch(ksdd2, tmp_path)
    place.write_bytes(ksdd2_zip)
    assert fetch(ksdd2, tmp_path).sha256 == ksdd2.sha256
    assert read_json(tmp_path / "ksdd2.json")["url"] == "put there by hand"
    assert publisher.asked == []


def test_a_folder_of_something_else_is_left_alone(publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path) -> None:
    (tmp_path / "ksdd2").mkdir()
    (tmp_path / "ksdd2" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected KolektorSDD2 or nothing, found something else"):
        fetch(source("ksdd2", publisher, ksdd2_zip), tmp_path)
    assert left_in(tmp_path / "ksdd2") == {"mine.txt"}


def test_a_full_disk_is_told_before_the_download(publisher: Publisher, ksdd2_zip: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected 2000000\.0 GB of free disk for KolektorSDD2, found"):
        fetch(source("ksdd2", publisher, ksdd2_zip, size=10**15), tmp_path / "raw")
    assert publisher.asked == []


def evil_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.txt", "evil")


def evil_tar(path: Path) -> None:
    with tarfile.open(path, "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("../outside.txt"), io.BytesIO())


def linking_tar(path: Path) -> None:
    with tarfile.open(path, "w:xz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(link)


@pytest.mark.parametrize(("make", "name"), [(evil_zip, "x.zip"), (evil_tar, "x.tar.xz"), (linking_tar, "y.tar.xz")])
def test_no_member_lands_outside(make: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    into = tmp_path / "a" / "b"
    into.mkdir(parents=True)
    with pytest.raises(InputError, match=r"refused, its member '.*' (lies outside|is a link)"):
        unpack(tmp_path / name, into)
    assert list(tmp_path.rglob("outside.txt")) == []
    assert left_in(into) == set()


def test_a_truncated_tar_is_refused(tmp_path: Path) -> None:
    content = mvtec_tar(tmp_path / "made")
    (tmp_path / "x.tar.xz").write_bytes(content[: len(content) // 2])
    (tmp_path / "into").mkdir()
    with pytest.raises(InputError, match="expected a whole zip or tar archive, found a damaged one"):
        unpack(tmp_path / "x.tar.xz", tmp_path / "into")


def test_the_sources_are_told_honestly() -> None:
    for name, known in SOURCES.items():
        assert known.name == name
        assert all(url.startswith("https://") for url in (*known.urls, known.page, known.license_url))
        assert known.sha256 is None or re.fullmatch("[0-9a-f]{64}", known.sha256)
        assert "the publisher gives none" in known.sha256_source
