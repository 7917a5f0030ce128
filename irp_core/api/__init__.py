"""Three lines of Python: refine a folder of images, read the result, score new images with it.

Nothing here starts a server, opens a database or asks for a repository; `flows` does that around the same loop.
"""

from irp_core.api.opening import load
from irp_core.api.refining import refine
from irp_core.api.result import Model, Result

__all__ = ["Model", "Result", "load", "refine"]
