"""One round of a line: take in, refine, publish the sets, compare with the champion, decide, end.

A round that was killed goes on where it was: what it began with is fixed in its folder, the refinement goes on in the
same run directory, and every later stage may be repeated. With nothing new the flow ends at once.
"""

from __future__ import annotations

import time
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.line.promote import promote
from flows.line.working import alone, opened
from flows.refine import resume
from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.line.folder import LineFolder
from irp_core.line.rounds import LineRound, open_round
from irp_core.params_file import checked_params
from irp_core.run.inputs import RunInputs
from tasks.inbox.mending import lost_images, put_away
from tasks.inbox.poll import whole_ledger
from tasks.inbox.rounds import begin, take_in
from tasks.notify import tell
from tasks.promotion.comparing import compare_with_champion, enter_challenger
from tasks.promotion.deciding import ask_person, decided, refuse_version, tell_decided
from tasks.promotion.registry import ROUND, open_registry
from tasks.runtime.prefect_server import without_heartbeats
from tasks.runtime.run_log import logged
from tasks.steps.prepare import create_run
from tasks.tracking.records import ASKED, PROMOTED, REFUSED, ROLLED_BACK
from tasks.versions.publish import publish

__all__ = ["NOTHING_NEW", "retrain"]

NOTHING_NEW = "nothing new"


@flow(name="retrain", flow_run_name="retrain-{line}", persist_result=False)
def retrain(line: str, project: str = ".", force: bool = False) -> dict[str, Any]:
    """Carry out a round of a line, or go on with the one that was begun.

    Args:
        line: the line's name.
        project: the project's folder.
        force: begin a round with fewer new images than `min_new`, too.

    Returns:
        `outcome` (`nothing new`, `promoted`, `waits`, `refused`, `no new version`), and of a round its record.
    """
    with opened(line, project) as (definition, params), alone(definition, get_run_logger().info):
        try:
            return _round(definition, params, force)
        except Exception as error:
            tell(definition, "failed", {"reason": str(error) or type(error).__name__})
            raise


def _round(line: Line, params: Params, force: bool) -> dict[str, Any]:
    folder = LineFolder(line.name).make()
    this = open_round(folder)
    if this is not None and (damage := _damage(this, folder)):
        put_away(this, damage, whole_ledger(line, params))
        this, force = None, True
    if this is None:
        started = time.perf_counter()
        found = take_in(line, params)
        taken = time.perf_counter()
        this = begin(line, params, force)
        if this is not None:
            this.add_time("take in", taken - started)
            this.add_time("begin", time.perf_counter() - taken)
        else:
            return {"outcome": NOTHING_NEW, "taken": found.taken, "problems": len(found.problems)}
    else:
        get_run_logger().info("Goes on with round %d.", this.number)
    record = this.record()
    whole_ledger(line, params).assign(record["new"], this.number)
    with logged(this.log, f"round {this.number} of {line.name}"):
        return _carry_out(line, checked_params(record["params"], str(this.path)), this)


def _damage(this: LineRound, folder: LineFolder) -> str | None:
    """Why nobody can go on with a round that was begun; None where it can be gone on with."""
    if damage := this.damage():
        return damage
    lost = lost_images(this, folder)
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"{folder.images / lost[0]}{more}: is gone or was changed since it was taken in" if lost else None


def _carry_out(line: Line, params: Params, this: LineRound) -> dict[str, Any]:
    """The stages of a round; each notes what came of it, and may be repeated."""
    with this.timed("refine"):
        run = _refined(line, params, this)
    with this.timed("publish"):
        published = this.note(published=publish(run, line))["published"]
    with this.timed("register"):
        number = enter_challenger(line, params, this.number, run, published)
        this.note(version=number)
    with open_registry(line, params) as registry:
        tags = registry.version(number).tags
    if tags.get(ROUND) != str(this.number):
        return this.end("no new version", f"{line.name}/{number} was trained on the same images in the same way.")
    done = decided(line, params, number, this.number)
    if done is None:
        with this.timed("compare"):
            compared = compare_with_champion(line, params, str(this.path), number)
        _warn(line, number, compared)
        with this.timed("decide"):
            _decide(line, params, number, compared)
        done = decided(line, params, number, this.number)
        assert done is not None
    else:
        tell_decided(line, done)
    return this.end({PROMOTED: "promoted", ASKED: "waits", REFUSED: "refused"}[done.event], done.why)


def _refined(line: Line, params: Params, this: LineRound) -> str:
    """The refinement's run; begun once, and then gone on with."""
    record = this.record()
    if "run" not in record:
        images = LineFolder(line.name).images
        run = create_run(images, params, this.path, RunInputs(), name=line.name)
        record = this.note(run=str(run.path))
    with without_heartbeats():  # the round sends its own: whoever waits for one flow need not wait for two
        return str(resume(record["run"], allow_detectors=(params.detector.name,)))


def _decide(line: Line, params: Params, number: str, compared: dict[str, Any]) -> None:
    """What the line's policy does with a comparison."""
    verdict, reason = compared["verdict"], compared["reason"]
    policy = f"policy {line.promotion.mode}"
    if verdict == "refuse":
        refuse_version(line, params, number, policy, reason)
        return
    if verdict == "promote":
        with open_registry(line, params) as registry:
            state, held = registry.state(number), registry.held()
        if state in (REFUSED, ROLLED_BACK):
            reason = f"{line.name}/{number} was {state} before; only a person puts it into service. {reason}"
        elif held is not None:
            taken_back = f"{held.by} took {line.name}/{held.version} back"
            reason = f"{taken_back}; until a person promotes a version, none is promoted by the policy. {reason}"
        else:
            with without_heartbeats():
                promote(line.name, int(number), policy, reason)
            return
    ask_person(line, params, number, reason)


def _warn(line: Line, number: str, compared: dict[str, Any]) -> None:
    for check, event in (("contamination", "contamination_high"), ("drift", "drift")):
        if check in compared["vetoes"]:
            tell(line, event, {"version": f"{line.name}/{number}", "reason": compared["reason"]})
