"""From `params.yaml` and `-S section.key=value` to parameters; whatever is wrong is one sentence that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.text.plain_yaml import parse_yaml, read_yaml

__all__ = ["checked_params", "checked_values", "explain", "load_params", "recorded_params"]

_Model = TypeVar("_Model", bound=BaseModel)


def load_params(file: Path | None = None, overrides: Iterable[str] = ()) -> Params:
    """Read `file` (the built-in defaults when None), apply `section.key=value` overrides, validate.

    Keys that the file leaves out take their defaults, so a profile such as `params/paper.yaml` need
    only name what it changes.

    Raises:
        InputError: a file that cannot be read, an unknown key, a value out of range.

    Example:
        >>> load_params(None, ["training.epochs=3"]).training.epochs
        3
        >>> load_params(None, ["training.epoch=3"])
        Traceback (most recent call last):
        irp_core.errors.InputError: defaults with -S overrides: unknown key 'training.epoch'; did you mean 'epochs'?
    """
    values: dict[str, Any] = {}
    source = "defaults"
    if file is not None:
        source = str(file)
        loaded = read_yaml(file)
        if loaded is not None and not isinstance(loaded, dict):
            raise InputError(f"{file}: expected sections with keys, found {type(loaded).__name__}.")
        values = loaded or {}
    overrides = list(overrides)
    for override in overrides:
        _apply(values, override)
    if overrides:
        source += " with -S overrides"
    return checked_params(values, source)


def checked_params(values: dict[str, Any], source: str) -> Params:
    """Validate sections of plain values.

    Args:
        source: where they come from, for the error.

    Raises:
        InputError: an unknown key, a value out of range.
    """
    return checked_values(values, source, Params, "sections")


def checked_values(values: dict[str, Any], source: str, model: type[_Model], named: str) -> _Model:
    """`model` of plain values.

    Args:
        source: where they come from, `named` what the keys name, for the error.

    Raises:
        InputError: an unknown key, a value out of range.
    """
    if strange := [key for key in values if not isinstance(key, str)]:
        raise InputError(f"{source}: expected {named} by name, found {strange[0]!r}.")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, model)}") from None


def recorded_params(record: Mapping[str, Any], source: str) -> Params:
    """The parameters in a run's record, of this version or an earlier one.

    What was renamed since is translated, and what there was no choice of then has the value that the code had.

    Args:
        record: of a run; its `version` made it.
        source: where it comes from, for the error.

    Raises:
        InputError: no parameters, one of a version that this one does not know, a value out of range.

    Example:
        >>> old = {"version": "0.1.0", "params": {"refinement": {"method": "irp", "rule": "mad", "factor": 3.5}}}
        >>> params = recorded_params(old, "run.json")
        >>> params.refinement.k, params.detector.name
        (3.5, 'differnet')
    """
    values = record.get("params")
    if not isinstance(values, dict) or not all(isinstance(section, dict) for section in values.values()):
        raise InputError(f"{source}: expected the parameters of a run, found none.")
    translated = {name: dict(section) for name, section in values.items()}
    refinement = translated.get("refinement", {})
    if "factor" in refinement:  # λ and k had one key
        key = "lambda" if refinement.get("rule") in (None, "median_multiple") else "k"
        refinement.setdefault(key, refinement.pop("factor"))
    translated.setdefault("detector", {"name": "differnet"})  # there was no other
    translated.setdefault("dataset", {}).setdefault("near_copies", None)  # equal bytes only
    try:
        return Params.model_validate(translated)
    except ValidationError as error:
        if any(item["type"] == "extra_forbidden" for item in error.errors()) and "version" in record:
            made_by = f"the run was made by irp {record['version']}, whose parameters this version does not all know"
            raise InputError(f"{source}: {made_by}: {explain(error)}") from None
        raise InputError(f"{source}: {explain(error)}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (separator and dot and section and name):
        raise InputError(f"-S {override}: expected section.key=value, for example -S refinement.lambda=2.")
    if not isinstance(values.setdefault(section, {}), dict):
        raise InputError(f"-S {override}: {section!r} is not a section.")
    try:
        values[section][name] = parse_yaml(text)
    except InputError:
        raise InputError(f"-S {override}: the value is not valid YAML. Got {text!r}.") from None


def explain(error: ValidationError, model: type[BaseModel] = Params) -> str:
    """What is wrong with values that `model` refused, in sentences that name the key, the bound and the value."""
    sentences = []
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        key = ".".join(path)
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, path[:-1])
            close = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}."
            sentences.append(f"unknown key {key!r}; {hint}")
        elif item["type"] == "value_error":
            said = str(item["ctx"]["error"])  # of a field ("must be …"), or of a section, which names its field
            sentences.append(f"{key}{' ' if said.startswith('must') else '.' if key else ''}{said}")
        else:
            message = item["msg"].replace("Input should be", "must be")
            sentences.append(f"{key} {message}. Got {item['input']!r}.")
    return " ".join(sentences)


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    return [field.alias or name for name, field in model.model_fields.items()]
