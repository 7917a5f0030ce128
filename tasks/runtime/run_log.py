"""One log file per run: what its steps did and said, with the time, and the whole traceback where it failed.

A run that is gone on with writes on in the same file. The terminal has one sentence of a failure, and the log's place.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["log_of", "logged"]

# This project's modules; and what Prefect's tasks and flows say of themselves.
_LOGGERS = ("irp_core", "tasks", "flows", "prefect.flow_runs", "prefect.task_runs")
_NOTE = "Log: "


@contextmanager
def logged(file: Path, what: str) -> Iterator[None]:
    """Inside, everything that is logged goes to `file`, too; an error that leaves it carries a note of the file.

    Args:
        what: is being done, for the first line and the last.
    """
    log = _File(file)
    with ExitStack() as stack:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            if logger.getEffectiveLevel() > logging.INFO:
                logger.setLevel(logging.INFO)
            logger.addHandler(log)
            stack.callback(logger.removeHandler, log)
        stack.callback(log.close)
        log.say(f"begins: {what}")
        try:
            yield
        except Exception as error:
            log.say(f"failed: {''.join(traceback.format_exception(error)).rstrip()}")
            if log_of(error) is None and file.is_file():  # else an inner log has it
                error.add_note(f"{_NOTE}{file}")
            raise
        except BaseException as stop:
            log.say(f"stopped ({type(stop).__name__})")
            raise
        log.say(f"ends: {what}")


def log_of(error: BaseException) -> str | None:
    """The log that has the traceback of an error, or of one that it followed on; None where none has."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        for note in getattr(one, "__notes__", ()):
            if note.startswith(_NOTE):
                return str(note).removeprefix(_NOTE)
        seen.append(one)
        one = one.__cause__ or one.__context__
    return None


class _File(logging.FileHandler):
    """A log that stops nothing: on a full disk there is none."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace", delay=True)
        self.setFormatter(_Format("%(asctime)s %(levelname)s %(source)s: %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):  # what was not flushed yet
            super().close()

    def say(self, text: str) -> None:
        self.handle(logging.makeLogRecord({"name": "irp", "levelno": logging.INFO, "levelname": "INFO", "msg": text}))


class _Format(logging.Formatter):
    """`source`: the task or flow that says it, else the module."""

    def format(self, record: logging.LogRecord) -> str:
        named = getattr(record, "task_run_name", None) or getattr(record, "flow_run_name", None)
        record.source = record.name if named in (None, "<unknown>") else named
        return super().format(record)
