"""What a tracked run says of its origin: data version, its parent's, code, parameters, features, weights.

The tags of a nested run (one per model) are, with the prefix `irp.`: `dvc_md5` and `dvc_file` of its exact training
set and `parent_dvc_md5` of the set it was cut from; `set_sha256` and `parent_set_sha256`, the same without DVC;
`params_digest` (of `result_params`), `feature_fingerprint`, `version` and `code_sha256`, `weights_sha256`, and `files`:
the sha256 of every artifact. The git commit is MLflow's own tag.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

from irp_core import __version__
from irp_core.config import Params, digest
from irp_core.data.manifest import set_digest
from irp_core.run.directory import RunDirectory

__all__ = ["WEIGHTS_TAG", "code_tags", "common_tags", "result_params", "training_tags"]

WEIGHTS_TAG = "irp.weights_sha256"
"""Of a model; of the whole run where the final detector is none of its iterations' models."""
_LOG = logging.getLogger(__name__)
_PACKAGES = ("irp_core", "tasks", "flows")
# What changes no number of a result: where things are kept, how many workers, what is tracked.
_NOT_IDENTITY: dict[str, bool | set[str]] = {
    "tracking": True,
    "snapshots": True,
    "retention": True,
    "review": True,  # the decisions themselves are part of the identity
    "run": {"directory", "outputs", "orchestrate"},
    "runtime": True,
    "sweep": True,
    "study": True,
    "figures": True,
    # What came of them is in the manifest and the groups of near-copies.
    "dataset": {"good_names", "near_copies", "split", "golden"},
    "features": {"batch_size", "workers", "device", "store"},
}
# Keys that came later than the first runs: part of a run's identity where they are not the default, so that runs that
# were made before are still found.
_LATER: dict[str, tuple[str, ...]] = {
    "features": ("cell_scale", "cell", "cell_channels", "stored"),
    "patch_gaussian": ("shrinkage", "worst"),
    "cell_votes": ("votes", "worst", "bank"),
    "localisation": ("detector",),
}


def result_params(params: Params) -> dict[str, Any]:
    """The parameters that a result depends on, as plain values by section: a run's identity.

    The others may be other ones the next time that the same run is asked for.
    """
    stable = {
        "images": params.images.pixels(),
        "views": params.views.result_keys(),
        "training": params.training.result_keys(),
    }
    plain = params.model_dump(mode="json", exclude=_NOT_IDENTITY) | stable
    for section, keys in _LATER.items():
        defaults = getattr(Params(), section).model_dump(mode="json")
        for key in keys:
            if plain[section][key] == defaults[key]:
                del plain[section][key]
        if not plain[section]:
            del plain[section]
    return plain


@lru_cache(maxsize=1)
def code_tags() -> dict[str, str]:
    """Version and digest of the installed code, and the commit of the repository around the current directory."""
    root = Path(__file__).resolve().parents[2]
    code = hashlib.sha256()
    for package in _PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            code.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    tags = {"irp.version": __version__, "irp.code_sha256": code.hexdigest()}
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["irp.git_dirty"] = "true" if _git("status", "--porcelain", "--untracked-files=no") else "false"
    return tags


def common_tags(run: RunDirectory) -> dict[str, str]:
    """Tags that the parent and every nested run share."""
    params = run.params()
    return {
        "irp.run_id": run.run_id,
        "irp.directory": str(run.path.resolve()),
        "irp.method": params.refinement.method,
        "irp.dataset": run.record()["dataset"],
        "irp.params_digest": digest(result_params(params)),
        "mlflow.source.name": "irp",
        **code_tags(),
    }


def training_tags(run: RunDirectory, iteration: int, fingerprint: str) -> dict[str, str]:
    """Tags of the nested run of model `iteration`."""
    tags = {
        "irp.iteration": str(iteration),
        "irp.feature_fingerprint": fingerprint,
        "irp.set_sha256": set_digest(run.training_set(iteration)),
    }
    if weights := run.weights_sha256(iteration):  # a sweep drops its models
        tags[WEIGHTS_TAG] = weights
    if version := run.snapshot(iteration):
        tags |= {"irp.dvc_md5": version["md5"], "irp.dvc_file": version["dvc_file"]}
    if iteration > 0:
        tags["irp.parent_set_sha256"] = set_digest(run.training_set(iteration - 1))
        if parent := run.snapshot(iteration - 1):
            tags["irp.parent_dvc_md5"] = parent["md5"]
    return tags


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return ""
    if "dubious ownership" in found.stderr:  # later nobody could tell why there is no commit
        _LOG.warning(
            "%s: the git commit is not noted, because git refuses a repository that belongs to another user; if you "
            "trust it, run `git config --global --add safe.directory %s`.",
            Path.cwd(), Path.cwd(),
        )  # fmt: skip
    return found.stdout.strip() if found.returncode == 0 else ""
