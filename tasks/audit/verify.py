"""Recompute everything about a tracked run that can be recomputed, and name what does not agree.

The run's manifest of digests says what everything was; it is in MLflow and, as a DVC version, in git. Beyond it the
tables are held against each other, so that a forgery has to be complete: down to the scores and the images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from mlflow.entities import Run

from irp_core.audit.findings import Finding, finding, names, row_differences
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.run.directory import RunDirectory, is_run
from irp_core.run.files import IMAGES, MODEL, REMOVALS, REMOVALS_SHOWN, REPORT, REVIEWS, TABLES
from irp_core.run.lasting import OF_REVIEWS, folder_differences
from irp_core.run.removal_tables import removal_tables
from tasks.audit.known_digests import KnownDigests, final_weights_sha256
from tasks.audit.verify_decisions import standing_decisions
from tasks.audit.verify_files import Progress, TrackedFiles
from tasks.audit.verify_records import TrackedRecords, listed_code
from tasks.audit.verify_tables import TrackedTables
from tasks.tracking.artifacts import DELETED_TAG
from tasks.tracking.digests import events_digest
from tasks.tracking.finding import find_run
from tasks.tracking.queries import artifacts_below
from tasks.tracking.reader import TrackedRun
from tasks.versions.lineage import WEIGHTS_TAG

__all__ = ["verify"]

# What a review of the finished run uploads anew: only in their place another file may be pending.
_UPLOADED_BY_REVIEWS = {*(f"{TABLES}/{name}" for name in (REVIEWS, REMOVALS, IMAGES)), REPORT, REMOVALS_SHOWN}


def verify(
    reference: str,
    params: Params,
    *,
    rescore: bool = False,
    seals: Path | None = None,
    progress: Progress = lambda done, total: None,
    allow: Collection[str] = (),
) -> list[Finding]:
    """Check a run from end to end.

    Args:
        reference: see `tasks.tracking.finding.find_run`; of a run's directory the files in it are checked, too.
        params: for the tracking store and the device.
        rescore: score the last training set again, too.
        seals: an auditor's file of seals (`irp audit seal`).
        progress: called with (images hashed, images in all).
        allow: detectors of other packages that may be loaded to score again.

    Returns:
        All findings, in the order of the checks; none is left out because another failed.
    """
    run, _ = find_run(reference, params)
    if not run.ended:
        raise InputError(
            f"{run.run_id}: expected a finished run, found one that did not end ({run.parent.info.status})."
        )
    try:
        digests = KnownDigests.of(run, params, seals)
    except InputError as error:
        if seals is not None and not seals.is_file():
            raise
        digests = KnownDigests(None, [_broke_down("digests", error)])
    records = TrackedRecords(run, digests, reference)
    decisions = Path(params.review.decisions) if params.review.decisions else None
    findings = [
        *digests.findings,
        *_carried_out("MLflow's database", records.runs()),
        *_carried_out("record", records.record()),
        *_carried_out("approval", records.approval()),
        *_carried_out("decisions", standing_decisions(run, decisions)),
        *_carried_out("registered version", records.registered()),
        *_carried_out("artifact hashes", _artifacts(run, digests)),
        *_carried_out("artifact hashes", _strangers(run, digests)),
        *_carried_out("weights", _weights(run)),
    ]
    if is_run(Path(reference)):
        findings += _carried_out("run's folder", _folder(RunDirectory(Path(reference)), run, digests))
    try:
        tables = TrackedTables(run, digests)
    except Exception as error:  # not even readable: nothing further can be checked
        return [*findings, _broke_down("tables", error)]
    findings += _carried_out("training set", tables.sets())
    findings += _carried_out("scores", records.results(tables.scores, tables.iterations, tables.summary))
    findings += _carried_out("decision", tables.decisions())
    findings += _carried_out("removal table", tables.removal_table())
    files = TrackedFiles(run, tables.training_sets, params)
    findings += _carried_out("DVC list", files.lists())
    findings += _carried_out("image contents", files.contents(progress))
    if rescore:
        findings += _carried_out("rescored", files.rescored(params.features.device, progress, allow))
    return findings


def _carried_out(check: str, findings: Iterator[Finding]) -> list[Finding]:
    """A check's findings; one that breaks down over what it reads has found something too."""
    found: list[Finding] = []
    try:
        for one in findings:
            found.append(one)
    except Exception as error:  # DVC, MLflow and the readers of tampered files each raise their own
        found.append(_broke_down(check, error))
    return found


def _broke_down(check: str, error: Exception) -> Finding:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Finding(check, "run", "failed", f"cannot be recomputed: {reason}")


def _artifacts(run: TrackedRun, digests: KnownDigests) -> Iterator[Finding]:
    """Every artifact's sha256 against the run's digests (of irp up to 0.7: against the tags alone)."""
    holders = [("run", run.parent), *((f"iteration {k}", model) for k, model in enumerate(run.models))]
    for place, holder in holders:
        entry = digests.entry(holder.info.run_id)
        tagged = run.known_files(holder)
        known = tagged if entry is None else entry["files"]
        wrong = []
        for name, expected in known.items():
            try:
                found = file_sha256(run.file(name, holder, verify=False))
            except InputError:
                if not (DELETED_TAG in holder.data.tags and name.startswith(f"{MODEL}/") and name not in tagged):
                    wrong.append(f"{name} is gone")
                continue
            # An upload that broke off: by a review, or while the run was made again.
            may_be_newer = entry is None or name in _UPLOADED_BY_REVIEWS or run.parent.info.status != "FINISHED"
            if found != expected and not (may_be_newer and run.is_logged(name, found, holder)):
                wrong.append(f"{name} was changed (sha256 {found[:12]}…, logged as {expected[:12]}…)")
            elif tagged.get(name) != expected and not (may_be_newer and run.broken_off):
                wrong.append(f"{name}: its digest in the tag irp.files is another")
        yield finding("artifact hashes", place, wrong, f"{len(known)} files as logged")


def _strangers(run: TrackedRun, digests: KnownDigests) -> Iterator[Finding]:
    """Files beside the model that were not logged with it: MLflow imports what lies in its folder `code`."""
    entry = digests.entry(run.parent.info.run_id)
    known = {*(run.known_files() if entry is None else entry["files"]), *listed_code(run)}
    there = [name for name in artifacts_below(run.client, run.parent.info.run_id, MODEL) if name not in known]
    compiled = [name for name in there if name.endswith(".pyc")]
    wrong = names("not logged with the model", set(there) - set(compiled))
    yield finding("artifact hashes", MODEL, wrong, "no file besides those that were logged")
    if compiled:
        how = f"{len(compiled)} files that Python compiled when the model was loaded there are not checked; delete them"
        yield Finding("artifact hashes", MODEL, "skipped", how)


def _weights(run: TrackedRun) -> Iterator[Finding]:
    """The weights of each model against the sha256 noted when it was trained."""
    for number, model in enumerate(run.models):
        place = f"iteration {number}"
        kept = run.weights(model)
        if kept is None:
            how = "deleted since (irp gc)" if DELETED_TAG in model.data.tags else "not kept (tracking.keep_weights)"
            yield Finding("weights", place, "skipped", how)
            continue
        yield _same_weights(run, kept, model, place, model.data.tags[WEIGHTS_TAG])
    inside = run.weights()
    if inside is None:
        how = "deleted since (irp gc)" if DELETED_TAG in run.tags else "not kept (run.outputs)"
        yield Finding("weights", "final detector", "skipped", how)
    else:
        yield _same_weights(run, inside, run.parent, "final detector", final_weights_sha256(run))


def _same_weights(run: TrackedRun, artifact: str, holder: Run, place: str, expected: str) -> Finding:
    try:
        found = file_sha256(run.file(artifact, holder, verify=False))
    except InputError as error:
        return Finding("weights", place, "failed", str(error))
    wrong = [] if found == expected else [f"{artifact} is not what was trained (sha256 {found[:12]}…)"]
    return finding("weights", place, wrong, f"sha256 {expected[:12]}…")


def _folder(folder: RunDirectory, run: TrackedRun, digests: KnownDigests) -> Iterator[Finding]:
    """The files in a run's directory; a review that MLflow does not have yet has changed some of them."""
    place = str(folder.path)
    if digests.content is None:
        yield Finding("run's folder", place, "skipped", "there are no digests to hold it against")
        return
    wrong = folder_differences(folder, digests.folder)
    if folder.params().run.outputs == "tables":  # a sweep drops its models
        wrong = {name: what for name, what in wrong.items() if what != "is gone" or not _of_a_model(name)}
    noted = digests.content["reviews"]
    events = folder.reviews()
    first = events_digest(events.head(noted["events"]).to_dict("records"))
    if len(events) > noted["events"] and first == noted["sha256"]:
        yield _reviewed_since(folder, place)
        wrong = {name: what for name, what in wrong.items() if name not in OF_REVIEWS}
    said = [f"{name} {what}" for name, what in wrong.items()]
    yield finding("run's folder", place, said, f"{len(digests.folder)} files as noted")


def _of_a_model(name: str) -> bool:
    return "/train/" in name or "/scorers/" in name


def _reviewed_since(folder: RunDirectory, place: str) -> Finding:
    removals, images = removal_tables(folder)
    tables = ((removals, folder.removals(), REMOVALS), (images, folder.images(), IMAGES))
    wrong = [f"{name} is not what the review says" for made, found, name in tables if row_differences(made, found)]
    if wrong:
        return Finding("run's folder", place, "failed", "; ".join(wrong))
    return Finding("run's folder", place, "skipped", f"reviewed since; `irp review {place}` writes it to MLflow")
