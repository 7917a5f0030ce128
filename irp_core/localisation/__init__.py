"""Where in an image: maps in the image's own geometry, their scale, pictures of them, and how well they hit defects.

What a map is computed from is a detector's matter (`irp_core.detectors.protocol.Localises`). No paths of runs here.
"""
