"""A refined detector, complete: saved in one folder (`saving`), and opened to score new images (`inspector`)."""

from irp_core.inspection.inspector import Inspector, OnMap, OnSeen, Seen, image_files
from irp_core.inspection.saving import SavedMaps, save_inspector

__all__ = ["Inspector", "OnMap", "OnSeen", "SavedMaps", "Seen", "image_files", "save_inspector"]
