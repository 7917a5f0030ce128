"""Where the public data sets come from: addresses, hashes, licences.

No publisher gives a hash. MVTec AD's and KolektorSDD2's are those on which independent projects that
downloaded from the same addresses agree (`sha256_source`), so an archive that differs is refused. For the magnetic
tiles there is none to agree with, and GitHub may pack a commit's archive anew: the commit fixes the content, and
`fetch` records the hash of the first download.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SOURCES", "Source"]

_CC_BY_NC_SA = "https://creativecommons.org/licenses/by-nc-sa/4.0/"


@dataclass(frozen=True)
class Source:
    """One public data set.

    `urls` are tried in turn when one is gone; `archive` is the file's name here; `size` in bytes, about;
    `is_complete(root)` tells the unpacked data set from anything else; `example` is what to refine in it.
    """

    name: str
    title: str
    urls: tuple[str, ...]
    page: str
    archive: str
    size: int
    sha256: str | None
    sha256_source: str
    license: str
    license_url: str
    terms: str
    citation: str
    is_complete: Callable[[Path], bool]
    must_accept: bool = False
    example: str = "."


# The layouts are imported when they are asked: their package brings torch along, for which no download need wait.
def _matches(layout: str) -> Callable[[Path], bool]:
    def is_complete(root: Path) -> bool:
        from irp_core.data.scan import LAYOUTS
        from irp_core.data.walk import walk

        return bool(LAYOUTS[layout].matches(walk(root)))

    return is_complete


def _all_categories(root: Path) -> bool:
    from irp_core.data.layouts import mvtec
    from irp_core.data.walk import walk

    return set(mvtec.CATEGORIES) <= set(mvtec.categories_below(walk(root)))


_TILES_COMMIT = "cc4eb530b57b9cb7225bf76023873043ffd50655"

SOURCES = {
    source.name: source
    for source in (
        Source(
            name="ksdd2",
            title="KolektorSDD2",
            urls=("https://data.vicos.si/datasets/KSDD/KolektorSDD2.zip", "https://go.vicos.si/kolektorsdd2"),
            page="https://www.vicos.si/resources/kolektorsdd2/",
            archive="KolektorSDD2.zip",
            size=853_126_555,
            sha256="edcdb486809b24f1d17b785e30c52fafc5999554dd5fe18ddf77b61ceb6f36a8",
            sha256_source="the same in five independent projects' records of their download; the publisher gives none",
            license="CC BY-NC-SA 4.0",
            license_url=_CC_BY_NC_SA,
            terms="No commercial use, attribution, share alike; for commercial use ask the authors.",
            citation=(
                "Božič, Tabernik, Skočaj: Mixed supervision for surface-defect detection: from weakly to fully "
                "supervised learning. Computers in Industry 129, 2021."
            ),
            is_complete=_matches("ksdd2"),
        ),
        Source(
            name="mtd",
            title="Magnetic tile defects",
            urls=(f"https://github.com/abin24/Magnetic-tile-defect-datasets./archive/{_TILES_COMMIT}.zip",),
            page="https://github.com/abin24/Magnetic-tile-defect-datasets.",
            archive=f"magnetic-tile-defects-{_TILES_COMMIT[:7]}.zip",
            size=51_000_000,
            sha256=None,
            sha256_source="this machine's first download; the publisher gives none",
            license="none stated",
            license_url="https://github.com/abin24/Magnetic-tile-defect-datasets.#readme",
            terms="The authors welcome its use and ask that research cite their paper.",
            citation="Huang, Qiu, Yuan: Surface defect saliency of magnetic tile. The Visual Computer 36, 2020.",
            is_complete=_matches("mtd"),
        ),
        Source(
            name="mvtec",
            title="MVTec AD",
            # MVTec moves its shares now and then: the present one, and the one that anomalib 2 names.
            urls=(
                "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
                "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
                "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f283/download/"
                "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
            ),
            page="https://www.mvtec.com/research-teaching/datasets/mvtec-ad",
            archive="mvtec_anomaly_detection.tar.xz",
            size=5_264_982_680,
            sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            sha256_source="anomalib's MVTecAD data module; the publisher gives none",
            license="CC BY-NC-SA 4.0",
            license_url=_CC_BY_NC_SA,
            terms="© MVTec Software GmbH. No commercial use, attribution, share alike.",
            citation=(
                "Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection Dataset. "
                "International Journal of Computer Vision 129(4), 2021; and Bergmann et al., CVPR 2019."
            ),
            is_complete=_all_categories,
            must_accept=True,
            example="bottle",
        ),
    )
}
