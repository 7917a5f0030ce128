"""How a command ends: whatever went wrong is one sentence on stderr and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from irp_core.errors import InputError
from tasks.runtime.notices import show_notices
from tasks.runtime.run_log import log_of

__all__ = ["carry_out"]

_GOES_ON = "the same command goes on where this one stopped."


def carry_out(app: Callable[..., Any]) -> None:
    """Carry out the command line.

    A user's mistake ends with code 2, a failure of the machine with 1, Ctrl-C with 130, SIGTERM with 143.
    """
    ended: list[bool] = []

    def on_sigterm(_signal: int, _frame: object) -> None:
        ended.append(True)
        raise KeyboardInterrupt

    show_notices()
    logging.raiseExceptions = False  # a line that cannot be logged is no news for the terminal
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        if app(standalone_mode=False) == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except InputError as error:
        _fail(f"{error}{_logged(error)}", 2)
    except (KeyboardInterrupt, typer.Abort):
        how, code = ("Stopped (SIGTERM)", 143) if ended else ("Interrupted", 130)
        _fail(f"{how}; {_GOES_ON}", code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except BrokenPipeError:  # `irp … | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # click's own complaints (unknown option …), whichever copy of click typer brings along.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            _fail(error.format_message(), error.exit_code)
        from flows.terminal.failures import is_of_a_silent_server, note, sentence

        if said := sentence(error):
            try:
                _fail(f"{said}{note(error)}", 1)
            finally:
                if is_of_a_silent_server(error):
                    _leave(1)
        raise


def _leave(code: int) -> None:
    """End at once: Prefect would ask the silent server for every event that is left, seven seconds each."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _logged(error: BaseException) -> str:
    log = log_of(error)
    return f" (Log: {log})" if log else ""


def _fail(message: str, code: int) -> None:
    Console(stderr=True).print(f"[bold red]irp:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)
