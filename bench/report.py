"""Writes what was measured into the documents, from the records in bench/results: python -m bench.report.

docs/performance.md with its figures, the tables in README.md, and the line "// Measured:" in the kernels that have
layers in a record.
"""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

from bench import figures
from bench.goals import goal
from bench.gpu import tables

BEGIN, END = "<!-- performance -->", "<!-- /performance -->"
NOTHING = "No measurement has been recorded yet; `python -m bench.networks` makes one.\n"

HEAD = """\
# Performance

This page is written by `python -m bench.report` from the records in `bench/results`;
[bench/README.md](../bench/README.md) says how they are made. Times are milliseconds for the whole batch, the median of
runs in turns; all engines compute in float32, with the same weights and the same number of threads, and their outputs
were compared first. *Ratio* is the best other engine's time over tesela's: above 1, tesela is faster. *Goal* is the
ratio that tesela aims at, in bold where it was missed. *GFLOP/s* counts the operations of direct convolution, so that
transforms, which need fewer, can pass the ceiling.
"""


# Kernel file -> the algorithms that profile() shows for it, without the F(m, r) of Winograd's.
KERNELS = {
    "conv2d_pointwise": ["pointwise"],
    "conv2d_strassen": ["strassen"],
    "conv2d_direct": ["direct"],
    "conv2d_stem": ["stem"],
    "conv2d_winograd": ["winograd"],
    "conv2d_depthwise": ["depthwise", "grouped in place"],
    "conv2d_grouped": ["grouped"],
    "gemm": ["gemm"],
}


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def milliseconds(engines: dict, name: str) -> str:
    return f"{engines[name]['median_ms']:.2f}" if name in engines else ""


def ratio(race: dict) -> str:
    return "" if race["ratio"] is None else f"{race['ratio']:.2f}"


def aim(race: dict, isa: str) -> str:
    """The goal for this race; in bold where it was missed."""
    least = round(goal(race["network"], race["batch"], isa), 2)
    missed = race["ratio"] is not None and round(race["ratio"], 2) < least
    return f"**{least:.2f}**" if missed else f"{least:.2f}"


def setting(race: dict) -> tuple[int, int]:
    return race["batch"], race["threads"]


def network_tables(record: dict, folder: Path, machine: str) -> str:
    """One table and one figure for each batch size and number of threads; engines are columns."""
    parts = []
    for (batch, threads), group in groupby(sorted(record["races"], key=setting), setting):
        races = list(group)
        others = sorted({name for race in races for name in race["engines"]} - {"tesela"})
        rows = [
            [race["network"], milliseconds(race["engines"], "tesela"),
             *(milliseconds(race["engines"], name) for name in others), ratio(race),
             aim(race, record["build"]["isa"]),
             f"{race['gflop'] / race['engines']['tesela']['median_ms'] * 1e3:.0f}"]
            for race in races
        ]  # fmt: skip
        parts.append(f"### Batch {batch}, threads: {threads}\n\n")
        parts.append(markdown(["network", "tesela", *others, "ratio", "goal", "GFLOP/s"], rows) + "\n")
        if others:
            name = f"{machine}-batch{batch}-threads{threads}.svg"
            figures.bars(races, folder / name)
            parts.append(f"![Times over tesela's]({folder.name}/{name})\n\n")
        most = record["ceilings"][str(threads)]
        parts.append(
            f"Ceilings measured with as many threads: {most['gflops']:.0f} GFLOP/s in matrix products in cache, "
            f"{most['read_gb_s']:.0f} GB/s read from memory.\n"
        )
        absent: dict[tuple[str, str], list[str]] = {}
        for race in races:
            for name, reason in race["skipped"].items():
                absent.setdefault((name, reason), []).append(race["network"])
        for (name, reason), networks in sorted(absent.items()):
            where = "any network" if len(networks) == len(races) else ", ".join(networks)
            parts.append(f"- {name} was not timed on {where}: {reason}\n")
        parts.append("\n")
    return "".join(parts)


def about(record: dict) -> str:
    machine, build = record["machine"], record["build"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    load = max(race["load_before"] or 0 for race in record["races"])
    return (
        f"{machine['cores']} cores, {' '.join(machine['flags'])}, {machine['system']}; {record['date'][:10]}; "
        f"load average before a race at most {load:.2f}.\n"
        f"tesela built with {build['compiler']} ({build['build_type']}), running on {build['isa']}. "
        f"Versions: {versions}{', commit ' + record['commit'] if 'commit' in record else ''}.\n\n"
    )


def layer_part(data: dict, record: dict, folder: Path, machine: str) -> str:
    """What bench_layers.py recorded: microseconds of each engine, and how near tesela comes to the ceiling."""
    layers: dict[str, dict[str, dict]] = {}
    for one in data["benchmarks"]:
        layers.setdefault(one["group"], {})[one["extra_info"]["engine"]] = one
    others = sorted({name for engines in layers.values() for name in engines} - {"tesela"})
    rows = []
    for layer, engines in layers.items():
        own = engines["tesela"]["extra_info"]
        times = [f"{1e6 * engines[n]['stats']['median']:.0f}" if n in engines else "" for n in ("tesela", *others)]
        rows.append([f"`{layer}`", *times, own["algorithm"], f"{own['gflops']:.0f}", f"{own['percent_of_peak']:.0f} %"])
    table = markdown(["layer, µs", "tesela", *others, "algorithm", "GFLOP/s", "of ceiling"], rows) + "\n"
    own = [engines["tesela"]["extra_info"] for engines in layers.values()]
    if "flop_per_byte" not in own[0]:
        return table
    name = f"{machine}-layers.svg"
    figures.roofline(own, record["ceilings"][str(own[0]["threads"])], folder / name)
    return f"{table}![The layers below the ceilings]({folder.name}/{name})\n\n"


def operator_part(record: dict) -> str:
    """What operators.py recorded: microseconds of layers that memory bounds, GFLOP/s of gemm and NumPy's matmul."""
    parts = []
    others = sorted({name for race in record["races"] for name in race["engines"]} - {"tesela"})
    for threads, races in groupby(record["races"], lambda race: race["threads"]):
        rows = []
        for race in races:
            medians = {name: f"{1e3 * engine['median_ms']:.0f}" for name, engine in race["engines"].items()}
            times = [medians.get(name, "") for name in ("tesela", *others)]
            rows.append([race["network"], " x ".join(map(str, race["input"][1:])), *times, ratio(race)])
        header = [f"layer, µs, threads: {threads}", "channels and plane", "tesela", *others, "ratio"]
        parts.append(markdown(header, rows))
    rows = [
        [f"{row['m']} x {row['k']} x {row['n']}", str(row["threads"]), f"{row['gflops']['tesela']:.0f}",
         f"{row['gflops']['numpy']:.0f}", f"{row['ratio']:.2f}"]
        for row in record["products"]
    ]  # fmt: skip
    parts.append(markdown(["product, M x K x N", "threads", "gemm, GFLOP/s", "numpy.matmul", "ratio"], rows))
    return "\n".join([*parts, ""])


def cold_start_part(record: dict) -> str:
    """What cold_start.py recorded."""
    return (
        f"`import tesela` takes {record['tesela_beyond_numpy_ms']:.0f} ms beyond NumPy's own "
        f"{record['numpy_ms']:.0f}. From the start of a process to ResNet-50's first result, with weights in a file, "
        f"it is {record['first_result_ms']:.0f} ms, and the process has taken {record['peak_mb']:.0f} MB by then: "
        f"{record['weights_mb']:.0f} of weights, {record['packed_weights_mb']:.0f} packed, {record['arena_mb']:.0f} of "
        f"activations, and Python.\n\n"
    )


def short_table(record: dict) -> str:
    """For the README: tesela's time and the ratio, a row for each network."""
    settings = sorted({setting(race) for race in record["races"]})
    cells = {
        (race["network"], setting(race)): f"{race['engines']['tesela']['median_ms']:.1f} ms, {ratio(race)}"
        for race in record["races"]
    }
    names = list(dict.fromkeys(race["network"] for race in record["races"]))
    rows = [[name, *(cells.get((name, one), "") for one in settings)] for name in names]
    header = ["network", *(f"batch {batch}, threads: {threads}" for batch, threads in settings)]
    machine = record["machine"]
    return (
        f"{markdown(header, rows)}\n{machine['cpu']}, {record['build']['isa']}, {machine['cores']} cores, "
        f"{record['date'][:10]}; float32, same weights; more in [docs/performance.md](docs/performance.md).\n"
    )


def measured_line(data: dict, record: dict, algorithms: Sequence[str]) -> str | None:
    """How near the layers that ran on these algorithms come to the ceiling."""
    shares = [
        one["extra_info"]["percent_of_peak"]
        for one in data["benchmarks"]
        if one["extra_info"].get("algorithm", "").split(" F(")[0] in algorithms
    ]
    if not shares:
        return None
    layers = f"{len(shares)} layers" if len(shares) > 1 else "one layer"
    cpu, isa, date = record["machine"]["cpu"], record["build"]["isa"], record["date"][:10]
    threads = data["benchmarks"][0]["extra_info"]["threads"]
    least, middle, most = min(shares), median(shares), max(shares)
    return (
        f"// Measured: {layers} at {least:.0f} to {most:.0f} % of the ceiling, median {middle:.0f} %;\n"
        f"// {cpu}, {isa}, {threads} threads, {date}; docs/performance.md.\n"
    )


def write_measured_lines(root: Path, data: dict, record: dict) -> None:
    for kernel, algorithms in KERNELS.items():
        path = root / f"csrc/cpu/kernels/{kernel}.cpp"
        line = measured_line(data, record, algorithms)
        if line is None:
            continue
        source = path.read_text()
        if "// Measured:" in source:  # up to the page that it names, on this line or the next
            source = re.sub(r"// Measured:[^#]*?docs/performance\.md\.\n", line, source, count=1)
        else:
            header, include, rest = source.partition("\n#include")
            source = f"{header}//\n{line}{include}{rest}"
        if line not in source:
            raise ValueError(f"{path}: expected a line '// Measured: ... docs/performance.md.'")
        path.write_text(source)


def write(root: Path) -> None:
    """Rewrites docs/performance.md, what is between the markers in README.md, and the kernels' measured lines."""
    paths = sorted((root / "bench/results").glob("*/networks.json"))
    records = [json.loads(path.read_text()) for path in paths]
    folder = root / "docs/figures"
    page = [HEAD + "\n", *([] if records else [NOTHING])]
    for path, record in zip(paths, records, strict=True):
        page += [f"## {record['machine']['cpu']}, {record['build']['isa']}\n\n", about(record)]
        page.append(network_tables(record, folder, path.parent.name))
        layers = path.with_name("layers.json")
        if layers.exists():
            page += ["### Layers\n\n", layer_part(json.loads(layers.read_text()), record, folder, path.parent.name)]
        for title, name, part in (
            ("Single operators", "operators.json", operator_part),
            ("Before the first result", "cold_start.json", cold_start_part),
        ):
            if path.with_name(name).exists():
                page += [f"### {title}\n\n", part(json.loads(path.with_name(name).read_text()))]
    page.append(tables.part(root))
    (root / "docs/performance.md").write_text("".join(page).rstrip() + "\n")

    readme = (root / "README.md").read_text()
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md: expected the markers {BEGIN} and {END}")
    tables_by_isa = [short_table(record) for record in sorted(records, key=lambda r: r["build"]["isa"], reverse=True)]
    table = "\n".join(tables_by_isa) or NOTHING
    with_layers = [
        (record["date"], path.with_name("layers.json"), record)
        for path, record in zip(paths, records, strict=True)
        if path.with_name("layers.json").exists()
    ]
    if with_layers:
        _, layers, record = max(with_layers, key=lambda item: item[0])
        write_measured_lines(root, json.loads(layers.read_text()), record)
    (root / "README.md").write_text(f"{before}{BEGIN}\n{table}{END}{after}")


if __name__ == "__main__":
    write(Path(__file__).parents[1])
