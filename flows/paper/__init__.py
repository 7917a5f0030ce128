"""The stages of `dvc.yaml`, one file each: the sweep behind the paper's tables and figures.

No DVC command runs in here; every stage is `python -m flows.paper STAGE`.
"""
