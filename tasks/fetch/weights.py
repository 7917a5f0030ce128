"""Backbone weights: a local file, or the published one, downloaded once and checked."""

from __future__ import annotations

from pathlib import Path

import pooch

from irp_core.backbones import WEIGHT_SOURCES
from irp_core.config import Features
from irp_core.errors import InputError
from irp_core.hashing import file_sha256

__all__ = ["fetch_weights", "resolve_weights"]


def resolve_weights(features: Features) -> Path | None:
    """The weights file of the configured backbone; None for `bundled`."""
    if features.backbone == "bundled":
        if features.weights is not None:
            raise InputError(f"features.weights must be null for backbone bundled. Got {features.weights!r}.")
        return None
    if features.weights is not None:
        return Path(features.weights)
    url, prefix = WEIGHT_SOURCES[features.backbone]
    return fetch_weights(url, prefix, pooch.os_cache("irp"))


def fetch_weights(url: str, sha256_prefix: str, cache: Path) -> Path:
    """Download `url` into `cache` with a progress bar, unless it is there; verify its sha256's first digits.

    Publishers of torchvision's weights give only the first eight digits, in the file's name.

    Raises:
        InputError: no network (says what to do), or a file whose hash differs (it is deleted).
    """
    name = url.rsplit("/", 1)[-1]
    try:
        path = Path(pooch.retrieve(url, known_hash=None, fname=name, path=cache, progressbar=True))
    except Exception as error:  # requests, urllib3 and pooch each raise their own
        raise InputError(
            f"{url}: cannot be downloaded ({type(error).__name__}); put the file on this machine and name it "
            f"with -S features.weights=FILE, or use -S features.backbone=bundled."
        ) from None
    found = file_sha256(path)
    if not found.startswith(sha256_prefix):
        path.unlink()
        raise InputError(f"{url}: expected a file whose sha256 begins with {sha256_prefix}, found {found[:16]}…")
    return path
