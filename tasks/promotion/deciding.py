"""Put a version into service, refuse it, take it back: by a person or by the line's policy, told to whom it concerns.

Plain functions: the commands call them without Prefect, the flows inside a flow run.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.line.rounds import round_of
from tasks.notify import tell
from tasks.promotion.registry import ROUND, open_registry
from tasks.tracking.artifacts import log_files
from tasks.tracking.records import ASKED, PROMOTED, REFUSED, Record

__all__ = ["ask_person", "decided", "promote_version", "refuse_version", "roll_back_line", "tell_decided"]


def promote_version(line: Line, params: Params, number: str, by: str, why: str) -> Record:
    """Put a version into service, if its training set can be pulled elsewhere.

    Raises:
        InputError: no such version, it is in service already, or its set is not to be had by others.
    """
    from tasks.versions.publish import check_published  # brings DVC along, which a rollback does not need

    with open_registry(line, params) as registry:
        tags = registry.version(number).tags
        if "irp.dvc_md5" in tags:
            check_published(tags["irp.dvc_md5"], tags["irp.dvc_file"], line)
        record = registry.promote(number, by, why, files=_files(line, tags.get(ROUND)))
    _tell(line, "promoted", record)
    return record


def refuse_version(
    line: Line, params: Params, number: str, by: str, why: str, *, set_aside: bool = False
) -> tuple[Record, int]:
    """Do not put a version into service; returns the number of images that were set aside, too.

    Args:
        set_aside: no longer train on the images that were new in the version's round.

    Raises:
        InputError: no such version, or it is in service.
    """
    with open_registry(line, params) as registry:
        tags = registry.version(number).tags
        record = registry.refuse(number, by, why, files=_files(line, tags.get(ROUND)))
    aside = 0
    if set_aside and record.round is not None:
        reason = f"refused by {by}: {why}"
        with suppress(InputError):  # the round's record is the copy that a damaged ledger is made again from
            round_of(LineFolder(line.name), record.round).note(set_aside=reason)
        aside = Ledger(LineFolder(line.name).ledger).set_aside(int(record.round), reason)
    _tell(line, "refused", record)
    return record, aside


def ask_person(line: Line, params: Params, number: str, why: str) -> Record:
    """Put on record, and tell, that a person has to decide about a version."""
    with open_registry(line, params) as registry:
        tags = registry.version(number).tags
        record = registry.ask(number, why, files=_files(line, tags.get(ROUND)))
    _tell(line, "challenger_waits", record)
    return record


def roll_back_line(line: Line, params: Params, by: str, why: str, to: str | None = None) -> Record:
    """Take the version in service back; see `Registry.roll_back`."""
    with open_registry(line, params) as registry:
        record = registry.roll_back(by, why, to)
    tell(
        line,
        "rolled_back",
        {"version": f"{line.name}/{record.replaced}", "taken_back": record.version, "by": by, "reason": why},
    )
    return record


def decided(line: Line, params: Params, number: str, round_number: int) -> Record | None:
    """What was decided about a version in its round, if that is on record: a round that was killed decides once.

    The record has the comparison's files then, too.
    """
    with open_registry(line, params) as registry:
        events = (ASKED, PROMOTED, REFUSED)
        found = [
            record
            for record in registry.records()
            if record.version == number and record.event in events and record.round == str(round_number)
        ]
        if not found:
            return None
        log_files(registry.client, found[-1].mlflow_run, {"comparison": _files(line, str(round_number))})
    return found[-1]


def tell_decided(line: Line, record: Record) -> None:
    """Tell what was decided, once more: whoever was killed after the decision may not have told it."""
    _tell(line, {ASKED: "challenger_waits", PROMOTED: "promoted", REFUSED: "refused"}[record.event], record)


def _files(line: Line, round_number: str | None) -> list[Path]:
    """The comparison's table and page, where this machine has them as they were written."""
    return [] if round_number is None else round_of(LineFolder(line.name), round_number).comparison()


def _tell(line: Line, event: str, record: Record) -> None:
    tell(
        line,
        event,
        {
            "version": f"{line.name}/{record.version}",
            "replaced": record.replaced,
            "by": record.by,
            "reason": record.why,
            "round": record.round,
        },
    )
