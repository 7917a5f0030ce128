"""What is worth trying again: a network share or a server that blinked, never bad input and never training."""

from __future__ import annotations

import errno
from typing import Any

__all__ = ["IO_RETRIES"]


# A full disk or a missing permission is the same five seconds later.
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}


def _is_io(_task: Any, _run: Any, state: Any) -> bool:
    try:
        state.result()
    except OSError as error:  # includes requests' and httpx' connection errors by way of their bases
        return error.errno not in _LASTING
    except Exception as error:
        # Named, not imported: `irp prepare` should not wait for MLflow's import.
        return type(error).__name__ in {"MlflowException", "OperationalError"}
    return False


IO_RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 5, "retry_condition_fn": _is_io}
"""Options of a Prefect task that reads or writes files or talks to a server."""
