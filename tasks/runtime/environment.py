"""Settings of the libraries that must stand before they are imported: no telemetry, no noise, no thread in vain.

Import this module first. Nothing that the user set is overridden.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from pathlib import Path

__all__ = ["TRACKING_URI", "quiet"]

TRACKING_URI = os.environ.get("MLFLOW_TRACKING_URI") or None
"""The tracking store that the user's environment names. MLflow itself sets the variable later, for its children."""

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "irp_core,tasks",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Else a thread that waits for others keeps its core busy: two processes on two cores then took 20 times as long
    # (docs/measured.md).
    "OMP_WAIT_POLICY": "PASSIVE",
    # numpy's own threads know no such policy: beside two busy processes the default's training took half as much
    # processor time again. Its products here are too small to gain anything from a second one (docs/measured.md).
    "OPENBLAS_NUM_THREADS": "1",
    # git is optional (snapshots say so when they need it); GitPython otherwise fails on import.
    "GIT_PYTHON_REFRESH": "quiet",
}
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_LOOPBACK = ("127.0.0.1", "localhost")


def quiet() -> None:
    """Apply the defaults, and silence loggers that speak of their own housekeeping."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if (allowed := _allowed_cores()) is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(allowed))
    if any(os.environ.get(name) for name in _PROXIES):
        for name in ("NO_PROXY", "no_proxy"):  # a proxy cannot reach this machine's own servers
            known = os.environ.get(name, "")
            os.environ[name] = ",".join(filter(None, [known, *(host for host in _LOOPBACK if host not in known)]))
    for logger in ("mlflow", "alembic", "dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    # Of a service account without a home: nothing of it is needed, the run's server has its own folder.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
    # Deprecations inside the libraries are for their developers, not for a plant's operator.
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)


def _allowed_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """How many cores' time a container may use, where that is less than the cores that it sees; else None.

    The libraries start a thread per core that they see, and these then wait for each other.
    """
    try:
        microseconds, period = quota.read_text(encoding="ascii").split()
        cores = math.ceil(int(microseconds) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no such limit ("max"), or no such file
        return None
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores, 1) if cores < seen else None


quiet()
