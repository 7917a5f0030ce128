"""A refined detector, complete: everything needed to score new images, in one folder.

Files: `detector.json` and `weights.safetensors` of the detector, `inspector.json` (how an image becomes
features, the operating threshold, the scale of its maps), the folder `localiser` where another detector says where,
and, unless the backbone is bundled, `backbone.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError
from safetensors.torch import save_file

from irp_core.atomic import read_json_object, write_json
from irp_core.backbones import Backbone
from irp_core.config import Features, Images, Params, Views
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.localisation.scale import MapScale
from irp_core.model_files import DETECTOR, INSPECTOR, LOCALISER, WEIGHTS
from irp_core.statistics.finite import finite_threshold

__all__ = ["BACKBONE", "Maps", "SavedMaps", "described_in", "save_inspector"]

BACKBONE = "backbone.safetensors"


@dataclass(frozen=True)
class SavedMaps:
    """The maps of a detector that is to be saved.

    Attributes:
        detector: name of the one that makes them.
        scale: the values of a `MapScale`.
        folder: where that detector is saved, unless it is the model's own.
    """

    detector: str
    scale: Mapping[str, Any]
    folder: Path


def save_inspector(
    directory: Path,
    detector: Path,
    backbone: Backbone,
    params: Params,
    operating: Mapping[str, object],
    maps: SavedMaps | None = None,
) -> None:
    """Write a complete inspector into an existing directory.

    Args:
        detector: directory of the saved detector.
        operating: `threshold`, above which a score is anomalous, and what is known of it.
        maps: what says where; None: the model makes no maps.
    """
    for name in (DETECTOR, WEIGHTS):
        (directory / name).write_bytes((detector / name).read_bytes())
    if backbone.name != "bundled":
        save_file({k: v.contiguous() for k, v in backbone.network.state_dict().items()}, directory / BACKBONE)
    described = {
        "threshold": finite_threshold(float(str(operating["threshold"])), "the operating threshold"),
        "operating": dict(operating),
        "images": params.images.set_keys(),
        "views": params.views.model_dump(mode="json"),
        "features": params.features.model_dump(
            mode="json",
            include={
                "backbone",
                "scales",
                "precision",
                "patch_grid",
                "patch_channels",
                "kurtosis_scale",
                "cell_scale",
                "cell",
                "cell_channels",
            },
        )
        | {"layers": list(backbone.layers)}
        | ({"stored": params.features.stored} if params.features.stored != "float32" else {}),
        "detector_sha256": file_sha256(directory / WEIGHTS),
        "description_sha256": file_sha256(directory / DETECTOR),
        "backbone_sha256": None if backbone.name == "bundled" else file_sha256(directory / BACKBONE),
        "maps": None if maps is None else _save_localiser(directory, maps),
    }
    write_json(directory / INSPECTOR, described)


def _save_localiser(directory: Path, maps: SavedMaps) -> dict[str, Any]:
    described: dict[str, Any] = {"detector": maps.detector, "scale": dict(maps.scale), "sha256": None}
    if (maps.folder / DETECTOR).is_file():  # else the model's own detector says where
        (directory / LOCALISER).mkdir()
        for name in (DETECTOR, WEIGHTS):
            (directory / LOCALISER / name).write_bytes((maps.folder / name).read_bytes())
        described["sha256"] = {name: file_sha256(directory / LOCALISER / name) for name in (DETECTOR, WEIGHTS)}
    return described


class Maps(BaseModel):
    """What `inspector.json` says of maps; `sha256` by file of folder `localiser`, null where there is none."""

    detector: str
    scale: MapScale
    sha256: dict[str, str] | None


class _Described(BaseModel):
    """What `inspector.json` says; keys of later versions are left alone."""

    threshold: FiniteFloat
    images: Images
    views: Views
    features: Features
    detector_sha256: str
    description_sha256: str | None = None  # irp up to 0.7 noted neither of these
    backbone_sha256: str | None = None
    maps: Maps | None = None  # irp up to 0.12 made none


def described_in(directory: Path) -> _Described:
    """Read `inspector.json`, and hold the files beside it against the digests in it."""
    file = directory / INSPECTOR
    if not file.is_file():
        raise InputError(f"{directory}: expected a refined detector (inspector.json), found none.")
    try:
        described = _Described.model_validate(read_json_object(file))
    except ValidationError as error:
        first = error.errors()[0]
        key, found = ".".join(map(str, first["loc"])), repr(first["input"])
        raise InputError(f"{file}: {key}: {first['msg']}. Got {found[:80]}.") from None
    for name, expected in (
        (WEIGHTS, described.detector_sha256),
        (DETECTOR, described.description_sha256),
        (BACKBONE, described.backbone_sha256),
        *((f"{LOCALISER}/{name}", sha256) for name, sha256 in _localiser_digests(described.maps).items()),
    ):
        if expected is not None and (found := file_sha256(directory / name)) != expected:
            raise InputError(f"{directory / name}: expected sha256 {expected[:16]}…, found {found[:16]}…")
    return described


def _localiser_digests(maps: Maps | None) -> dict[str, str]:
    """The digest of each file of the folder `localiser`; a file that is named by none is not read."""
    digests = (maps.sha256 if maps else None) or {}
    return {name: digests.get(name, "none noted") for name in (DETECTOR, WEIGHTS)} if digests else {}
