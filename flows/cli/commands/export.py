"""`irp export`: the result as a plain folder, for whatever trains on it next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import As, Format, Overrides, ParamsFile, Quiet, RunOrModel, read_params, reference_of
from irp_core.errors import InputError

__all__ = ["export"]


def export(
    run: RunOrModel,
    to: Annotated[Path, typer.Option("--to", help="Folder to make.")],
    copy: Annotated[bool, typer.Option("--copy/--link", help="Copies of the images, or symbolic links.")] = True,
    lists: Annotated[bool, typer.Option("--lists", help="kept.csv and removed.csv alone, no images.")] = False,
    params: ParamsFile = None,
    set_param: Overrides = None,
    as_: As = Format.table,
    quiet: Quiet = False,
) -> None:
    """Take the result out: the kept images as a folder, kept.csv and removed.csv. With or without DVC."""
    if lists and not copy:
        raise InputError("--lists goes without --link: it writes no images.")
    from irp_core.results.export import IMAGES_FOLDER, KEPT_LIST, REMOVED_LIST, How
    from tasks.export import export_run

    how: How = "lists" if lists else "copy" if copy else "link"
    checked = read_params(params, set_param)
    done = export_run(reference_of(run, checked), to, checked, how=how)
    if as_ is not Format.table:
        import pandas as pd

        from flows.terminal.answer import write_rows

        counts = {"kept": done.kept, "removed": done.removed, "decided_later": done.decided_later}
        write_rows(pd.DataFrame([{"folder": str(done.folder), **counts}]), as_.value, "exported")
        return
    console = Console(highlight=False, soft_wrap=True, quiet=quiet)
    where = f"{to / KEPT_LIST}" + ("" if lists else f", images in {to / IMAGES_FOLDER}")
    console.print(f"{done.kept} images kept: {where}")
    console.print(f"{done.removed} removed: {to / REMOVED_LIST}")
    if done.decided_later:
        console.print(
            f"{done.decided_later} of them were decided by a review after the detector was trained: "
            "the lists follow the review (column trained_on tells the detector's set)."
        )
