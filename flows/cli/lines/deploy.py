"""`irp deploy`: a project's lines in a Prefect server that keeps running, where any worker carries their rounds out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from irp_core.errors import InputError

if TYPE_CHECKING:
    from irp_core.config.lines import Line
    from tasks.deployments import Deployed

__all__ = ["deploy", "deployments_of"]


def deploy(
    pool: Annotated[str, typer.Option(help="Work pool, of type process; made where it is missing.")] = "irp",
    gc: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help='Delete by a schedule what `irp gc --delete` would, e.g. "0 5 * * 0"; default: by hand.',
        ),
    ] = None,
) -> None:
    """Deploy the lines in params/lines to the server of PREFECT_API_URL: schedules, triggers, one round at a time.

    Again after a change of a line: what changed is changed, what is gone is deleted.
    """
    from irp_core.line.definition import line_names, load_line

    project = Path.cwd()
    if not (project / "params" / "lines").is_dir():
        raise InputError(f"{project}: expected a project with lines (params/lines), found none; see `irp line add`.")
    lines = [load_line(name, project) for name in line_names(project)]
    with Console(stderr=True).status("Deploying …"):
        from prefect.schedules import Cron

        from tasks.deployments import deploy as deploy_all

        try:
            _ = gc and Cron(gc)
        except ValueError:
            raise InputError(
                f'--gc expects five fields as cron writes them, for example "0 5 * * 0". Got {gc!r}.'
            ) from None
        made, gone = deploy_all(deployments_of(lines, project, gc), project, pool=pool)
    console = Console(highlight=False, soft_wrap=True)
    for name in made:
        console.print(f"deployed  {name}")
    for name in gone:
        console.print(f"deleted   {name}")
    console.print(f"[bold]Next[/bold]  prefect worker start --pool {pool} --type process")


def deployments_of(lines: Iterable[Line], project: Path, gc: str | None = None) -> list[Deployed]:
    """Of each line `retrain`, `watch`, `monitor` and `promote`, and the project's housekeeping.

    Args:
        gc: when housekeeping deletes, as cron writes it; None: it has no schedule.
    """
    from flows.housekeeping import housekeeping
    from flows.line.promote import promote
    from flows.line.serving import deployments_of_line
    from tasks.deployments import Deployed

    made = []
    for line in lines:
        given = {"line": line.name, "project": str(project)}
        said = f"Put a version of {line.name} into service: say which, who decides and why."
        made += [*deployments_of_line(line, project), Deployed(line.name, promote, given, description=said)]
    what = "Delete what `retention` lets go of; without `deleting` only say what."
    return [*made, Deployed("project", housekeeping, {"deleting": gc is not None}, cron=gc, description=what)]
