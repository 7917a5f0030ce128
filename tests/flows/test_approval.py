"""A deployment's flow pauses for approval; what the answer says is respected before anything is registered."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flows.approve import Approval, record
from irp_core.run.directory import RunDirectory
from tasks.review.session import Review
from tests.conftest import make_workspace
from tests.flows.harness import prefect_secret, refine_in, store_of

REQUIRED = ["review.required=true", "tracking.registered_model=approved-plant", "review.timeout=120"]


def registered() -> list[Any]:
    return list(MlflowClient(store_of(Path.cwd())).search_model_versions("name='approved-plant'"))


class Answers(threading.Thread):
    """Answers each paused flow run in turn, as a person would on Prefect's page."""

    def __init__(self, api: str, answers: list[Any]) -> None:
        super().__init__(daemon=True)
        self.api, self.answers = api, answers
        self.client = httpx.Client(auth=prefect_secret())
        self.artifacts: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for answer in self.answers:
                flow_run = self._paused()
                query = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}}
                self.artifacts += self.client.post(f"{self.api}/artifacts/filter", json=query).json()
                # What the page's form sends.
                form = {"run_input": answer()}
                for _ in range(50):
                    resumed = self.client.post(f"{self.api}/flow_runs/{flow_run['id']}/resume", json=form, timeout=30)
                    if resumed.status_code != 503:  # its database was busy: as a client does, ask again
                        break
                    time.sleep(0.2)
                assert resumed.status_code == 201, resumed.text
                while self._state(flow_run["id"]) == "PAUSED":
                    time.sleep(0.1)
        except BaseException as error:
            self.error = error

    def _paused(self) -> dict[str, Any]:
        query = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
        for _ in range(1200):
            found: list[dict[str, Any]] = self.client.post(f"{self.api}/flow_runs/filter", json=query).json()
            if found:
                return found[0]
            time.sleep(0.1)
        raise AssertionError("no flow run paused")

    def _state(self, flow_run: str) -> str:
        return str(self.client.get(f"{self.api}/flow_runs/{flow_run}").json()["state_type"])


@pytest.mark.timeout(600)
def test_a_deployment_waits_and_the_answer_is_respected(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_workspace(tmp_path / "w"))
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "00000000-0000-0000-0000-000000000001")
    spared: list[str] = []

    def wrong_name() -> dict[str, Any]:
        return {"reviewer": "Ada", "keep": ["nobody.png"]}

    def keep_one() -> dict[str, Any]:
        (run,) = Path("runs").iterdir()
        spared.append(pd.read_parquet(run / "removals.parquet")["image_id"].iloc[0])
        assert registered() == []
        return {"reviewer": "Ada", "keep": spared, "note": "only a shadow"}

    def approve() -> dict[str, Any]:
        return {"reviewer": "Grace"}

    answers = Answers(prefect_api, [wrong_name, keep_one, approve])
    answers.start()
    run = refine_in(Path.cwd(), plant, REQUIRED)
    answers.join(timeout=60)
    if answers.error:
        raise answers.error
    # The first run was not approved as it stood; the second keeps the image, and is what was registered.
    assert len(list(Path("runs").iterdir())) == 2
    scores = pd.read_parquet(run / "scores.parquet")
    assert spared[0] in set(scores.loc[scores["iteration"] == scores["iteration"].max(), "image_id"])
    (version,) = registered()
    tags = MlflowClient(store_of(Path.cwd())).get_run(version.run_id).data.tags
    assert tags["irp.run_id"] == run.name
    assert tags["irp.approved_by"] == "Grace"
    images = [a for a in answers.artifacts if a["key"].endswith("-images")]
    assert images
    assert "data:image/jpeg;base64," in images[0]["data"]


def test_outside_a_deployment_nothing_waits_and_nothing_is_registered(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.tracking.writer import log_review, review_is_logged

    def refused(*_: Any) -> None:
        raise MlflowException("the registry is down")

    monkeypatch.chdir(make_workspace(tmp_path / "w"))
    run = refine_in(Path.cwd(), plant, REQUIRED)
    assert registered() == []
    review = Review(RunDirectory(run.relative_to(Path.cwd())))
    md5 = review.items.iloc[0]["md5"]
    # An approval that contradicts the run's own set registers nothing; without the contradiction it does.
    review.decide(md5, keep=True, reviewer="Ada")
    review.approve("Ada")
    log_review(review)
    assert registered() == []
    assert review_is_logged(review.run)
    review.withdraw(md5, "Ada")
    review.approve("Ada")
    # A registration that fails is not forgotten: the next review, or the next run, tries it again.
    with monkeypatch.context() as patch, pytest.raises(MlflowException):
        patch.setattr("tasks.tracking.reviews.register", refused)
        log_review(review)
    assert not review_is_logged(review.run)
    log_review(review)
    assert review_is_logged(review.run)
    (version,) = registered()
    client = MlflowClient(store_of(Path.cwd()))
    assert client.get_run(version.run_id).data.tags["irp.approved_by"] == "Ada"
    # A decision after the approval makes it void, in MLflow too.
    review.decide(md5, keep=False, reviewer="Grace")
    log_review(review)
    assert "irp.approved_by" not in client.get_run(version.run_id).data.tags


def test_a_run_that_is_asked_for_again_obeys_what_is_asked_now(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from irp_core.params_file import load_params
    from tasks.audit.verify import verify
    from tasks.tracking.finding import find_run
    from tasks.tracking.writer import log_review

    monkeypatch.chdir(make_workspace(tmp_path / "w"))
    first = refine_in(Path.cwd(), plant, ["snapshots.enabled=false", "run.outputs=tables"])
    assert not (first / "model").exists()
    again = refine_in(Path.cwd(), plant, REQUIRED)
    assert again == first
    assert registered() == []  # nobody approved it yet, and that is what is asked for now
    params = load_params(None, [f"tracking.uri={store_of(Path.cwd())}"])
    tracked, _ = find_run(again.name, params)
    assert tracked.params().review.required
    assert all(Path(model.data.tags["irp.dvc_file"]).is_file() for model in tracked.models)
    assert {model.data.tags["irp.params_digest"] for model in tracked.models} == {tracked.tags["irp.params_digest"]}
    findings = verify(again.name, params)
    assert [finding for finding in findings if finding.status == "failed"] == []
    review = Review(RunDirectory(again.relative_to(Path.cwd())))
    review.approve("Ada")
    log_review(review)
    (version,) = registered()
    assert version.run_id == tracked.parent.info.run_id


def test_a_wrong_answer_writes_nothing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs" / finished.name)
    review = Review(RunDirectory(tmp_path / "runs" / finished.name))
    name = review.items.iloc[0]["image_id"]
    for answer, message in (
        (Approval(reviewer="Ada", keep=["nobody.png"]), "No training image of this run is named 'nobody.png'"),
        (Approval(reviewer="Ada", keep=[name], remove=[name]), "cannot be both kept and removed"),
        (Approval(reviewer=" "), "name is missing"),
    ):
        assert message in record(review, answer)
    assert review.run.reviews().empty
    assert record(review, Approval(reviewer="Ada", keep=[name])) == ""
    assert review.approved() is not None
