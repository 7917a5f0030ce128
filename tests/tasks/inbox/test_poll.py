"""What lies in an inbox becomes the line's own, once; whatever is wrong with a file is named and stops nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irp_core.config import Params
from irp_core.config.lines import Inbox, Line
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import DOUBLE, TAKEN, UNREADABLE, UNUSABLE, VANISHED, Ledger
from tasks.inbox import places
from tasks.inbox.places import open_place
from tasks.inbox.poll import Poll, poll, poll_until_settled

DAY = 86_400.0


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "inbox").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def line_of(project: Path, **taking: object) -> Line:
    return Line(name="line3", inbox=str(project / "inbox"), taking=Inbox(settle=5.0, **taking))  # type: ignore[arg-type]


def twice(line: Line, at: float = DAY) -> Poll:
    poll(line, Params(), now=at)
    return poll(line, Params(), now=at + 10)


def taken(line: Line) -> list[str]:
    folder = LineFolder(line.name)
    images = sorted(Ledger(folder.ledger).images()["image_id"])
    there = sorted(str(p.relative_to(folder.images)) for p in folder.images.rglob("*") if p.is_file())
    assert images == there  # nothing that nobody knows of, nothing half-written
    return images


def test_images_are_taken_at_the_second_poll_that_finds_them_unchanged(project: Path) -> None:
    line = line_of(project)
    picture(project / "inbox/good/a.png", 1)
    assert poll(line, Params(), now=DAY) == Poll(0, 1, 0, [])
    assert poll(line, Params(), now=DAY + 10) == Poll(1, 0, 0, [])
    assert taken(line) == ["1970-01-02/good/a.png"]
    assert twice(line, 2 * DAY).taken == 0


def test_whatever_is_wrong_with_a_file_is_named_and_stops_nothing(project: Path) -> None:
    line = line_of(project)
    inbox = project / "inbox"
    picture(inbox / "a.png", 1)
    (inbox / "b.png").write_bytes((inbox / "a.png").read_bytes())
    (inbox / "cut.png").write_bytes((inbox / "a.png").read_bytes()[:100])
    (inbox / "empty.png").touch()
    (inbox / "notes.txt").write_text("no image")
    os.mkfifo(inbox / "pipe.png")
    found = twice(line)
    assert found.taken == 1 and found.ignored == 1
    said = dict(found.problems)
    assert set(said) == {"b.png", "cut.png", "empty.png", "pipe.png"}
    assert said["b.png"] == "the same bytes as 1970-01-02/a.png" and said["empty.png"] == "empty file"
    ledger = Ledger(LineFolder("line3").ledger)
    assert ledger.counts() == {TAKEN: 1, DOUBLE: 1, UNREADABLE: 2, UNUSABLE: 1}
    assert [path for path, _ in twice(line, 2 * DAY).problems] == ["pipe.png"]  # decided once, not every night
    (inbox / "pipe.png").unlink()
    twice(line, 3 * DAY)
    assert UNUSABLE not in ledger.counts()


def test_a_file_that_is_written_completely_later_is_taken_then(project: Path) -> None:
    line = line_of(project)
    whole = picture(project / "inbox/a.png", 1).read_bytes()
    (project / "inbox/a.png").write_bytes(whole[:200])
    assert twice(line).taken == 0
    (project / "inbox/a.png").write_bytes(whole)
    assert twice(line, 2 * DAY).taken == 1


def test_another_image_under_a_known_name_is_another_image(project: Path) -> None:
    line = line_of(project)
    picture(project / "inbox/a.png", 1)
    twice(line)
    picture(project / "inbox/a.png", 2)
    os.utime(project / "inbox/a.png", ns=(5, 5))
    twice(line, DAY + 100)
    assert len(taken(line)) == 2 and "1970-01-02/a.png" in taken(line)


def test_files_that_vanish_or_change_between_the_listing_and_the_reading(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(project)
    inbox = project / "inbox"
    for name, seed in (("gone.png", 1), ("changing.png", 2), ("stays.png", 3)):
        picture(inbox / name, seed)
    poll(line, Params(), now=DAY)
    fetch = places._Folder.fetch

    def disturbed(self: places._Folder, path: str, target: Path, how: str) -> None:
        if path == "gone.png":
            (inbox / path).unlink()
        fetch(self, path, target, how)
        if path == "changing.png":
            picture(inbox / path, 9)
            os.utime(inbox / path, ns=(7, 7))

    with monkeypatch.context() as patch:
        patch.setattr(places._Folder, "fetch", disturbed)
        found = poll(line, Params(), now=DAY + 10)
    assert found.taken == 1 and {path for path, _ in found.problems} == {"gone.png", "changing.png"}
    assert len(Ledger(LineFolder("line3").ledger).files(VANISHED)) == 1
    assert twice(line, 2 * DAY).taken == 1
    assert len(taken(line)) == 2


@pytest.mark.trust
def test_a_share_that_blinks_and_a_disk_that_is_full_decide_nothing_about_an_image(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(project)
    for seed in range(3):
        picture(project / f"inbox/{seed}.png", seed)
    poll(line, Params(), now=DAY)
    fetch = places._Folder.fetch

    def failing(code: int, name: str) -> Callable[..., None]:
        def fetched(self: places._Folder, path: str, target: Path, how: str) -> None:
            fetch(self, path, target, how)
            if path == name:
                raise OSError(code, os.strerror(code))

        return fetched

    with monkeypatch.context() as patch:
        patch.setattr(places._Folder, "fetch", failing(errno.EIO, "1.png"))
        found = poll(line, Params(), now=DAY + 10)
        assert (found.taken, found.waiting) == (2, 1)
        assert found.problems == [("1.png", "cannot be read: Input/output error; a later poll tries again")]
        patch.setattr(places._Folder, "fetch", failing(errno.ENOSPC, "1.png"))
        with pytest.raises(OSError, match="No space left"):
            poll(line, Params(), now=DAY + 20)
    assert poll(line, Params(), now=DAY + 30).taken == 1
    assert len(taken(line)) == 3


@pytest.mark.parametrize("how", ["auto", "copy"])
def test_the_inbox_is_left_as_it_is(project: Path, how: str) -> None:
    line = line_of(project, take=how)
    file = picture(project / "inbox/a.png", 1)
    before = file.stat()
    twice(line)
    own = LineFolder("line3").images / "1970-01-02/a.png"
    own.chmod(stat.S_IRUSR)  # as DVC's cache does it
    assert file.stat().st_mode == before.st_mode and file.stat().st_nlink == 1
    file.write_bytes(b"overwritten by the camera")
    assert Image.open(own).size == (40, 40)


def test_a_hard_link_shares_the_file_as_asked_for(project: Path) -> None:
    line = line_of(project, take="hardlink")
    file = picture(project / "inbox/a.png", 1)
    twice(line)
    assert file.samefile(LineFolder("line3").images / "1970-01-02/a.png")


def test_one_command_waits_for_what_it_sees_first(project: Path) -> None:
    line = Line(name="line3", inbox=str(project / "inbox"), taking=Inbox(settle=0.05))
    picture(project / "inbox/a.png", 1)
    assert poll_until_settled(line, Params()).taken == 1


def test_an_inbox_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(InputError, match="nowhere: expected a folder of images, found nothing"):
        poll(Line(name="line3", inbox=str(project / "nowhere")), Params())
    with pytest.raises(InputError, match=r"gopher://plant: expected an address that fsspec knows"):
        poll(Line(name="line3", inbox="gopher://plant"), Params())


def test_a_kill_between_two_files_loses_none_and_doubles_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = line_of(project)
    for seed in range(5):
        picture(project / f"inbox/{seed}.png", seed)
    poll(line, Params(), now=DAY)
    take, calls = Ledger.take, iter(range(9))

    def killed(self: Ledger, *arguments: object) -> bool:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return take(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "take", killed)
        with pytest.raises(KeyboardInterrupt):
            poll(line, Params(), now=DAY + 10)
    assert poll(line, Params(), now=DAY + 20).taken == 5
    assert len(taken(line)) == 5


@pytest.fixture
def bucket(object_store: str) -> Callable[[str, bytes], None]:
    import fsspec

    system = fsspec.filesystem("s3", endpoint_url=object_store, skip_instance_cache=True)
    if not system.exists("plant"):
        system.mkdir("plant")

    def put(key: str, content: bytes) -> None:
        system.pipe_file(f"plant/{key}", content)

    return put


def test_an_object_store_is_an_inbox(
    project: Path, object_store: str, bucket: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    options = {"endpoint_url": object_store}
    line = Line(name="line3", inbox="s3://plant/line3", taking=Inbox(settle=5.0, options=options))
    assert poll(line, Params(), now=DAY) == Poll(0, 0, 0, [])
    content = picture(tmp_path / "a.png", 1).read_bytes()
    bucket("line3/2026/a.png", content)
    bucket("line3/b.png", content)
    bucket("line3/cut.png", content[:90])
    bucket("line3/list.csv", b"no image")
    assert poll(line, Params(), now=2 * DAY).waiting == 3
    found = poll(line, Params(), now=2 * DAY + 10)
    assert found.taken == 1 and found.ignored == 1 and {path for path, _ in found.problems} == {"b.png", "cut.png"}
    assert taken(line) == ["1970-01-03/2026/a.png"]
    bucket("line3/2026/a.png", picture(tmp_path / "c.png", 2).read_bytes())  # another ETag
    assert twice(line, 3 * DAY).taken == 1


@pytest.mark.trust
def test_the_key_of_an_object_leads_to_no_other_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(name="line3", inbox="memory://plant", taking=Inbox(settle=5.0))
    place = open_place(line.inbox, {})
    assert isinstance(place, places._Elsewhere)
    keys = ("a.png", "../../../out.png", "x/../../out.png", "nul\0.png", "two\nlines.png")
    found = {f"{place.root}/{key}": {"size": 1, "created": 1} for key in keys}
    monkeypatch.setattr(place.system, "find", lambda *_, **__: found)
    listing = place.list()
    assert [file.path for file in listing.files] == ["a.png"]
    assert len(listing.unusable) == 4


def test_an_object_store_that_does_not_answer_is_named(project: Path, object_store: str) -> None:
    line = Line(
        name="line3",
        inbox="s3://plant/line3",
        taking=Inbox(options={"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}}),
    )
    with pytest.raises(OSError, match=r"s3://plant/line3: the inbox does not answer"):
        poll(line, Params())
