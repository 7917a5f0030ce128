"""The command whose run differs from this one in nothing but the decisions that were made since."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from irp_core.config import Params
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory

__all__ = ["again", "overrides_to"]

_PARAMS_FILE = "params.yaml"


def again(run: RunDirectory) -> str:
    """`irp refine …` as it is typed in the run's workspace: what its params.yaml does not say stands as `-S`.

    Raises:
        InputError: the run has no readable record, or its workspace's params.yaml is not valid.
    """
    home, inputs = run.workspace(), run.inputs()
    file = home / _PARAMS_FILE
    base = load_params(file if file.is_file() else None)
    root = run.data_root()
    if root.is_relative_to(home.resolve()):
        root = root.relative_to(home.resolve())
    words = ["irp", "refine", str(root)]
    for option, value in (("--manifest", inputs.manifest), ("--decisions", inputs.decisions)):
        words += [option, value] if value else []
    for override in overrides_to(run.params(), base):
        words += ["-S", override]
    return shlex.join(words)


def overrides_to(wanted: Params, base: Params) -> list[str]:
    """The `section.key=value` that make `wanted` of `base`, in the order of the sections.

    Example:
        >>> wanted = load_params(None, ["refinement.lambda=2.0", "refinement.expected=[0.01, 0.1]", "run.seed=3"])
        >>> overrides_to(wanted, Params())
        ['refinement.lambda=2.0', 'refinement.expected=[0.01, 0.1]', 'run.seed=3']
        >>> load_params(None, overrides_to(wanted, Params())) == wanted
        True
    """
    changed, before = wanted.model_dump(mode="json", by_alias=True), base.model_dump(mode="json", by_alias=True)
    return [
        f"{section}.{key}={_flow(value)}"
        for section, values in changed.items()
        for key, value in values.items()
        if value != before[section][key]
    ]


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
