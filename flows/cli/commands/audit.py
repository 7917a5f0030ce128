"""`irp audit`: an auditor's questions, answered from MLflow and DVC alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import AllowDetectors, As, Format, Overrides, ParamsFile, Quiet, read_params, reference_of
from flows.cli.project import InProject
from irp_core.errors import InputError

__all__ = ["audit"]

audit = typer.Typer(
    cls=InProject,
    help="Which images were removed, when, why: answered from MLflow and DVC alone.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


Reference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run (folder, id, beginning of an id, last), or a registered model NAME[@alias|/version]; :ITERATION if "
        "wanted.",
    ),
]


@audit.command()
def model(
    model: Reference,
    as_: As = Format.table,
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """A model's data set, the command that checks it out, its lineage, and the images removed before it."""
    from flows.terminal.audit import write_answer
    from tasks.audit.questions import describe_model

    checked = read_params(params, set_param)
    facts, removals = describe_model(reference_of(model, checked), checked)
    write_answer(facts, removals, as_.value, "Removed and reviewed images", "removed")


@audit.command()
def line(
    line: Annotated[str, typer.Argument(metavar="LINE", help="A line's name.")],
    as_: As = Format.table,
    params: ParamsFile = None,
    set_param: Overrides = None,
) -> None:
    """A line's versions: which were in service when, who promoted, refused or took back which, and why."""
    from flows.terminal.audit import write_answer
    from tasks.audit.lines import describe_line

    facts, events = describe_line(line, read_params(params, set_param))
    write_answer(facts, events, as_.value, "Promotions, refusals and rollbacks", "events")


@audit.command()
def image(
    image: Annotated[str, typer.Argument(metavar="PATH|MD5", help="An image file, its md5, or its id in a data set.")],
    as_: As = Format.table,
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """An image's history over all runs: its scores against the thresholds, kept or removed, and whose training set."""
    from flows.terminal.audit import write_answer
    from tasks.audit.questions import history_of_image

    history = history_of_image(image, read_params(params, set_param))
    last = history.drop_duplicates(["run", "image_id"], keep="last")
    trained = last[last["in_last_model"].eq(True)]
    facts = {
        "md5": ", ".join(history["md5"].dropna().unique()),
        "runs": history["run"].nunique(),
        "trained on by the final model of": ", ".join(trained["run"].unique()) or "none of them",
        "of these registered": ", ".join(sorted(set(trained["registered_as"].dropna()))) or None,
    }
    write_answer(facts, history, as_.value, "History", "history")


@audit.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A run or model, with :ITERATION if wanted.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    as_: As = Format.table,
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Which images two training sets do not share, and why."""
    from flows.terminal.audit import write_answer
    from tasks.audit.questions import compare_sets

    checked = read_params(params, set_param)
    facts, table = compare_sets(reference_of(first, checked), reference_of(second, checked), checked)
    write_answer(facts, table, as_.value, "Images that only one of them has", "difference")


@audit.command()
def verify(
    model: Reference,
    rescore: Annotated[bool, typer.Option("--rescore", help="Score the last training set again, too.")] = False,
    seal: Annotated[
        Path | None, typer.Option(help="A file of seals (irp audit seal --to) that the digests have to agree with.")
    ] = None,
    as_: As = Format.table,
    params: ParamsFile = None,
    set_param: Overrides = None,
    allow_detector: AllowDetectors = None,
    quiet: Quiet = False,
) -> None:
    """Recompute all that can be: digests, sets, decisions, tables, weights, and the files of a run that is given by its
    directory. Exit code 1 where something disagrees."""
    from dataclasses import asdict

    import pandas as pd

    from flows.terminal.audit import write_answer
    from tasks.audit.verify import verify as verify_run
    from tasks.runtime.progress import bar

    checked = read_params(params, set_param)
    with bar("Checking images") as advance:
        findings = verify_run(
            reference_of(model, checked),
            checked,
            rescore=rescore,
            seals=seal,
            progress=advance,
            allow=allow_detector or (),
        )
    counts = {status: sum(f.status == status for f in findings) for status in ("ok", "failed", "skipped")}
    table = pd.DataFrame([asdict(f) for f in findings])
    write_answer({"model": model, **counts}, table, as_.value, "Checks", "findings")
    if counts["failed"]:
        sys.exit(1)


@audit.command()
def seal(
    model: Reference,
    to: Annotated[
        Path | None, typer.Option(help="Append the seal to this file: a share that only the auditor can change.")
    ] = None,
    tag: Annotated[bool, typer.Option("--tag", help="Seal by a tag of this git repository; push it.")] = False,
    params: ParamsFile = None,
    set_param: Overrides = None,
) -> None:
    """Write the digest of a run's manifest where nobody rewrites it: verify then finds every later change."""
    from tasks.audit.seal import seal_run

    checked = read_params(params, set_param)
    line, done = seal_run(reference_of(model, checked), checked, to=to, tag=tag)
    print(line, end="")
    for sentence in done:
        Console(stderr=True).print(sentence, highlight=False, soft_wrap=True)


@audit.command()
def checkout(
    model: Reference,
    to: Annotated[Path | None, typer.Option(help="Folder to make; default: snapshots/RUN/iteration-NN.")] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Make a folder with exactly the images a model was trained on, from DVC's cache or remote."""
    from tasks.tracking.finding import find_run
    from tasks.versions.snapshots import checkout as checkout_set

    checked = read_params(params, set_param)
    run, iteration = find_run(reference_of(model, checked), checked)
    tags = run.model(iteration).data.tags
    number = int(tags["irp.iteration"])
    md5 = tags.get("irp.dvc_md5")
    if md5 is None:
        raise InputError(
            f"{run.run_id}: expected a run with DVC versions, found one made with snapshots.enabled=false."
        )
    target = to or Path(checked.snapshots.directory) / run.run_id / f"iteration-{number:02d}"
    checkout_set(md5, target, {"irp": {"run": run.run_id, "iteration": number}})
    Console(stderr=True, quiet=quiet).print(f"{target}: {md5}", highlight=False, soft_wrap=True)
