"""The paper's tables: means, spreads and differences against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from irp_core.config import Figures
from irp_core.paper.comparisons import differences, table1, table2
from irp_core.paper.figures import BAD, GOOD, Thumbnail, figure1, figure3, figure4, figure5
from irp_core.paper.reading import reading, verdicts
from irp_core.paper.reference import load_reference
from irp_core.paper.statistics import add_recovery, entity_means, paired_differences, summarise
from irp_core.paper.table_text import (
    format_differences,
    format_table1,
    format_table2,
    format_table3,
    latex,
    markdown,
)

METHODS = {"vanilla": 0.80, "irp": 0.84, "irp_max_one": 0.82, "oracle": 0.90}


def made(entities: tuple[str, ...] = ("bottle", "mtd"), levels: tuple[int, ...] = (0, 50)) -> pd.DataFrame:
    """Three seeds per cell; AUROC is the method's value + 0, .01, .02, and 0.1 less at 50 %."""
    rows = []
    for entity in entities:
        for level in levels:
            for seed in range(3):
                for method, value in METHODS.items():
                    removes = method.startswith("irp")
                    rows.append(
                        {
                            "entity": entity,
                            "level": level,
                            "seed": seed,
                            "method": method,
                            "auroc": value + 0.01 * seed - 0.002 * level,
                            "average_precision": 0.5,
                            "removal_precision": (0.75 if level else 0.0) if removes else math.nan,
                            "removal_recall": 0.3 if removes and level else math.nan,
                            "removed_good": (1 + seed) if removes else 0,
                            "removed_bad": (6 if level else 0) if removes else 0,
                            "n_start": 60,
                            "n_injected": 30 if level else 0,
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture
def runs() -> pd.DataFrame:
    return add_recovery(made())


def test_means_and_sample_standard_deviations(runs: pd.DataFrame) -> None:
    row = summarise(runs).set_index(["entity", "level", "method"]).loc[("bottle", 50, "irp")]
    assert row["auroc_mean"] == pytest.approx(0.75)
    assert row["auroc_sd"] == pytest.approx(0.01)  # of .74, .75, .76 with n - 1
    assert row["auroc_n"] == 3
    assert row["removed_good_mean"] == 2.0
    assert row["removal_precision_mean"] == pytest.approx(0.75)


def test_recovery_is_taken_per_seed_and_left_out_where_there_is_nothing_to_recover() -> None:
    table = made(("mtd",), (50,))
    # Seed 1: the oracle is below vanilla.
    table.loc[(table["seed"] == 1) & (table["method"] == "oracle"), "auroc"] = 0.1
    runs = add_recovery(table)
    irp = runs[runs["method"] == "irp"].set_index("seed")["recovery"]
    assert irp[0] == pytest.approx(0.4)  # (.84 - .80) / (.90 - .80)
    assert math.isnan(irp[1])
    row = summarise(runs).set_index("method").loc["irp"]
    assert (row["recovery_mean"], row["recovery_n"]) == (pytest.approx(0.4), 2)
    assert "0.400 ± 0.000 (2)" in format_table3(summarise(runs)).to_string()


def test_recovery_without_an_oracle_is_undefined() -> None:
    table = made()
    assert add_recovery(table[table["method"] != "oracle"])["recovery"].isna().all()


def test_means_over_entities_keep_the_spread_over_seeds(runs: pd.DataFrame) -> None:
    runs.loc[runs["entity"] == "mtd", "auroc"] -= 0.2
    row = entity_means(runs).set_index(["level", "method"]).loc[(0, "vanilla")]
    assert row["auroc_mean"] == pytest.approx(0.81 - 0.1)
    assert row["auroc_sd"] == pytest.approx(0.01)  # not the distance between the entities


def test_differences_are_paired(runs: pd.DataFrame) -> None:
    # The spread over seeds is common to both methods and drops out of the difference.
    one = runs.copy()
    one.loc[(one["method"] == "irp") & (one["seed"] == 2) & (one["entity"] == "mtd"), "auroc"] -= 0.12
    table = paired_differences(one, "irp", ["vanilla", "osr"])
    assert set(table["against"]) == {"vanilla"}  # osr was not run
    row = table.set_index("level").loc[50]
    values = np.array([0.04] * 5 + [-0.08])
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std(ddof=1))
    assert (row["n"], row["positive"]) == (6, 5)
    half = 2.570582 * values.std(ddof=1) / math.sqrt(6)  # t(0.975, 5)
    assert (row["low"], row["high"]) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))
    assert table.set_index("level").loc[-1, "n"] == 12


def test_table1_prints_the_papers_figure_beside_ours(runs: pd.DataFrame) -> None:
    table = table1(runs, summarise(runs), load_reference())
    bottle = table.set_index(["entity", "method", "level"]).loc[("bottle", "irp", 50)]
    assert (bottle["mean"], bottle["paper"]) == (pytest.approx(0.75), 0.9340)
    assert bottle["difference"] == pytest.approx(0.75 - 0.934)
    at = table.set_index(["entity", "method", "level"])
    assert math.isnan(at.loc[("mtd", "irp", 50), "paper"])
    assert math.isnan(at.loc[("bottle", "vanilla", 50), "paper"])  # the paper gives vanilla as a mean only
    assert at.loc[("mean", "vanilla", 0), "paper"] == 0.8931
    text = format_table1(table)
    assert text.columns.tolist() == ["entity", "method", "0 %", "50 %"]
    rows = text.set_index(["entity", "method"])["50 %"]
    assert rows[("bottle", "IRP, all above")] == "0.750 ± 0.010"
    assert rows[("bottle", "  paper, IRP")].tolist() == ["0.934", "0.934"]  # under each of the two IRPs
    assert "mean" not in set(table1(runs[runs["entity"] == "mtd"], summarise(runs), load_reference())["entity"])


def test_table2_counts_good_and_bad_removals() -> None:
    runs = add_recovery(made(("cable",)))
    text = format_table2(table2(summarise(runs), load_reference())).set_index("method")
    assert text.loc["IRP, all above", ["0 %", "50 %"]].tolist() == ["2.0/0.0", "2.0/6.0"]
    assert text.loc["  paper, IRP", ["0 %", "50 %"]].tolist() == ["6/0", "4/12"]


def test_tables_read_as_markdown_and_latex(runs: pd.DataFrame) -> None:
    table = format_table1(table1(runs, summarise(runs), load_reference()))
    lines = markdown(table).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0].split("|")[1].strip() == "entity"
    tex = latex(table, "AUROC at 50 %", "tab:one")
    assert r"0.750 $\pm$ 0.010" in tex
    assert r"50 \%" in tex
    assert "metal_nut" not in tex
    assert tex.count("{tabular}") == 2
    assert all(line.endswith(r"\\") for line in tex.splitlines() if " & " in line)
    between = format_differences(differences(runs), "irp")
    assert between.set_index("IRP, all above").loc["minus vanilla", "50 %"] == "+4.0 ± 0.0 (6/6)"


def test_the_reading_says_what_the_numbers_say(runs: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    noisy = runs.assign(auroc=runs["auroc"] + rng.normal(0, 1e-4, len(runs)))
    gains, removals, oracle = reading(noisy, summarise(noisy), differences(noisy))
    assert gains.startswith("Against training once: ") and "IRP, all above +4.0 points of AUROC (better)" in gains
    # 2 good and 6 bad of a contaminated set, 2 good of a clean one: `made`
    assert (
        "IRP, all above finds 30 % of the defects (75 % of what it removes is defective) and takes 2.0 good" in removals
    )
    assert "IRP, all above -6.0 points, of what contamination costs 40 % won back (median of 6 runs)" in oracle
    table = verdicts(noisy, differences(noisy)).set_index(["method", "against"])
    row = table.loc[("IRP, all above", "vanilla")]
    assert row[["AUROC points", "ahead", "verdict", "bottle", "mtd"]].tolist() == [
        "+4.0",
        "12 of 12",
        "better",
        *["+4.0"] * 2,
    ]
    worse = noisy.assign(auroc=noisy["auroc"] - 0.08 * (noisy["method"] == "irp"))
    same = noisy.assign(auroc=noisy["auroc"] - 0.04 * (noisy["method"] == "irp") + rng.normal(0, 0.05, len(noisy)))
    for made_up, verdict in ((worse, "worse"), (same, "no clear difference")):
        table = verdicts(made_up, differences(made_up)).set_index(["method", "against"])
        assert table.loc[("IRP, all above", "vanilla"), "verdict"] == verdict


def test_a_sweep_without_bounds_says_nothing_of_them(runs: pd.DataFrame) -> None:
    alone = add_recovery(made()).query("method == 'irp'")
    (removals,) = reading(alone, summarise(alone), differences(alone))
    assert "finds 30 % of the defects" in removals


def test_figures_hold_the_right_series(runs: pd.DataFrame) -> None:
    drawn, reference = Figures(), load_reference()
    summary = summarise(runs)
    (axes,) = figure1(runs, drawn).axes
    lines = {tuple(np.round(line.get_ydata(), 6)) for line in axes.lines}
    assert (0.85, 0.75) in lines  # IRP, mean over seeds and entities
    assert len(axes.lines) == 3  # vanilla and the two IRPs; OSR was not run, the oracle is figure 3's
    assert len(axes.collections) == 3  # a band for each
    bottle, mtd = figure3(runs, reference, drawn).axes
    assert (bottle.get_title(), mtd.get_title()) == ("MVTec AD (bottle)", "mtd")
    assert len(bottle.lines) == 4 + 3  # the paper's vanilla, OSR and IRP beside
    assert len(mtd.lines) == 4
    by_class = figure4(runs, summary, reference, drawn).axes
    assert [axes.get_title() for axes in by_class] == ["bottle", "mtd"]
    paper = by_class[0].lines[-1].get_ydata()
    assert list(paper) == [0.9386, 0.9340]


def test_the_gallery_outlines_good_green_and_defective_red() -> None:
    from matplotlib.colors import to_rgba

    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    shown = {("mtd", 20): [Thumbnail(pixels, True), Thumbnail(pixels, False)], ("mtd", 0): []}
    figure = figure5(shown, Figures(gallery=3))
    assert len(figure.axes) == 6
    outlines = [axes.spines["top"].get_edgecolor() for axes in figure.axes[:2]]
    assert outlines == [to_rgba(BAD), to_rgba(GOOD)]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 0, 0, 0, 0]


def test_figures_are_the_same_bytes_each_time(runs: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> None:
    from flows.paper.figures import _save

    folders = [tmp_path_factory.mktemp("figures") for _ in range(2)]
    for folder in folders:
        _save(figure1(runs, Figures()), folder / "figure1", 60)
    for suffix in (".svg", ".png"):
        first, second = ((folder / "figure1").with_suffix(suffix).read_bytes() for folder in folders)
        assert first == second
