"""Images in shards: what the folder held, in plain tar files, the same bytes every time, whole after any kill."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from irp_core.config import Images
from irp_core.data.scan import Scan, scan
from irp_core.data.walk import walk
from irp_core.errors import InputError
from irp_core.packed import packing
from irp_core.packed.adopting import adopt
from irp_core.packed.images import copy_image, image_md5, is_image, read_image
from irp_core.packed.index import open_packed, write_checked
from irp_core.packed.layout import INDEX, INDEX_SCHEMA, SHARDS, SHARDS_SCHEMA
from irp_core.packed.packing import Packed, pack

LONG = "a" * 90 + "/" + "b" * 90 + ".png"  # longer than the names of the oldest tar files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "images"
    for number, name in enumerate(["good/1.png", "good/2.png", "good/ü 3.png", LONG, "scratch/1.png"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 24), (40 * number, 90, 30)).save(root / name)
    shutil.copy(root / "good/1.png", root / "good/copy.png")
    (root / "good/empty.png").touch()
    (root / "good/Thumbs.db").write_bytes(b"x")
    (root / "good/nowhere.png").symlink_to("gone.png")
    return root


def packed_into(root: Path, to: Path, shard_bytes: int = 250) -> Packed:
    tree = walk(root)
    return pack(root, tree.images, to, left_out=tree.left_out, shard_bytes=shard_bytes, max_bytes=10**6)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_packed_set_is_read_like_the_folder(folder: Path, tmp_path: Path) -> None:
    done = packed_into(folder, tmp_path / "packed")
    assert (done.images, done.shards > 1, done.left_out) == (7, True, 2)
    tables: list[Scan] = [scan(root, "folder") for root in (folder, tmp_path / "packed")]
    for name in ("manifest", "quarantine", "duplicates", "ignored", "near_copies", "notes"):
        assert getattr(tables[0], name).equals(getattr(tables[1], name)), name
    for name in tables[0].manifest["image_id"]:
        address = tmp_path / "packed" / name
        assert is_image(address) and read_image(address) == (folder / name).read_bytes()
        assert image_md5(address) == image_md5(folder / name)
    assert not is_image(tmp_path / "packed" / "good/none.png")


def test_the_shards_are_plain_tar_files_that_unpack_to_the_folder(folder: Path, tmp_path: Path) -> None:
    packed_into(folder, tmp_path / "packed")
    names: list[str] = []
    for shard in sorted((tmp_path / "packed").glob("shard-*.tar")):
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            names += [member.name for member in members]
            assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} <= {(0, 0, 0, "")}
            for member in members:
                content = tar.extractfile(member)
                assert content is not None and content.read() == (folder / member.name).read_bytes()
    assert names == list(walk(folder).images)


def test_the_same_images_give_the_same_bytes_wherever_a_kill_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere", symlinks=True)
    packed_into(tmp_path / "elsewhere", tmp_path / "whole")
    wanted = files(tmp_path / "whole")
    done: list[Path] = []

    class Killed(BaseException):
        pass

    def killing(after: int, real: Callable[[Path, int], bytes]) -> Callable[[Path, int], bytes]:
        def read(path: Path, max_bytes: int) -> bytes:
            done.append(path)
            if len(done) > after:
                raise Killed
            return real(path, max_bytes)

        return read

    for after in (0, 3, 6):
        done.clear()
        with monkeypatch.context() as patch:
            patch.setattr(packing, "read_image", killing(after, read_image))
            with pytest.raises(Killed):
                packed_into(folder, tmp_path / str(after))
        with pytest.raises(InputError, match="its packing did not end"):
            walk(tmp_path / str(after))
        read_again: list[Path] = []
        with monkeypatch.context() as patch:
            patch.setattr(
                packing,
                "read_image",
                lambda path, most, seen=read_again: (seen.append(path), read_image(path, most))[1],
            )
            packed_into(folder, tmp_path / str(after))
        assert files(tmp_path / str(after)) == wanted
        assert len(read_again) <= 7 and (after < 6 or len(read_again) < 7)  # whole shards are not read again


def test_what_changed_after_a_kill_is_packed_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(folder, tmp_path / "images", symlinks=True)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            packed_into(root, tmp_path / "packed")
    Image.new("RGB", (32, 24), (1, 2, 3)).save(root / "good/2.png")
    (root / "scratch/1.png").unlink()
    packed_into(root, tmp_path / "packed")
    packed_into(root, tmp_path / "fresh")
    assert files(tmp_path / "packed") == files(tmp_path / "fresh")


def test_shards_of_others_get_an_index_where_they_lie(folder: Path, tmp_path: Path) -> None:
    packed_into(folder, tmp_path / "packed")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for shard in (tmp_path / "packed").glob("*.tar"):
        shutil.copy(shard, theirs)
    with tarfile.open(theirs / "more.tar", "w") as tar:
        tar.add(folder / "good/1.png", "./more/1.png")
        tar.add(folder / "good/Thumbs.db", "more/1.cls")
    before = files(theirs)
    assert (done := adopt(theirs, (".png",))).images == 8 and done.left_out == 1
    assert read_image(theirs / "more/1.png") == (folder / "good/1.png").read_bytes()
    assert read_image(theirs / LONG) == (folder / LONG).read_bytes()
    assert files(theirs).items() >= before.items()
    assert walk(theirs).left_out == [("more/1.cls", 1, "no image (.cls)", False)]


@pytest.mark.parametrize("kind", ["header", "no end", "two archives"])
def test_a_shard_of_which_tar_reads_only_a_part_is_refused(kind: str, folder: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard-000000.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("1.png", "2.png"):
            tar.add(folder / "good/1.png", name)
        second = tar.getmember("2.png").offset
        end = tar.offset
    content = shard.read_bytes()
    shard.write_bytes(
        {
            "header": content[:second] + b"?" + content[second + 1 :],
            "no end": content[:end],
            "two archives": content * 2,
        }[kind]
    )
    with pytest.raises(InputError, match=r"shard-000000\.tar: expected a whole tar file"):
        adopt(tmp_path, (".png",))
    assert not (tmp_path / "packed.parquet").exists()


@pytest.mark.parametrize("name", ["../1.png", "/1.png", "there.png"])
def test_a_copy_overwrites_nothing(name: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    there = [tmp_path / "1.png", tmp_path / "to/there.png"]
    for file in there:
        file.write_bytes(b"of somebody else")
    name = f"{tmp_path}{name}" if name.startswith("/") else name
    packed_into(folder, tmp_path / "packed")
    with pytest.raises(InputError, match="expected the path of one image below"):
        copy_image(tmp_path / "packed/good/1.png", tmp_path / "to", name, link=True)
    assert {file.read_bytes() for file in there} == {b"of somebody else"}


@pytest.mark.parametrize("kind", ["escape", "absolute", "link", "device", "sparse", "twice", "cut", "gz", "none"])
def test_hostile_shards_are_refused(kind: str, folder: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard-000000.tar"
    names = {"escape": "../../etc/x.png", "absolute": "/etc/x.png"}
    with tarfile.open(shard, "w:gz" if kind == "gz" else "w") as tar:
        member = tarfile.TarInfo(names.get(kind, "x.png"))
        member.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE, "sparse": tarfile.GNUTYPE_SPARSE}.get(
            kind, tarfile.REGTYPE
        )
        member.linkname = "/etc/passwd" if kind == "link" else ""
        tar.addfile(member)
        for _ in range(2 if kind == "twice" else 1):
            tar.add(folder / "good/1.png", "y.png")
    if kind == "cut":
        shard.write_bytes(shard.read_bytes()[:1100])
    if kind == "none":
        shard.unlink()
    with pytest.raises(InputError):
        adopt(tmp_path, (".png",))
    assert not (tmp_path / "packed.parquet").exists()


def test_a_packed_set_that_was_tampered_with_is_refused_or_quarantined(folder: Path, tmp_path: Path) -> None:
    packed_into(folder, tmp_path / "packed", shard_bytes=10**6)
    shard = tmp_path / "packed" / "shard-000000.tar"
    place = open_packed(tmp_path / "packed").find("good/2.png")
    assert place is not None
    content = bytearray(shard.read_bytes())
    content[place.offset + 40] ^= 1
    shard.write_bytes(content)
    found = scan(tmp_path / "packed", "folder")
    reasons = dict(found.quarantine.itertuples(index=False))
    assert reasons["good/2.png"] == "its bytes in the shard are not those that the packed set's index names"
    with pytest.raises(InputError, match="not those that"):
        image_md5(tmp_path / "packed" / "good/2.png")
    shard.write_bytes(content[: place.offset + 10])
    with pytest.raises(InputError, match="ends before the image does"):
        read_image(tmp_path / "packed" / "good/2.png", Images().max_bytes)
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_image(tmp_path / "packed" / "good/1.png", 10)


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("image", {"image_id": "../x.png"}, "lies outside"),
        ("image", {"image_id": "a//x.png"}, "lies outside"),
        ("image", {"offset": -1}, "outside of their shard"),
        ("image", {"bytes": 2**62}, "outside of their shard"),
        ("image", {"shard": 9}, "names a shard"),
        ("image", {"md5": "no digest"}, "32 hexadecimal"),
        ("shard", {"name": "../x.tar"}, "names of .tar"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(
    table: str, change: dict[str, object], says: str, tmp_path: Path
) -> None:
    image = {"image_id": "x.png", "md5": "0" * 32, "shard": 0, "offset": 0, "bytes": 9}
    shard = {"number": 0, "name": "a.tar", "md5": "0" * 32, "bytes": 9, "images": 1}
    for row, name, schema in ((image, INDEX, INDEX_SCHEMA), (shard, SHARDS, SHARDS_SCHEMA)):
        changed = row | change if (row is image) == (table == "image") else row
        write_checked(pd.DataFrame([changed]), tmp_path / name, schema)
    with pytest.raises(InputError, match=says):
        walk(tmp_path)


def test_a_target_that_holds_something_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    for to in (tmp_path / "full", folder / "packed", folder.parent):
        with pytest.raises(InputError):
            packed_into(folder, to)
    packed_into(folder, tmp_path / "packed")
    with pytest.raises(InputError, match="holds a packed set"):
        packed_into(folder, tmp_path / "packed")
    # Beside the shards, or below another folder, nothing goes unsaid.
    (tmp_path / "packed" / "new.png").write_bytes(b"x")
    assert walk(tmp_path / "packed").ignored[-1].reason == "beside the shards of a packed set"
    assert walk(tmp_path).ignored[-1].reason == "a packed set, which is refined by itself"
