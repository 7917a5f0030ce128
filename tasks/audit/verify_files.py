"""Check the images of a tracked run, as DVC's cache or remote has them (without DVC, as they lie in their folder)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from irp_core.audit.findings import Finding, finding, names, row_differences
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.packed.images import image_md5, is_image
from irp_core.refinement.policy import policy_of
from tasks.audit.known_digests import is_at_home
from tasks.tracking.reader import TrackedRun
from tasks.versions.dvc_files import counted_in, lineage_of, names_version

__all__ = ["Progress", "TrackedFiles"]

Progress = Callable[[int, int], None]
_ABSENT = "the run made no snapshots, and the data's folder is not on this machine"
_RESCORE_TOLERANCE = 1e-4  # relative: another processor adds in another order


class TrackedFiles:
    """The training sets of a run, and where their images can be had here."""

    def __init__(self, run: TrackedRun, training_sets: list[pd.DataFrame], params: Params) -> None:
        self.run = run
        self.params = params
        self.sets = training_sets
        self._paths: dict[str, Path] | None = None

    def lists(self) -> Iterator[Finding]:
        """Each training set against DVC's list of it."""
        from tasks.versions.packed import set_members

        for number, (model, rows) in enumerate(zip(self.run.models, self.sets, strict=True)):
            place = f"iteration {number}"
            md5 = model.data.tags.get("irp.dvc_md5")
            if md5 is None:
                yield Finding("DVC list", place, "skipped", "the run made no snapshots (snapshots.enabled)")
                continue
            try:
                members, files = set_members(md5)
            except InputError as error:
                yield Finding("DVC list", place, "failed", str(error))
                continue
            wrong = row_differences(
                rows.sort_values("image_id", ignore_index=True), members.sort_values("image_id", ignore_index=True)
            )
            file = Path(model.data.tags["irp.dvc_file"])
            if file.exists() and not names_version(file, md5):
                wrong.append(f"{file} names another version than {md5}")
            elif not file.exists() and is_at_home(self.run.run_id, self.params):
                wrong.append(f"{file} is gone")
            before = self.run.models[number - 1].data.tags.get("irp.dvc_md5") if number else None
            said = {"run": self.run.run_id, "iteration": number, "parent": before}
            wrong += [
                f"{file} says {name} {found}, not {said[name]}"
                for name, found in lineage_of(file).items()
                if name in said and found != said[name]
            ]
            counted = counted_in(file).get("nfiles", files)
            wrong += [f"{file} says {counted} files, its list has {files}"] if counted != files else []
            yield finding("DVC list", place, wrong, f"{md5}, {len(members)} images")

    def paths(self) -> dict[str, Path] | None:
        """Image → file, for every image of the first training set; None where its folder is not on this machine.

        Raises:
            InputError: DVC has them neither in its cache nor in its remote.
        """
        if self._paths is None:
            from tasks.versions.packed import image_places

            rows = self.sets[0]
            if (version := self.run.models[0].data.tags.get("irp.dvc_md5")) is not None:
                files = image_places(version, rows["md5"].tolist())
                self._paths = {row.image_id: files[row.md5] for row in rows.itertuples()}
            else:
                root = self.run.data_root()
                if not root.is_dir():
                    return None
                self._paths = {row.image_id: root / row.image_id for row in rows.itertuples()}
        return self._paths

    def contents(self, progress: Progress) -> Iterator[Finding]:
        """Every image's bytes against its md5."""
        paths = self.paths()
        if paths is None:
            yield Finding("image contents", "iteration 0", "skipped", _ABSENT)
            return
        wrong = []
        for done, row in enumerate(self.sets[0].itertuples(), start=1):
            path = paths[row.image_id]
            if not is_image(path):
                wrong.append(f"{row.image_id} is gone")
            elif not _has_content(path, row.md5):
                wrong.append(f"{row.image_id} has other content than it was trained with")
            progress(done, len(self.sets[0]))
        yield finding("image contents", "iteration 0", wrong, f"{len(self.sets[0])} images hashed")

    def rescored(self, device: str, progress: Progress, allow: Collection[str] = ()) -> Iterator[Finding]:
        """The last training set scored again, from the images themselves: with the stored weights, or, where the
        stored scores are of detectors that are not kept, with these made again."""
        from tasks.audit.rescore import scores_made_again, scores_of_stored_weights

        rows, place = self.sets[-1], f"iteration {len(self.sets) - 1}"
        paths = self.paths()
        if paths is None:
            yield Finding("rescored", place, "skipped", _ABSENT)
            return
        policy = policy_of(self.run.params().refinement)
        own = policy.score_on == "in_sample" and policy.detector is None
        again = scores_of_stored_weights if own else scores_made_again
        if policy.scores_outside and (absent := self._bring(self.run.as_it_is().outside(len(self.sets) - 1), paths)):
            why = f"{absent} images that were kept out from the start are not on this machine"
            yield Finding("rescored", place, "skipped", why)
            return
        found = again(self.run, rows, paths, device, progress, allow)
        stored = self.run.as_it_is().scores(len(self.sets) - 1)["score"].to_numpy()
        deviation = np.abs(found - stored) / np.abs(stored)
        off = rows.loc[~(deviation <= _RESCORE_TOLERANCE), "image_id"]
        how = "with the stored weights" if own else f"by the same {policy.score_on.replace('_', ' ')} detectors"
        detail = f"{len(rows)} images {how}, largest relative deviation {np.nanmax(deviation):.1e}"
        yield finding("rescored", place, names("other score than stored", off), detail)

    def _bring(self, rows: pd.DataFrame, paths: dict[str, Path]) -> int:
        """Add the files of images that no training set had (a review before the run kept them out); returns how many
        are not to be had."""
        from tasks.versions.snapshots import cached_file

        absent = 0
        root = self.run.data_root()
        for row in rows[~rows["image_id"].isin(list(paths))].itertuples():
            file = root / row.image_id if is_image(root / row.image_id) else cached_file(row.md5)
            if file is None:
                absent += 1
            else:
                paths[row.image_id] = file
        return absent


def _has_content(path: Path, md5: str) -> bool:
    try:
        return image_md5(path) == md5
    except InputError:  # of a shard that is not what its index says
        return False
