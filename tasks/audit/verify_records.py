"""Check what MLflow's database says of a run against the run's digests, its record and its tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run

from irp_core.atomic import read_json_object
from irp_core.audit.findings import Finding, finding, row_differences
from irp_core.hashing import file_sha256
from irp_core.model_files import INSPECTOR
from irp_core.refinement.reviews import approval
from irp_core.run.files import MODEL
from irp_core.run.inputs import is_sealed
from tasks.audit.known_digests import KnownDigests
from tasks.tracking.digests import TIMES, curve_digest, curves
from tasks.tracking.queries import experiments, model_version, runs_tagged, versions_of
from tasks.tracking.reader import TrackedRun

__all__ = ["TrackedRecords", "listed_code"]

_CODE = f"{MODEL}/code.sha256"
_ORIGIN = ("mlflow.source.git.commit", "irp.git_dirty")
# What two MLflow runs of one run's id share, whatever machine made them.
_IDENTITY = ("irp.params_digest", "irp.manifest_sha256")


class TrackedRecords:
    """Everything that MLflow's database says of a run.

    Args:
        reference: what was asked about: a registered version is held to its own source.
    """

    def __init__(self, run: TrackedRun, digests: KnownDigests, reference: str) -> None:
        self.run = run.as_it_is()
        self.digests = digests
        self.reference = reference
        self.holders = {holder.info.run_id: holder for holder in (run.parent, *run.models)}

    def runs(self) -> Iterator[Finding]:
        """Tags, parameters and metrics as they are in the digests; no other run that claims to be this one."""
        if self.digests.content is not None:
            yield from self._as_noted()
        wrong = []
        own = {"irp.run_id": self.run.run_id, "irp.iteration": "all"}
        for other in runs_tagged(self.run.client, experiments(self.run.client), own):
            if any(other.data.tags.get(tag) != self.run.tags.get(tag) for tag in _IDENTITY):
                wrong.append(f"MLflow's run {other.info.run_id} says that it is this run, and has other parameters")
        yield finding("MLflow's database", "other runs", wrong, "none says that it is this one")

    def _as_noted(self) -> Iterator[Finding]:
        for place, entry in zip(self._places(), self.digests.entries(), strict=True):
            holder = self.holders.get(entry["mlflow_run"])
            if holder is None:
                yield Finding("MLflow's database", place, "failed", f"its run {entry['mlflow_run']} is not there")
                continue
            data, ended = holder.data, self.run.parent.info.status == "FINISHED"
            wrong = _changes("parameter", data.params, entry["params"])
            wrong += _changes("metric", data.metrics, {k: v for k, v in entry["metrics"].items() if k not in TIMES})
            if "name" in entry:  # an older irp noted neither names nor curves
                wrong += _changes("name", {"": holder.info.run_name}, {"": entry["name"]})
            # Begun again, a run has the tags of the latest command, and may be timed anew; else it is the same.
            passing = _changes("tag", data.tags, entry["tags"])
            passing += _changes("metric", data.metrics, {k: v for k, v in entry["metrics"].items() if k in TIMES})
            passing += [f"tag {name} was not there" for name in _ORIGIN if name in set(data.tags) - set(entry["tags"])]
            for kind, found, noted in (
                ("parameter", data.params, entry["params"]),
                ("metric", data.metrics, entry["metrics"]),
            ):
                passing += [f"{kind} {name} was not there" for name in found if name not in noted]
            passing += self._other_curves(holder, entry)
            if passing and not wrong and not ended:
                how = f"its tracking did not end, `irp refine` again ends it ({'; '.join(passing)})"
                yield Finding("MLflow's database", place, "skipped", how)
            else:
                yield finding("MLflow's database", place, wrong + passing, "tags, parameters and metrics as noted")
        strangers = set(self.holders) - {entry["mlflow_run"] for entry in self.digests.entries()}
        wrong = [f"MLflow's run {stranger} says that it is a model of this run" for stranger in sorted(strangers)]
        yield finding("MLflow's database", "models", wrong, f"{len(self.run.models)} models as noted")

    def _other_curves(self, holder: Run, entry: Mapping[str, Any]) -> list[str]:
        if "curves" not in entry:
            return []
        noted = entry["curves"]
        names = {*noted, *curves(holder)} & set(holder.data.metrics)  # a metric that is gone is named as such
        return [
            f"the points of metric {name} are others"
            for name in sorted(names)
            if name not in noted or curve_digest(self.run.client, holder, name) != noted[name]
        ]

    def _places(self) -> list[str]:
        return ["run", *(f"iteration {k}" for k in range(len(self.digests.entries()) - 1))]

    def record(self) -> Iterator[Finding]:
        """The run's record: its own digest, and MLflow's parameters and tags."""
        record = self.run.record()
        wrong = [] if is_sealed(record) else ["it was changed since it was written"]
        said = {
            "irp.run_id": record.get("run_id"),
            "irp.dataset": record.get("dataset"),
            "irp.method": record["params"].get("refinement", {}).get("method"),
            "irp.manifest_sha256": record.get("manifest_sha256"),
        }
        wrong += [
            f"tag {tag} is {_shown(self.run.tags.get(tag))}, the record says {_shown(value)}"
            for tag, value in said.items()
            if value is not None and self.run.tags.get(tag) != value
        ]
        for holder in self.holders.values():
            wrong += [
                f"parameter {name} of MLflow's run {holder.info.run_id} is {value}, the record says {expected}"
                for name, value, expected in _parameters(holder, record["params"])
                if value != expected
            ]
        yield finding("record", "run", wrong, "parameters and tags agree with it")

    def results(
        self, scores: list[pd.DataFrame], iterations: pd.DataFrame, summary: Mapping[str, Any]
    ) -> Iterator[Finding]:
        """The run's own tables, summary, metrics and model against those of its models."""
        wrong = row_differences(pd.concat(scores, ignore_index=True), self.run.all_scores())
        yield finding("scores", "run", wrong, "the run's table is the models' tables")
        yield finding("summary", "run", list(self._counts(scores, iterations, summary)), "counts and metrics agree")
        if self.run.weights() is not None:
            yield finding("final detector", "run", list(self._detector(summary)), "its threshold and code as noted")

    def _counts(
        self, scores: list[pd.DataFrame], iterations: pd.DataFrame, summary: Mapping[str, Any]
    ) -> Iterator[str]:
        last = len(scores) - 1
        expected = {"iterations": last, "n_removed": summary["n_start"] - len(scores[-1])}
        for name, value in expected.items():
            if summary[name] != value:
                yield f"summary.json: {name} is {summary[name]}, the tables say {value}"
        if self.run.tags.get("irp.stop_reason", summary["stop_reason"]) != summary["stop_reason"]:
            yield f"tag irp.stop_reason is {self.run.tags['irp.stop_reason']}, not {summary['stop_reason']}"
        for number, (row, model) in enumerate(zip(iterations.to_dict("records"), self.run.models, strict=True)):
            if row["n_train"] != len(scores[number]):
                yield f"iteration {number}: n_train is {row['n_train']}, the scores are of {len(scores[number])}"
            for name, value in model.data.metrics.items():
                noted = row.get(str(name))
                if isinstance(noted, (int, float)) and noted == noted and not _same(value, float(noted)):
                    yield f"iteration {number}: metric {name} is {value:.6g}, the table says {noted:.6g}"

    def _detector(self, summary: Mapping[str, Any]) -> Iterator[str]:
        known = self.run.known_files()
        for name in known:
            if name.endswith(f"/{INSPECTOR}") and (point := summary.get("operating")):
                found = read_json_object(self.run.file(name, verify=False), "threshold")["threshold"]
                if not _same(found, point["threshold"]):
                    yield f"{INSPECTOR}: its threshold is {found:.6g}, summary.json says {point['threshold']:.6g}"
        for name, sha256 in listed_code(self.run).items():
            if file_sha256(self.run.file(name, verify=False)) != sha256:
                yield f"{name} was changed"

    def approval(self) -> Iterator[Finding]:
        """Who approved the run, by its tags and by the log of its reviews."""
        said = approval(self.run.reviews()) or {}
        wrong = [
            f"tag {tag} is {_shown(self.run.tags.get(tag))}, the log of the reviews says {_shown(said.get(column))}"
            for tag, column in (("irp.approved_by", "reviewer"), ("irp.approved_at", "reviewed_at"))
            if self.run.tags.get(tag) != said.get(column)
        ]
        if wrong and self.run.broken_off:
            how = f"its last upload broke off; `irp review` or `irp refine` again makes it good ({'; '.join(wrong)})"
            yield Finding("approval", "run", "skipped", how)
            return
        yield finding("approval", "run", wrong, f"by {said['reviewer']}" if said else "nobody, as the reviews say")

    def registered(self) -> Iterator[Finding]:
        """Every registered version of the run, and the one that was asked about: MLflow would load the run's model."""
        own = f"{self.run.parent.info.artifact_uri}/{MODEL}"
        versions = {(v.name, str(v.version)): v for v in versions_of(self.run.client, self.run.parent.info.run_id)}
        asked = model_version(self.reference, self.run.client)
        if asked is not None:
            versions[(asked.name, str(asked.version))] = asked
        for (name, number), version in versions.items():
            loaded = self.run.client.get_model_version_download_uri(name, number)
            wrong = [
                f"its {what} is {found}, not {own}"
                for what, found in (("source", version.source), ("storage location", loaded))
                if str(found).rstrip("/") != own
            ]
            if version.run_id != self.run.parent.info.run_id:
                wrong.append(f"it is said to be of MLflow's run {version.run_id}")
            yield finding("registered version", f"{name}/{number}", wrong, "its source is the run's model")


def listed_code(run: TrackedRun) -> dict[str, str]:
    """sha256 by artifact of the code beside the model, which MLflow would import; none of a run that logged none."""
    if _CODE not in run.known_files():
        return {}
    lines = run.file(_CODE, verify=False).read_text(encoding="utf-8").splitlines()
    return {f"{MODEL}/{name}": sha256 for sha256, name in (line.split("  ", 1) for line in lines)}


def _parameters(holder: Run, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, value in MLflow and value in the record, of those that both have."""
    for name, value in holder.data.params.items():
        section, _, key = name.partition(".")
        if key in params.get(section, {}):
            expected = params[section][key]
            yield name, value, expected if isinstance(expected, str) else json.dumps(expected)


def _changes(kind: str, found: Mapping[str, Any], noted: Mapping[str, Any]) -> list[str]:
    return [
        f"{kind} {name} is {_shown(found.get(name))}, was {_shown(expected)}"
        for name, expected in noted.items()
        if not _same(found.get(name), expected)
    ]


def _same(found: Any, expected: Any) -> bool:
    if isinstance(found, float) and isinstance(expected, (int, float)):
        return bool(np.isclose(found, expected, rtol=1e-12, atol=0.0, equal_nan=True))
    return bool(found == expected)


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
