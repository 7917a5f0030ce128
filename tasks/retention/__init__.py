"""Housekeeping: what takes room on this machine and in the tracking store, what of it is needed, and its deletion.
What goes is decided by `irp_core.retention`."""

from tasks.retention.housekeeping import delete, inventory

__all__ = ["delete", "inventory"]
