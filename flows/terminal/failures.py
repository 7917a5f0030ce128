"""What the machine did to a command, in one sentence: what failed, what is safe, what to do."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tasks.runtime.run_log import log_of

__all__ = ["is_of_a_silent_server", "note", "sentence"]

_LOG = Path(".irp/errors.log")

_SAFE = "What was finished is safe; the same command goes on from there."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# Libraries that write in their own way say it in their own words.
_FULL_WORDS = ("no space left on device", "disk is full", "disk quota exceeded", "os error 28", "errno 28")
_FORBIDDEN_WORDS = (
    "permission denied", "readonly database", "read-only file system", "unable to open database file", "os error 13",
    "operation not permitted",
)  # fmt: skip
_NO_ANSWER = {
    "ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "RemoteProtocolError", "ConnectionError",
    "ConnectionRefusedError", "MaxRetryError", "NewConnectionError", "PrefectHTTPStatusError",
}  # fmt: skip


def sentence(error: BaseException) -> str | None:
    """One sentence for a failure of the disk, the permissions, a server or the memory; None for any other error.

    Args:
        error: with the causes that are chained to it: the first that tells is taken.

    Example:
        >>> sentence(OSError(errno.ENOSPC, "No space left on device", "runs/a/scores.parquet"))
        'runs/a/scores.parquet: no space is left on the disk; free some. What was finished is safe; the same command goes on from there.'
        >>> sentence(KeyError("a")) is None
        True
    """  # noqa: E501
    chain = list(_chain(error))
    for one in chain:
        place = _place(one)
        words = str(one).lower()
        code = getattr(one, "errno", None)
        if code in _FULL or any(word in words for word in _FULL_WORDS):
            return f"{place}no space is left on the disk; free some. {_SAFE}"
        if code in _FORBIDDEN or any(word in words for word in _FORBIDDEN_WORDS):
            why = f"may not be read or written ({_reason(one)}); give the permission, or name another place"
            return f"{place}{why}. {_SAFE}"
    for one in chain:
        if _is_no_answer(one):
            return f"A server no longer answers ({_reason(one)}); see that it runs. {_SAFE}"
        if isinstance(one, MemoryError) or "can't allocate memory" in str(one):
            return f"The memory is used up; close other programs, or lower features.batch_size. {_SAFE}"
        if isinstance(one, OSError):
            return f"{_place(one)}{_reason(one)}. {_SAFE}"
        if type(one).__name__ in ("OperationalError", "DatabaseError"):
            return f"The tracking store does not work ({_reason(one)}). {_SAFE}"
    return None


def is_of_a_silent_server(error: BaseException) -> bool:
    """Whether a server that no longer answers is the reason: what waits for an answer when the process ends waits in
    vain."""
    return any(_is_no_answer(one) for one in _chain(error))


def _is_no_answer(error: BaseException) -> bool:
    return bool({kind.__name__ for kind in type(error).__mro__} & _NO_ANSWER)


def note(error: BaseException) -> str:
    """Where the whole traceback is, for the sentence: in the run's log, else it is written to the project's."""
    if log := log_of(error):
        return f" (Log: {log})"
    text = "".join(traceback.format_exception(error))
    try:
        _LOG.parent.mkdir(parents=True, exist_ok=True)
        with open(_LOG, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text}\n")
    except OSError:  # where nothing can be written there is no log, either
        return ""
    return f" (Log: {_LOG})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _place(error: BaseException) -> str:
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return f"{name}: " if name else ""


def _reason(error: BaseException) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0][:200]
