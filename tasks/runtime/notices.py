"""What a user should know although nothing failed: something was damaged and is made again, a setting is not obeyed.

Whoever finds out logs a warning under the name of its module; the terminal shows it, and Prefect's API keeps it (the
environment names these loggers to Prefect).
"""

from __future__ import annotations

import logging
import sys

__all__ = ["show_notices"]

_LOGGERS = ("irp_core", "tasks")


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"irp: {record.getMessage()}", file=sys.stderr, flush=True)


def show_notices() -> None:
    """Show warnings of this project's modules on the terminal, a line each."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Terminal) for handler in logger.handlers):
            logger.addHandler(_Terminal(logging.WARNING))
