"""Watching a detector in service; what is computed is in `irp_core.monitoring`."""

from tasks.monitoring.watching import watch

__all__ = ["watch"]
