"""The figures of docs/performance.md, drawn from the records with matplotlib; report.py calls them.

They are SVG files that do not change while the records do not: no date, and fixed names inside.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams |= {"svg.hashsalt": "tesela", "font.family": "sans-serif", "font.size": 9}

OWN, OTHERS = "#c1440e", ("#1f3b57", "#3f6d8e", "#6f9bb3", "#a3bfce", "#8a8a8a", "#bdbdbd")
MOST = 2.5  # times tesela's; a longer bar is cut and labelled


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def bars(races: Sequence[dict], path: Path) -> None:
    """Each engine's time over tesela's, a group of bars for each network, for races of one batch and thread count."""
    others = sorted({name for race in races for name in race["engines"]} - {"tesela"})
    width = 0.8 / max(len(others), 1)
    figure = Figure(figsize=(9, 3.2))
    axes = figure.subplots()
    for i, name in enumerate(others):
        at = [n for n, race in enumerate(races) if name in race["engines"]]
        times = [races[n]["engines"][name]["median_ms"] / races[n]["engines"]["tesela"]["median_ms"] for n in at]
        places = [n + (i - (len(others) - 1) / 2) * width for n in at]
        axes.bar(places, [min(time, MOST) for time in times], width, label=name, color=OTHERS[i % len(OTHERS)])
        for place, time in zip(places, times, strict=True):
            if time > MOST:
                axes.text(place, MOST * 1.01, f"{time:.1f}", ha="center", va="bottom", fontsize=6, rotation=90)
    axes.axhline(1, color=OWN, linewidth=1.5, label="tesela")
    axes.set_xticks(range(len(races)), [race["network"] for race in races], rotation=30, ha="right")
    axes.set_ylabel("time over tesela's")
    axes.set_ylim(0, MOST * 1.1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=len(others) + 1, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, path)


def roofline(layers: Sequence[dict], most: dict, path: Path) -> None:
    """Each layer's GFLOP/s over its arithmetic intensity, below what arithmetic and memory allow.

    layers: the "extra_info" of tesela's benchmarks, with flop_per_byte.
    """
    figure = Figure(figsize=(6.5, 4))
    axes = figure.subplots()
    intensities = [layer["flop_per_byte"] for layer in layers]
    left, right = min(intensities) / 1.5, max(intensities) * 1.5
    ridge = most["gflops"] / most["read_gb_s"]
    axes.plot([left, ridge, right], [left * most["read_gb_s"], most["gflops"], most["gflops"]], color="#8a8a8a",
              linewidth=1, label="arithmetic and memory, as measured")  # fmt: skip
    kinds = sorted({layer["algorithm"].split(" F(")[0].split(",")[0] for layer in layers})
    for i, kind in enumerate(kinds):
        own = [layer for layer in layers if layer["algorithm"].split(" F(")[0].split(",")[0] == kind]
        axes.scatter([layer["flop_per_byte"] for layer in own], [layer["gflops"] for layer in own], 14, label=kind,
                     color=matplotlib.colormaps["tab10"](i % 10))  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations of direct convolution for each byte of inputs, weights and outputs")
    axes.set_ylabel("GFLOP/s")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
