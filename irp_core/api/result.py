"""What a refinement leaves, in Python: tables, the detector, and what can be made of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from irp_core.atomic import atomic_directory
from irp_core.errors import InputError
from irp_core.inspection import Inspector, image_files
from irp_core.report.thumbnails import original
from irp_core.results.export import Exported, How, export_set, split_states
from irp_core.results.findings import findings_of
from irp_core.run.directory import RunDirectory
from irp_core.run.removal_tables import final_images

if TYPE_CHECKING:
    from irp_core.config import Params
    from irp_core.detectors import Detector

__all__ = ["Model", "Result", "review_command"]


def review_command(folder: str, params: Params, first: str | None = None) -> str:
    """What decides a result's open questions, as it stands between backquotes."""
    command = f"irp review {folder} --ask {params.refinement.answers}"
    return f"{command}` after `{first}" if first else command


class Model:
    """A detector with all that makes an image file its input.

    Args:
        folder: what `irp_core.inspection.save_inspector` wrote: the folder `model` of a run.
        device: `auto`, `cpu`, `cuda` …
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self._folder, self._device = folder, device

    @cached_property
    def inspector(self) -> Inspector:
        """The detector as it scores files.

        Raises:
            InputError: no detector there, or one whose files were changed.
        """
        return Inspector(self._folder, self._device, maps=None)

    @property
    def threshold(self) -> float:
        """The operating threshold: a score above it is anomalous."""
        return self.inspector.threshold

    @property
    def detector(self) -> Detector:
        """The detector itself, for features."""
        return self.inspector.detector

    def score(
        self, paths: str | Path | Iterable[str | Path], *, workers: int = 2, maps: str | Path | None = None
    ) -> pd.DataFrame:
        """Score images: columns `path, md5, score, threshold, decision, error`, a row per image.

        Args:
            paths: an image, a folder (with all images below it), or a list of images. An image that cannot be read
                has an `error` and no score.
            workers: threads that decode.
            maps: folder into which each image's overlay and 16-bit map are written, with `maps.csv`
                (`irp_core.localisation.writing.MapWriter`; docs/maps.md).

        Raises:
            InputError: nothing there, a folder without images, or maps of a model that makes none.
        """
        root = Path()
        if isinstance(paths, str | Path):
            files, unusable = image_files(Path(paths))
            root = Path(paths) if Path(paths).is_dir() else Path(paths).parent
        else:
            files, unusable = [Path(path) for path in paths], {}
        if maps is None:
            return self.inspector.score(files, workers=workers, unusable=unusable)
        if self.inspector.scale is None:
            raise InputError(f"{self._folder}: this model makes no maps: localisation.detector was null.")
        from irp_core.localisation.writing import MapWriter

        writer = MapWriter(Path(maps), root, self.inspector.scale, self.inspector.images)
        table = self.inspector.score(files, workers=workers, unusable=unusable, on_map=writer)
        writer.finish()
        return table


class Result(Model):
    """A refined data set and its detector.

    Args:
        run: the folder of a finished run.
        place: a temporary folder that holds it, which goes with the result.
    """

    def __init__(self, run: RunDirectory, place: TemporaryDirectory[str] | None = None) -> None:
        self.run, self._place = run, place
        super().__init__(run.model, self.params.features.device)

    @cached_property
    def params(self) -> Params:
        """All settings."""
        return self.run.params()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """How it ended: `stop_reason`, `n_removed`, `operating`, `outcome` (clean, cleaned or undecided) …"""
        return self.run.summary()

    @cached_property
    def images(self) -> pd.DataFrame:
        """A row per training image.

        `image_id`, `path`, `md5`, `state` (kept, removed, or restored: removed once and taken back), `score`,
        `threshold`, `rule`, `decided_by`, `since_round`, `trained_on`, `reviewed_at`, `note`, and, for evaluation only,
        `label` and `injected`.
        """
        table = final_images(self.run)
        root = self.run.data_root()
        table.insert(1, "path", [str(root / name) for name in table["image_id"]])
        return table

    @property
    def kept(self) -> pd.DataFrame:
        """The rows of `images` that stay, in the order of their `image_id`: what to train on."""
        return split_states(self.images)[0]

    @property
    def removed(self) -> pd.DataFrame:
        """The rows of `images` that go, the highest score first."""
        return split_states(self.images)[1]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`image_id, md5, iteration, score`: what the training images were given in every round."""
        return self.run.all_scores()

    @cached_property
    def iterations(self) -> pd.DataFrame:
        """A row per trained model: images, removals, threshold and, with labels, AUROC."""
        return self.run.iterations()

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row per decision about an image (`removals.parquet`)."""
        return self.run.removals()

    @property
    def quarantine(self) -> pd.DataFrame:
        """`image_id, reason` of the files that cannot be read."""
        return self.run.quarantine()

    @property
    def undecided(self) -> pd.DataFrame:
        """Images that only a person can decide about: `image_id, path, md5, group, representative`.

        `group` is 1, 2, … of images that stand apart from the rest together, 0 of single ones; `representative` marks
        those that stand for their group.
        """
        said = self.summary.get("outcome") or {}
        rows = [
            (name, number, name in group["representatives"])
            for number, group in enumerate(said.get("groups", []), start=1)
            for name in group["images"]
        ]
        rows += [(name, 0, True) for name in said.get("singles", [])]
        asked = pd.DataFrame(rows, columns=["image_id", "group", "representative"])
        return self.images[["image_id", "path", "md5"]].merge(asked, on="image_id", how="right")

    def export(self, to: str | Path, how: How = "copy") -> Exported:
        """Make the folder `to` with `kept.csv`, `removed.csv` and the kept images (`irp_core.results.export`).

        Raises:
            InputError: `to` holds something, or an image was changed since.
        """

        def nowhere(md5s: list[str]) -> Mapping[str, Path]:
            raise InputError("this is not looked up here; `irp export` does.")

        about = {"run": self.run.run_id, "version": self.run.record()["version"]}
        return export_set(
            final_images(self.run), self.run.data_root(), Path(to), how=how, about=about, elsewhere=nowhere
        )

    def report(self, path: str | Path) -> Path:
        """Write the report, one HTML page that works offline; returns its path.

        Raises:
            InputError: a name that does not end in .html.
        """
        target = Path(path)
        if target.suffix not in (".html", ".htm"):
            raise InputError(f"{target}: expected a name that ends in .html.")
        from irp_core.report.lineage import of_folder
        from irp_core.report.page import render

        return render(self.run, target, of_folder(self.run), find=partial(original, self.run))

    def save(self, folder: str | Path) -> Path:
        """Keep the result as a run's folder, which `load` and the commands open: show, review, score, export.

        Raises:
            InputError: `folder` exists.
        """
        target = Path(folder)
        if target.exists():
            raise InputError(f"{target}: expected a folder that does not exist, found one.")
        with atomic_directory(target) as temporary:
            shutil.copytree(self.run.path, temporary, dirs_exist_ok=True)
            saved = RunDirectory(temporary)
            saved.write_record({**saved.record(), "run_id": target.name})
            last = int(saved.summary()["iterations"])
            said = findings_of(saved, last, review_command(str(target), self.params))
            saved.write_summary({**saved.summary(), "run_id": target.name, **said})
        return target

    def __str__(self) -> str:
        said = self.summary.get("outcome")
        if not said:
            return f"{len(self.removed)} of {len(self.images)} images are removed."
        return "\n".join([f"{said['kind'].capitalize()}.", *said["sentences"]])
