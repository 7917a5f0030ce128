"""Folders with files that are no plain images of the set: links, pipes, names, trash, other formats, own outputs."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import yaml

from irp_core.data.own_output import MARKER
from tests.irp_core.data.brought import Case, picture, pictures

__all__ = ["FILES_BROUGHT"]

_TWO = ("1.png", "2.png")


def _with(change):  # type: ignore[no-untyped-def]
    """Two images, and what `change` adds."""

    def make(root: Path) -> None:
        pictures(root, *_TWO)
        change(root)

    return make


def _touch(*names: str):  # type: ignore[no-untyped-def]
    def change(root: Path) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")

    return _with(change)


def _link(to: str, name: str):  # type: ignore[no-untyped-def]
    return _with(lambda root: (root / name).symlink_to(to))


def _linked_folder(root: Path) -> None:
    picture(root.parent / "elsewhere" / "3.png")
    (root / "more").symlink_to(root.parent / "elsewhere")


def _links_to_each_other(root: Path) -> None:
    picture(root / "a" / "3.png")
    picture(root / "b" / "4.png")
    (root / "a" / "b").symlink_to("../b")
    (root / "b" / "a").symlink_to("../a")


def _socket(root: Path) -> None:
    here = Path.cwd()
    os.chdir(root)  # the path of a socket may have 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s.png")
    finally:
        os.chdir(here)


def _raw_name(folder: bool):  # type: ignore[no-untyped-def]
    def change(root: Path) -> None:
        name = os.fsencode(root) + b"/caf\xe9" + (b"" if folder else b".png")
        if folder:
            os.mkdir(name)  # noqa: PTH102
            name += b"/3.png"
        shutil.copy(os.fsencode(root / "1.png"), name)

    return _with(change)


def _checked_out(root: Path) -> None:
    """As `dvc checkout` leaves a refined set below the raw one."""
    folder = root / "snapshots" / "run" / "iteration-01"
    pictures(folder, *_TWO)
    meta = {"irp": {"run": "run", "iteration": 1}}
    folder.with_name("iteration-01.dvc").write_text(yaml.safe_dump({"outs": [], "meta": meta}, sort_keys=False))


def _exported(root: Path) -> None:
    pictures(root / "clean", *_TWO)
    (root / "clean" / MARKER).touch()


_ODD = ("a b.png", "komma,1.png", 'quote".png', "[red]x.png", "new\nline.png", "-o.png", "é.png", "图.JPG", "Y.TIFF")

FILES_BROUGHT = (
    Case("a pipe", _with(lambda root: os.mkfifo(root / "p.png")), train=2, quarantined={"p.png": "no regular file"}),
    Case("a socket", _with(_socket), train=2, quarantined={"s.png": "no regular file"}),
    Case("a link to /dev/zero", _link("/dev/zero", "z.png"), train=2, quarantined={"z.png": "no regular file"}),
    Case("a link to itself's folder", _link(".", "a"), train=2, quarantined={"a/": "the data set's own folder"}),
    Case("a link to the folder above", _link("..", "a"), train=2, quarantined={"a/": "holds the data set"}),
    Case("a link to the root", _link("/", "a"), train=2, quarantined={"a/": "holds the data set"}),
    Case(
        "links to each other",
        _with(_links_to_each_other),
        train=4,
        quarantined={"a/b/": "a link to b,", "b/a/": "a link to a,"},
    ),
    Case("a link in a circle", _link("l.png", "l.png"), train=2, quarantined={"l.png": "a link that leads nowhere"}),
    Case("a broken link", _link("gone.png", "l.png"), train=2, quarantined={"l.png": "a link that leads nowhere"}),
    Case("a link to an image", _link("1.png", "l.png"), train=2, quarantined={"l.png": "the same file as 1.png"}),
    Case(
        "a hard link",
        _with(lambda root: (root / "9.png").hardlink_to(root / "1.png")),
        train=2,
        quarantined={"9.png": "the same file as 1.png"},
    ),
    Case("a linked folder", _with(_linked_folder), train=3),
    Case("a file name in Latin-1", _raw_name(False), train=2, quarantined={"caf\\xe9.png": "is not UTF-8"}),
    Case("a folder name in Latin-1", _raw_name(True), train=2, quarantined={"caf\\xe9/": "UTF-8: rename it"}),
    Case("odd names", lambda root: pictures(root, *_ODD), train=len(_ODD)),
    Case(
        "an image beyond a long name",
        _with(lambda root: picture(root / ("x" * 251 + ".png"))),
        train=3,
    ),
    Case(
        "hidden files",
        _touch("._1.png", ".DS_Store", ".hidden/3.png", ".git/objects/4"),
        train=2,
        ignored={
            "._1.png": "macOS",
            ".DS_Store": "a hidden file",
            ".hidden/": "a hidden folder",
            ".git/": "a hidden folder",
        },
    ),
    Case(
        "a network storage",
        _touch("@eaDir/1.png@SynoEAStream", "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/9.png", "thumbs/1.jpg"),
        train=2,
        ignored={"@eaDir/": "storage system", "#recycle/": "trash", "thumbs/": "thumbnails"},
    ),
    Case(
        "an old disk",
        _touch(".Trash-1000/files/9.png", "$RECYCLE.BIN/9.png", "__MACOSX/._1.png", "Thumbs.db"),
        train=2,
        ignored={".Trash-1000/": "trash", "$RECYCLE.BIN/": "trash", "__MACOSX/": "storage", "Thumbs.db": "no image"},
    ),
    Case(
        "formats that are not read",
        _touch("a.gif", "b.jfif", "c.pgm", "d.HEIC", "e.eps"),
        train=2,
        ignored={
            "a.gif": "a format that is not read (.gif)",
            "b.jfif": "not read",
            "c.pgm": "not read",
            "d.HEIC": "not read (.heic)",
            "e.eps": "not read",
        },
    ),
    Case(
        "annotations",
        _touch("1.xml", "labels.csv", "README", "coco.json", "1.txt"),
        train=2,
        ignored={
            "1.xml": "no image (.xml)",
            "labels.csv": "no image",
            "README": "no image (no ending)",
            "coco.json": "no image",
            "1.txt": "no image",
        },
    ),
    Case(
        "a refined set checked out below",
        _with(_checked_out),
        train=2,
        ignored={"snapshots/run/iteration-01/": "that irp refined", "snapshots/run/iteration-01.dvc": "no image"},
    ),
    Case("an exported set below", _with(_exported), train=2, ignored={"clean/": "written by irp"}),
)
