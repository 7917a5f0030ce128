"""Begin a round: what the ledger knows becomes a prepared set, and only images that nobody looked at are read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from irp_core.config import Images, Params
from irp_core.config.lines import Line
from irp_core.data.look import Facts, look
from irp_core.data.scan import pictures_below
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.line.rounds import LineRound, begin_round, last_with, rounds_of
from irp_core.line.selection import due, in_window, select
from irp_core.run.directory import RunDirectory, is_run
from tasks.inbox.poll import Poll, look_key, poll_until_settled
from tasks.runtime.progress import bar
from tasks.runtime.retries import IO_RETRIES
from tasks.steps.prepare import standing_decisions

__all__ = ["begin", "new_decisions", "take_in"]


@task(task_run_name="take-in-{line.name}", cache_policy=NO_CACHE, **IO_RETRIES)
def take_in(line: Line, params: Params) -> Poll:
    """Take in what is new and complete in the inbox; retried, because a plant's network share may blink."""
    with bar("Taking in images") as advance:
        found = poll_until_settled(line, params, progress=advance)
    logger = get_run_logger()
    logger.info("Inbox %s: %d taken in, %d still being written", line.inbox, found.taken, found.waiting)
    for path, problem in found.problems:
        logger.warning("%s: %s", path, problem)
    return found


@task(task_run_name="begin-{line.name}", cache_policy=NO_CACHE)
def begin(line: Line, params: Params, force: bool = False) -> LineRound | None:
    """Begin a round if one is due; None where none is.

    Args:
        force: with one new image, too, or with none.
    """
    folder = LineFolder(line.name).make()
    ledger, now = Ledger(folder.ledger), time.time()
    images = ledger.images()
    reason = due(images, line, now, new_decisions(line, params)) or ("it was asked for" if force else None)
    if reason is None or images.empty:
        return None
    chosen = in_window(images, line.history)
    facts = _facts(ledger, folder, chosen, params.images, params.features.workers)
    missing = [image for image in chosen["image_id"] if image not in facts]
    golden = _golden(line, params)
    selection = select(chosen, images, facts, params, golden, missing)
    begun = begin_round(folder, selection, params.model_dump(mode="json"), reason, now)
    get_run_logger().info("Round %d of %s: %s, %d images", begun.number, line.name, reason, len(selection.manifest))
    return begun


def new_decisions(line: Line, params: Params) -> int:
    """How many of the reviewers' decisions about the last round's images that round did not know."""
    last = last_with(rounds_of(LineFolder(line.name)), "run")
    if last is None or not is_run(Path(last.record()["run"])):
        return 0
    known = RunDirectory(Path(last.record()["run"])).decisions()
    now = standing_decisions(params, last.prepared.manifest())
    both = now.merge(known, on=["md5", "decision"], how="left", indicator=True)
    return int((both["_merge"] == "left_only").sum())


def _facts(ledger: Ledger, folder: LineFolder, chosen: pd.DataFrame, images: Images, workers: int) -> dict[str, Facts]:
    """What is known of images; those that were looked at with other settings are looked at again. Without those whose
    file is gone, or cannot be read with these settings."""
    key = look_key(images)
    there = [image for image in chosen["image_id"] if (folder.images / image).is_file()]
    facts = ledger.facts(there, key)
    again = [image for image in there if image not in facts]
    with ThreadPoolExecutor(workers) as pool, ledger.together():
        for image, seen in zip(again, pool.map(lambda image: look(folder.images / image, images), again), strict=True):
            if isinstance(seen, Facts):
                ledger.look_again(image, seen, key)
                facts[image] = seen
    return facts


def _golden(line: Line, params: Params) -> Mapping[str, NDArray[np.uint8]]:
    """md5 → thumbnail of the golden images."""
    if line.golden is None:
        return {}
    root = Path(line.golden)
    found = pictures_below(root, params.images, params.features.workers)
    if not found:
        raise InputError(f"golden {root}: expected labelled images, found none that can be read.")
    return found
