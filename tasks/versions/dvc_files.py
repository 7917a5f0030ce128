"""The `.dvc` file beside a training set's folder: the one place that knows how it is named, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from irp_core.atomic import atomic_path
from irp_core.text.plain_yaml import read_yaml

__all__ = ["counted_in", "dvc_file_of", "lineage_of", "names_version", "version_of", "write_dvc_file", "write_text"]


def dvc_file_of(target: Path) -> Path:
    """As `dvc add` names it: the whole name, whatever dots are in it."""
    return target.with_name(f"{target.name}.dvc")


def write_dvc_file(target: Path, md5: str, counted: dict[str, int], meta: dict[str, Any] | None) -> None:
    """Say beside `target` that it is the version `md5`.

    Args:
        counted: `nfiles` of a folder, `size` in bytes of a file.
        meta: DVC leaves it alone.
    """
    output = {"md5": md5, **counted, "hash": "md5", "path": target.name}
    text = yaml.safe_dump({"outs": [output], **({"meta": meta} if meta else {})}, sort_keys=False)
    write_text(dvc_file_of(target), text)


def names_version(file: Path, md5: str) -> bool:
    """Whether `file` is a `.dvc` file whose output is the version `md5`: a comment that says so does not count."""
    return version_of(file) == md5


def version_of(file: Path) -> str | None:
    """The version that a `.dvc` file of one output names; None where there is no such file, or it names none."""
    try:
        (output,) = read_yaml(file)["outs"]
        return str(output["md5"]) if output["path"] == file.name.removesuffix(".dvc") else None
    except (ValueError, KeyError, TypeError):  # InputError is a ValueError
        return None


def counted_in(file: Path) -> dict[str, Any]:
    """`nfiles` and `size` that a `.dvc` file of one output says, as `write_dvc_file` wrote them; nothing where none."""
    try:
        (output,) = read_yaml(file)["outs"]
        return {name: output[name] for name in ("nfiles", "size") if name in output}
    except (ValueError, KeyError, TypeError):
        return {}


def lineage_of(file: Path) -> dict[str, Any]:
    """What a `.dvc` file says of the run that made it (`meta.irp`); nothing where it says nothing."""
    try:
        return dict(read_yaml(file)["meta"]["irp"])
    except (ValueError, KeyError, TypeError):
        return {}


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
