"""`irp gc`: what takes room and is no longer needed; deleted only when asked."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import Overrides, ParamsFile, Quiet, read_params

__all__ = ["gc"]

_NAMES = {
    "run": "folders of runs",
    "weights": "weights in MLflow",
    "cache": "images in DVC's cache",
    "features": "features",
    "image": "images of lines",
    "round": "rounds of lines",
}
_LISTED = 20


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it nothing is touched.")] = False,
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Show what `retention` would delete and why the rest stays; with --delete, delete it.

    Never deleted: what a registered version, a rollback, an open review or an audit needs, and images that DVC's
    default remote lacks.
    """
    console = Console(highlight=False, quiet=quiet)
    chosen = read_params(params, set_param)
    with Console(stderr=True, quiet=quiet).status("Looking …"):
        from flows.housekeeping import keep_house

        made, problems = keep_house(chosen, delete)
    table = Table("what", "", "why", "number", "bytes")
    for (kind, going, reason), rows in made.groupby(["kind", "delete", "reason"], sort=True):
        table.add_row(
            _NAMES[kind],
            ("deleted" if delete else "would go") if going else "stays",
            reason,
            str(len(rows)),
            f"{int(rows['bytes'].sum()):,}",
        )
    console.print(table)
    going = made[made["delete"]]
    for row in going[~going["kind"].isin(("cache", "image"))].head(_LISTED).itertuples():
        console.print(f"{row.name}: {row.reason}", soft_wrap=True)
    for problem in problems:
        console.print(f"[yellow]Not deleted:[/yellow] {problem}", soft_wrap=True)
    freed = int(going["bytes"].sum())
    if delete:
        console.print(f"{len(going) - len(problems)} deleted, {freed:,} bytes.")
    else:
        console.print(f"{len(going)} would be deleted, {freed:,} bytes. `irp gc --delete` does it.")
