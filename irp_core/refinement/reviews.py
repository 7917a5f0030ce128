"""A person's decisions about images: an append-only list of events, matched by content.

A decision holds for the image's md5, not for its path: a moved copy is the same image, a changed file under the
same name is not. The latest event about an image counts; `withdrawn` takes its reviewer's own decision back, `approved`
is said of a whole run and names no image. In a CSV file each event has a digest beside it (`event_digests`).
"""

from __future__ import annotations

import codecs
import io
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
from filelock import FileLock

from irp_core.atomic import atomic_path
from irp_core.errors import InputError
from irp_core.refinement.event_digests import DIGEST, digest_column, event_digest, wrong_rows
from irp_core.refinement.review_times import in_order, moment
from irp_core.text.spreadsheet import escaped, unescaped

__all__ = [
    "APPROVED",
    "KEPT_BY_REVIEW",
    "REMOVED_BY_REVIEW",
    "REVIEW_SCHEMA",
    "WITHDRAWN",
    "append_events",
    "approval",
    "changed_events",
    "current_decisions",
    "event",
    "no_events",
    "read_events",
]

KEPT_BY_REVIEW = "kept_by_review"
REMOVED_BY_REVIEW = "removed_by_review"
WITHDRAWN = "withdrawn"
APPROVED = "approved"
_EVENTS = (KEPT_BY_REVIEW, REMOVED_BY_REVIEW, WITHDRAWN, APPROVED)
REVIEW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("image_id", "md5", "decision", "reviewer", "reviewed_at", "note", "run_id")]
)
_COLUMNS = [*REVIEW_SCHEMA.names, DIGEST]


def no_events() -> pd.DataFrame:
    """A list of events without rows."""
    frame: pd.DataFrame = REVIEW_SCHEMA.empty_table().to_pandas()
    return frame


def event(
    decision: str, *, image_id: str | None, md5: str | None, reviewer: str, reviewed_at: str, note: str, run_id: str
) -> dict[str, str | None]:
    """One event; `image_id` and `md5` are None for `approved` only.

    Raises:
        ValueError: an unknown decision, or nobody who made it.
        InputError: a name or a note with characters that are no text (control characters, half of a pair).
    """
    if decision not in _EVENTS:
        raise ValueError(f"decision must be one of {_EVENTS}. Got {decision!r}.")
    if not reviewer.strip():
        raise ValueError("A decision needs the name of its reviewer. Got none.")
    return {
        "image_id": image_id,
        "md5": md5,
        "decision": decision,
        "reviewer": _plain("reviewer", reviewer.strip()),
        "reviewed_at": reviewed_at,
        "note": _plain("note", note.strip().replace("\r\n", "\n"), "\n\t") or None,
        "run_id": run_id,
    }


def _plain(what: str, text: str, allowed: str = "") -> str:
    strange = [char for char in text if unicodedata.category(char) in ("Cc", "Cs") and char not in allowed]
    if strange:
        raise InputError(f"{what}: expected text, found the character U+{ord(strange[0]):04X}.")
    return text


def current_decisions(events: pd.DataFrame) -> pd.DataFrame:
    """The events that still count, one row per md5: kept or removed by review, sorted by md5.

    Later times win over earlier ones, of equal times the later row. `withdrawn` takes back what its reviewer decided in
    the same run's review, no more: what another reviewer or an earlier run's review said stands again.

    Example:
        >>> said = {"image_id": "a.png", "md5": "0" * 32, "reviewer": "Ada", "note": "", "run_id": "r"}
        >>> events = [
        ...     event(KEPT_BY_REVIEW, reviewed_at="2026-01-01T10:00", **said),
        ...     event(REMOVED_BY_REVIEW, reviewed_at="2026-01-01T11:00", **said),
        ... ]
        >>> current_decisions(pd.DataFrame(events))["decision"].tolist()
        ['removed_by_review']
    """
    about = in_order(events[events["decision"] != APPROVED])
    latest = about.drop_duplicates(["md5", "run_id", "reviewer"], keep="last")
    standing = latest[latest["decision"] != WITHDRAWN].drop_duplicates("md5", keep="last")
    return standing.sort_values("md5", ignore_index=True)


def approval(events: pd.DataFrame) -> dict[str, str | None] | None:
    """The approval of the run that these events are about; None where there is none, or a decision came after it."""
    if events.empty:
        return None
    last = in_order(events).iloc[-1]
    if last["decision"] != APPROVED:
        return None
    return {str(name): None if pd.isna(value) else str(value) for name, value in last.items()}


def read_events(path: Path) -> pd.DataFrame:
    """Read events from a CSV or parquet file; a removal table will do, of which only the reviewed rows are taken.

    Raises:
        InputError: unreadable, without the columns `md5` and `decision`, with a value that is neither, a time that
            is none, or an event that is not what its digest says.
    """
    table, changed = _read(path)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise InputError(
            f"{path}: {changed[0]}{more} was changed since it was written; restore it (git has the file's versions), "
            f"or empty its column {DIGEST} if the change is yours."
        )
    # The times order the events; one that was written by hand without them counts as the oldest.
    table["reviewed_at"] = table["reviewed_at"].where(table["reviewed_at"].notna(), "")
    table = table[~table["decision"].isin(("removed", "restored"))]
    for number, row in enumerate(table.itertuples(), start=1):
        if row.decision not in _EVENTS:
            raise InputError(f"{path}: decision must be one of {_EVENTS}, found {row.decision!r} (event {number}).")
        if row.decision != APPROVED and not _is_md5(row.md5):
            raise InputError(f"{path}: md5 must be 32 hexadecimal digits, found {row.md5!r} (event {number}).")
        try:
            moment(row.reviewed_at)
        except ValueError as error:
            raise InputError(f"{path}: reviewed_at: {error} (event {number}).") from None
    return table.reset_index(drop=True)


def changed_events(path: Path) -> list[str]:
    """The events of a file that are not what their digests say, each by its number, image and reviewer.

    Raises:
        InputError: the file cannot be read.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a file, and which of them were changed (`changed_events`)."""
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            text = _text(path)
            read = pd.read_csv(io.StringIO(text), sep=_separator(text), dtype=str, keep_default_na=False)
            table = unescaped(read)
        column = digest_column(table)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of review decisions.") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: is no readable CSV or parquet file of review decisions ({reason}).") from None
    missing = {"md5", "decision"} - set(table.columns)
    if {"md5", "state", "decided_by"} <= set(table.columns):
        raise InputError(
            f"{path}: is a run's table of final states, which does not hold the decisions; name its removals.parquet "
            "(every decision of its review), or a CSV with the columns md5 and decision."
        )
    if missing:
        raise InputError(f"{path}: expected columns md5 and decision, found {list(table.columns)}.")
    digests = table[column] if column is not None else pd.Series(None, index=table.index, dtype=object)
    values = table.reindex(columns=REVIEW_SCHEMA.names).astype(object)
    values = values.where(values.notna() & (values != ""), None)
    changed = [
        f"event {at + 1} ({values['image_id'].iloc[at] or values['md5'].iloc[at]}, by {values['reviewer'].iloc[at]})"
        for at in wrong_rows(values, digests)
    ]
    return values, changed


def append_events(path: Path, rows: list[dict[str, str | None]]) -> None:
    """Append events to a CSV file that other runs and reviewers append to as well; those it has are not added again.

    It is UTF-8 with commas afterwards. A link to a file that several projects share stays one, and they
    wait for each other.

    Raises:
        InputError: the file is not one of events only (a removal table, say): it is left as it is.
    """
    if path.suffix != ".csv":
        raise InputError(f"{path}: expected a .csv file to append decisions to (review.decisions).")
    path = path.resolve() if path.is_symlink() else path  # the lock lies beside the file itself: others link to it, too
    if path.exists():
        try:
            text = _text(path)
            header = text.partition("\n")[0].strip().split(_separator(text))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}).") from None
        if header not in (_COLUMNS, REVIEW_SCHEMA.names):  # logs of before have no digests
            raise InputError(f"{path}: expected columns {_COLUMNS} to append decisions, found {header}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        before = read_events(path) if path.exists() else no_events()
        known = {tuple(row) for row in before.astype(object).where(before.notna(), None).itertuples(index=False)}
        new = [row for row in rows if tuple(row[name] for name in REVIEW_SCHEMA.names) not in known]
        if not new:
            return
        after = pd.concat([before, pd.DataFrame(new, columns=REVIEW_SCHEMA.names)], ignore_index=True)
        values = after.astype(object).where(after.notna(), None)
        after[DIGEST] = [event_digest(row) for row in values.itertuples(index=False)]
        with atomic_path(path) as temporary:
            escaped(after).to_csv(temporary, index=False, lineterminator="\n")


def _text(path: Path) -> str:
    """A CSV file as spreadsheets write it: UTF-8 with or without a byte order mark, UTF-16, or Windows' Latin-1.

    Raises:
        OSError, ValueError: unreadable, or in none of these encodings.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _separator(text: str) -> str:
    """Of a CSV file's columns: a comma, or the semicolon of spreadsheets where the comma is in numbers."""
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _is_md5(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef")
