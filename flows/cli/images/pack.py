"""`irp pack`: a folder of images as tar shards, or an index for tar shards that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import As, Format, Overrides, ParamsFile, Quiet, read_params

__all__ = ["pack"]

_MB = 1_000_000


def pack(
    folder: Annotated[Path, typer.Argument(help="A folder of images; without --to, of tar shards (WebDataset).")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder to make: shards and their index.")] = None,
    shard_mb: Annotated[
        int, typer.Option("--shard-mb", min=1, max=100_000, help="Megabytes of images in a shard.")
    ] = 256,
    params: ParamsFile = None,
    set_param: Overrides = None,
    as_: As = Format.table,
    quiet: Quiet = False,
) -> None:
    """Pack images into tar shards with an index, which every command takes like the folder. docs/scale.md."""
    from irp_core.data.walk import EXTENSIONS, walk
    from irp_core.errors import InputError
    from irp_core.packed.adopting import adopt, shards_in
    from irp_core.packed.packing import pack as pack_images
    from tasks.runtime.progress import bar

    checked = read_params(params, set_param)
    if to is None:
        if folder.is_dir() and not shards_in(folder):
            raise InputError(
                f"{folder}: expected tar shards to index, found none; to pack its images name a folder --to."
            )
        with bar("Reading shards") as advance:
            done = adopt(folder, EXTENSIONS, progress=advance)
    else:
        tree = walk(folder)
        with bar("Packing images") as advance:
            done = pack_images(
                folder,
                tree.images,
                to,
                left_out=tree.left_out,
                shard_bytes=shard_mb * _MB,
                max_bytes=checked.images.max_bytes,
                progress=advance,
            )
    counts = {"images": done.images, "shards": done.shards, "bytes": done.bytes, "left_out": done.left_out}
    if as_ is not Format.table:
        import pandas as pd

        from flows.terminal.answer import write_rows

        write_rows(pd.DataFrame([{"folder": str(done.folder), **counts}]), as_.value, "packed")
    elif quiet:
        print(done.folder)
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"{done.images} images, {done.bytes / _MB:.1f} MB, in {done.shards} shards: {done.folder}")
        if done.left_out:
            console.print(f"{done.left_out} other files are left out: {done.folder / 'left_out.parquet'} says why")
        console.print(f"[bold]Next[/bold]  irp refine {done.folder}")
