"""Watching a detector in service; what is computed is in `irp_core.monitoring`."""

from tasks.monitoring.line import LineSeen, watch_line
from tasks.monitoring.watching import watch

__all__ = ["LineSeen", "watch", "watch_line"]
