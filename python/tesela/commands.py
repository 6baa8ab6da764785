"""The commands of `tesela`: one function each."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import __version__, benchmark, models, runtime
from . import selftest as selftests
from .network import Network

app = typer.Typer(
    help="Convolutional networks from hand-written kernels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"tesela {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Prints it.")] = False,
) -> None: ...


NetworkName = Annotated[
    str, typer.Argument(metavar="NETWORK", help=f"An .onnx file, or one of {', '.join(models.NETWORKS)}.")
]
Weights = Annotated[
    str | None, typer.Option(help="A .npz or .safetensors file, or a name in tesela.published; seeded without it.")
]
Batch = Annotated[int, typer.Option(min=1, help="Images at once.")]
Threads = Annotated[int | None, typer.Option(min=1, help="All that the machine offers without it.")]


def find(name: str, weights: str | None = None) -> Network:
    if name.endswith(".onnx"):
        from . import onnx

        if weights is not None:
            raise ValueError(f"expected no weights for {name}, which has its own, got {weights}")
        return onnx.load(name)
    if name not in models.NETWORKS:
        raise ValueError(f"unknown network {name!r}; known are {', '.join(models.NETWORKS)}, and files named *.onnx")
    return models.NETWORKS[name](weights=weights)


@app.command()
def info() -> None:
    """What this build contains, and what is used on this machine."""
    for title, content in (("build", runtime.build_info()), ("runtime", runtime.show_runtime())):
        table = Table(title=title, show_header=False, title_justify="left")
        for key, value in content.items():
            table.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
        Console().print(table)


@app.command()
def summary(network: NetworkName) -> None:
    """Layers of a network with output sizes, parameters and multiply-adds."""
    print(find(network).summary())


@app.command()
def profile(network: NetworkName, batch: Batch = 1, threads: Threads = None, weights: Weights = None) -> None:
    """Where a network's time goes, layer by layer, on random input."""
    net = find(network, weights)
    rng, sizes = np.random.default_rng(0), net.input_dims(batch).values()
    print(net.profile(*(rng.random(dims, np.float32) for dims in sizes), threads=threads))


@app.command()
def selftest(device: Annotated[str, typer.Option(help="cpu, cuda, or emulator where it was built.")] = "cpu") -> None:
    """Checks every kernel family of a device against the float64 reference; exit status 1 where one is wrong."""
    table = Table("operator", "algorithm", "integers", "error / bound", "", title=f"device {device}")
    failed = checked = 0
    for result in selftests.run(device):
        checked += 1
        failed += not result.passed
        exact = {True: "exact", False: "WRONG", None: ""}[result.exact]
        verdict = "ok" if result.passed else f"FAILED {result.problem}".rstrip()
        table.add_row(result.op, ", ".join(result.algorithms), exact, f"{result.error:.2g}", verdict)
    Console().print(table)
    print(f"{checked - failed} of {checked} checks passed on {device}")
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("demo")) -> None:
    """Reads digits, cleans noisy ones, and times large networks on photographs."""
    from . import demo as parts

    console = Console()
    right, count = parts.classify()
    console.print(f"LeNet-5 reads {right} of {count} held-out digits right: {right / count:.2%}")
    picture = out / "denoised.png"
    before, after = parts.denoise(picture)
    console.print(f"The denoiser takes them from {before:.2f} dB to {after:.2f} dB PSNR; {picture} shows some")
    threads = runtime.num_threads()
    table = Table("network", "photograph", title=f"one image, float32, {threads} threads", title_justify="left")
    for column in ("ms", "runs", "error against float64"):
        table.add_column(column, justify="right")
    with progress() as status:
        task = status.add_task("computing the references in float64")
        for result in parts.photographs():
            table.add_row(
                result.network, result.photograph, f"{result.milliseconds:.1f}", str(result.runs), f"{result.error:.1e}"
            )
            status.update(task, description=f"{result.network} done")
    console.print(table)
    console.print("ms is the median; the error is relative to the largest output. Large networks have seeded weights.")


@app.command()
def bench(
    network: NetworkName,
    batch: Batch = 1,
    threads: Threads = None,
    peers: Annotated[
        str | None, typer.Option(help=f"Comma-separated, of {', '.join(benchmark.ENGINES)}; all without it.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Time for each engine.")] = 4.0,
    weights: Weights = None,
    tune: Annotated[bool, typer.Option("--tune", help="Measure tesela's algorithms first, once for a layer.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Times tesela and other engines side by side: same weights, same threads, outputs compared first."""
    engines = None if peers is None else [name for name in peers.split(",") if name]
    with progress() as status:
        task = status.add_task("starting")

        def say(line: str) -> None:
            status.update(task, description=line)

        result = benchmark.race(find(network, weights), batch, threads, engines, seconds, say, tune)
        status.update(task, description="measuring the machine")
        record = benchmark.record([result])
    print(benchmark.table(result))
    if result["ratio"] is None and peers is None:
        print("pip install 'tesela[bench]' brings engines to race")
    print(benchmark.machine_line(record, result["threads"]))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=1) + "\n")


def progress() -> Progress:
    """What is being done now, on a terminal's stderr, gone when it is done."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
