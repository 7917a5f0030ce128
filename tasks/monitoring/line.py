"""Watch the detector that a line has in service: each image is scored once, and a drift is told of once.

The commissioning window is the first images that the line took in after the detector was put into service. What is
known of them and of those after them is kept in `lines/NAME/monitoring/VERSION-SINCE`: no image is scored twice, and a
window does not change when more images come.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
from filelock import FileLock

from irp_core.atomic import atomic_path, read_json_object, write_json
from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.monitoring.now import Now, write_now
from irp_core.monitoring.repeats import BEFORE
from irp_core.monitoring.watched import MEASURED, Watched, alarm_began, alarm_reason, not_yet, watched
from irp_core.report.monitoring import render_monitoring
from tasks.monitoring.watching import measured
from tasks.notify import tell
from tasks.scoring import open_inspector

__all__ = ["LineSeen", "watch_line"]

_LOG = logging.getLogger(__name__)
_LOCK_SECONDS = 3600


@dataclass(frozen=True, eq=False)
class LineSeen:
    """What was found.

    Attributes:
        watched: the windows so far.
        page: the page that shows them.
        scored: images that were scored for the first time.
        told: what people were told of now, as a sentence; None: nothing new.
        problems: why they were not reached.
    """

    watched: Watched
    page: Path
    scored: int
    told: str | None
    problems: tuple[str, ...] = ()


def watch_line(line: Line, params: Params, version: str, since: datetime) -> LineSeen:
    """Score what came since the last time, hold full windows against the commissioning window, write the page, and tell
    people where an alarm began.

    Args:
        version: of the line's model, in service.
        since: when it was put into service.

    Raises:
        InputError: the version's files are gone or were changed.
    """
    model = f"{line.name}/{version}"
    line_folder = LineFolder(line.name).make()
    folder = line_folder.monitoring / f"{version}-{since:%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    table_file, told_file, page = folder / "measured.parquet", folder / "told.json", folder / "monitoring.html"
    with FileLock(folder / ".lock", timeout=_LOCK_SECONDS):
        known = _known(table_file)
        images = Ledger(line_folder.ledger).images()
        came = images[(images["taken_at"] > since.timestamp()) & ~images["image_id"].isin(known["image"])]
        todo = [(name, line_folder.images / name) for name in came["image_id"]]
        if todo:
            sound = [file_sha256(table_file)] if len(known) else []
            before = [line_folder.images / name for name in known.loc[known["seen"].astype(bool), "image"].tail(BEFORE)]
            table = measured(open_inspector(model, params, allow=[params.detector.name]), todo, params, before)
            unread = [name for name, _ in todo if name not in set(table["image"])]
            seen = pd.concat([table.assign(seen=True), pd.DataFrame({"image": unread, "seen": False})])
            known = pd.concat([known, seen], ignore_index=True) if len(known) else seen.reset_index(drop=True)
            with atomic_path(table_file) as temporary:
                known.to_parquet(temporary, index=False)
                # Before the table takes its place, so that a kill between the two leaves one of these.
                write_json(_digest_of(table_file), {"sha256": [*sound, file_sha256(temporary)]})
        found = _held(line, model, known)
        render_monitoring(found, params.images, page, title=model)
        told, problems = _told(line, model, found, told_file, page)
        write_now(line_folder.monitoring, _now(version, found))
    return LineSeen(found, page, len(todo), told, problems)


def _known(file: Path) -> pd.DataFrame:
    """What is known of the images so far; where it was damaged they are scored again."""
    if file.exists():
        try:
            digest = file_sha256(file)
            noted = read_json_object(_digest_of(file), "sha256")["sha256"] if _digest_of(file).exists() else digest
            if digest in (noted if isinstance(noted, list) else [noted]):  # irp up to 0.13 noted none
                table: pd.DataFrame = pd.read_parquet(file)
                return table
        except (InputError, OSError, ValueError):  # what pyarrow says of a file that is no table
            pass
        _LOG.warning("%s: was changed since it was written; its images are scored again.", file)
    return pd.DataFrame(columns=[*MEASURED, "seen"])


def _digest_of(table: Path) -> Path:
    return table.with_suffix(".json")


def _now(version: str, found: Watched) -> Now:
    if not len(found.windows):
        return Now(version, time.time(), 0)
    last = found.windows.to_dict("records")[-1]
    return Now(version, time.time(), len(found.windows), bool(last["alarm"]), last["ks"], last["alarm_share"])


def _held(line: Line, model: str, known: pd.DataFrame) -> Watched:
    scored = known[known["seen"].astype(bool)].astype({"score": "float64"}).reset_index(drop=True)
    reference, new = scored.iloc[: line.monitoring.reference], scored.iloc[line.monitoring.reference :]
    size = line.monitoring.window
    if len(reference) < line.monitoring.reference:
        return not_yet(model, reference, size=size)
    return watched(model, reference, new.reset_index(drop=True), size=size)


def _told(line: Line, model: str, found: Watched, file: Path, page: Path) -> tuple[str | None, tuple[str, ...]]:
    """Tell of an alarm that began in a window that nobody was told about."""
    before = 0
    with suppress(InputError):  # damaged: better told twice than never
        before = int(read_json_object(file, "windows")["windows"]) if file.exists() else 0
    began = alarm_began(found.windows, after=before)
    problems: list[str] = []
    reason = None
    if began is not None:
        reason = alarm_reason(began)
        payload = {"reason": reason, "version": model, "since": began["first"], "page": str(page)}
        problems = tell(line, "drift", payload, by="monitor")
    if len(found.windows) != before:
        write_json(file, {"windows": len(found.windows)})
    return reason, tuple(problems)
