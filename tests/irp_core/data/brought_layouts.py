"""Folders as people lay them out: recognised or refused, never guessed wrong."""

from __future__ import annotations

from pathlib import Path

from irp_core.data.layouts.mvtec import CATEGORIES
from tests.irp_core.data.brought import Case, black_and_white, picture, pictures

__all__ = ["LAYOUTS_BROUGHT"]


def _made(*names: str, masks: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    def make(root: Path) -> None:
        pictures(root, *names)
        for mask in masks:
            black_and_white(root / mask)

    return make


_SPLIT = _made("train/ok/1.png", "train/ok/2.png", "test/ok/3.png", "test/ko/4.png", masks=("ground_truth/ko/4.png",))
_LOCO = ("train/good/1.png", "test/good/2.png", "test/logical/000.png", "validation/good/3.png")

LAYOUTS_BROUGHT = (
    Case("one flat folder", _made("1.png", "2.jpg", "3.bmp"), train=3),
    Case("a single image", _made("1.png"), train=1),
    Case("folders by date", _made("2026-01/1.png", "2026-02/a/2.png"), train=2),
    Case("good beside a defect", _made("good/1.png", "crack/2.png"), free=2),
    Case("Good with a capital", _made("Good/1.png", "crack/2.png"), free=2),
    Case("OK and NG", _made("OK/1.png", "NG/2.png"), free=2),
    Case("good alone", _made("good/1.png", "good/2.png"), free=2),
    Case(
        "good crack mask",
        _made("good/1.png", "crack/2.png", masks=("mask/2.png",)),
        free=2,
        ignored={"mask/2.png": "in a folder of masks"},
        masks={"crack/2.png": "mask/2.png"},
    ),
    Case(
        "ok ko ground_truth, masks by defect",
        _made("ok/1.png", "ko/2.png", masks=("Ground Truth/ko/2_mask.png",)),
        free=2,
        ignored={"Ground Truth/ko/2_mask.png": "in a folder of masks"},
        masks={"ko/2.png": "Ground Truth/ko/2_mask.png"},
    ),
    Case(
        "images and masks, no labels",
        _made("images/1.png", "images/2.png", masks=("masks/1.png", "masks/2.png")),
        train=2,
        ignored={"masks/1.png": "in a folder of masks", "masks/2.png": "in a folder of masks"},
    ),
    Case(
        "images beside good",
        _made("good/1.png", "crack/2.png", "3.png"),
        free=2,
        ignored={"3.png": "beside the folders of a labelled set"},
    ),
    Case(
        "train ok, test ok ko, ground_truth",
        _SPLIT,
        layout="mvtec",
        train=2,
        test=2,
        ignored={"ground_truth/ko/4.png": "ground truth"},
        masks={"test/ko/4.png": "ground_truth/ko/4.png"},
    ),
    Case("Train Good, Test Bad", _made("Train/Good/1.png", "Test/Good/2.png", "Test/Bad/3.png"), "mvtec", 1, 2),
    Case(
        "train/scratch",
        _made("train/good/1.png", "train/scratch/2.png", "test/good/3.png"),
        layout="mvtec",
        train=1,
        test=1,
        ignored={"train/scratch/2.png": "trains on good images only"},
    ),
    Case(
        "MVTec LOCO's folders of masks",
        _made(*_LOCO, masks=("ground_truth/logical/000/000.png", "ground_truth/logical/000/001.png")),
        layout="mvtec",
        train=1,
        test=2,
        ignored={
            "ground_truth/logical/000/000.png": "ground truth",
            "ground_truth/logical/000/001.png": "ground truth",
            "validation/good/3.png": "outside the folders of layout mvtec",
        },
        masks={"test/logical/000.png": "ground_truth/logical/000/000.png"},
    ),
    Case(
        "all of MVTec",
        _made(*(f"{c}/{p}" for c in CATEGORIES[:3] for p in ("train/good/1.png", "test/good/2.png"))),
        refused="expected one category of MVTec AD",
    ),
    Case(
        "KolektorSDD2 with a mask missing",
        _made("train/1.png", "train/2.png", "test/3.png", "other/4.png", masks=("train/1_GT.png", "test/3_GT.png")),
        layout="ksdd2",
        train=1,
        test=1,
        quarantined={"train/2.png": "no ground truth 2_GT.png"},
        ignored={
            "train/1_GT.png": "ground truth",
            "test/3_GT.png": "ground truth",
            "other/4.png": "outside the folders of layout ksdd2",
        },
        masks={"train/1.png": "train/1_GT.png", "test/3.png": "test/3_GT.png"},
    ),
    Case(
        "magnetic tiles with an overview",
        _made("MT_Free/Imgs/1.jpg", "MT_Crack/Imgs/2.jpg", "dataset.jpg", masks=("MT_Crack/Imgs/2.png",)),
        layout="mtd",
        free=2,
        ignored={"MT_Crack/Imgs/2.png": "ground truth", "dataset.jpg": "outside the folders of layout mtd"},
        masks={"MT_Crack/Imgs/2.jpg": "MT_Crack/Imgs/2.png"},
    ),
    Case("a word of one's own", _made("gutteil/1.png", "riss/2.png"), free=2, settings={"good_names": ["Gut-Teil"]}),
    Case("train and test without good", _made("train/1.png", "test/2.png"), refused="test, train of a split"),
    Case("good beside test", _made("good/1.png", "test/2.png"), refused="the folder test of a split"),
    Case("defects without good", _made("parts/1.png", "NOK/2.png"), refused="the folder NOK of defects, but none of"),
    Case("good and bad by day", _made("mo/ok/1.png", "mo/nok/2.png", "tu/ok/3.png"), refused="mo/nok, mo/ok, tu/ok"),
    Case("only good, by day", _made("mo/ok/1.png", "tu/ok/3.png"), train=2),
    Case("one folder too high", _made("data/good/1.png", "data/crack/2.png"), refused="further down (data/good)"),
    Case(
        "VisA",
        _made("Data/Images/Normal/1.png", "Data/Images/Anomaly/2.png", masks=("Data/Masks/Anomaly/2.png",)),
        refused="Data/Images/Anomaly, Data/Images/Normal",
    ),
    Case("a split all the same", _made("train/1.png", "test/2.png"), train=2, settings={"layout": "folder"}),
    Case("no layout as said", _made("1.png"), refused="is not in layout 'mvtec'", settings={"layout": "mvtec"}),
    Case("nothing", lambda root: root.mkdir(exist_ok=True), refused="expected at least one readable image"),
    Case("only masks", _made(masks=("masks/1.png",)), refused="1 ignored files, first: in a folder of masks"),
    Case(
        "a file instead",
        lambda root: (root.rmdir(), picture(root.with_suffix(".png")).rename(root)),
        refused="expected a folder of images, found a file",
    ),
)
