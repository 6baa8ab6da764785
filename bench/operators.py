"""Pooling, normalisation and matrix products one by one: python -m bench.operators, from the root of the repository.

Pooling and local response normalisation are raced as networks of one layer, with the sizes of published networks; gemm
takes turns with NumPy's matmul, which is OpenBLAS, in one process. Writes bench/results/<machine>/operators.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tesela import benchmark
from tesela.graph import Graph
from tesela.network import Network

from bench.source import commit

# name -> (operator, size of an image, attributes)
LAYERS = {
    "alexnet pool1": ("max_pool2d", (96, 55, 55), {"kernel_size": 3, "stride": 2}),
    "alexnet pool5": ("max_pool2d", (256, 13, 13), {"kernel_size": 3, "stride": 2}),
    "vgg16 pool1": ("max_pool2d", (64, 224, 224), {"kernel_size": 2, "stride": 2}),
    "vgg16 pool4": ("max_pool2d", (512, 28, 28), {"kernel_size": 2, "stride": 2}),
    "resnet maxpool": ("max_pool2d", (64, 112, 112), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "googlenet inception pool": ("max_pool2d", (480, 14, 14), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "lenet pool": ("avg_pool2d", (6, 28, 28), {"kernel_size": 2, "stride": 2}),
    "densenet transition": ("avg_pool2d", (256, 56, 56), {"kernel_size": 2, "stride": 2}),
    "inception average": ("avg_pool2d", (288, 35, 35), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "resnet avgpool": ("global_avg_pool2d", (2048, 7, 7), {}),
    "squeezenet avgpool": ("global_avg_pool2d", (1000, 13, 13), {}),
    "alexnet norm1": ("local_response_norm", (96, 55, 55), {"size": 5}),
    "alexnet norm2": ("local_response_norm", (256, 27, 27), {"size": 5}),
    "googlenet norm2": ("local_response_norm", (192, 56, 56), {"size": 5}),
}

# M, K, N
PRODUCTS = [
    *((n, n, n) for n in (256, 512, 1024, 2048, 4096)),
    # AlexNet as matrix products, one group of each: conv1 to conv5, then fc6 for 1 and 16 images.
    (96, 363, 3025), (128, 1200, 729), (384, 2304, 169), (192, 1728, 169), (128, 1728, 169),
    (1, 9216, 4096), (16, 9216, 4096),
]  # fmt: skip


def layer(name: str) -> Network:
    op, dims, attributes = LAYERS[name]
    g = Graph(name)
    g.output(g.apply(op, "layer", g.input("x", dims), **attributes))
    return Network(g)


def turns(calls: dict[str, Callable[[], object]], seconds: float, rounds: int = 8) -> dict[str, list[float]]:
    """Seconds of each call, in turns; the first of a turn is not counted.

    A turn waits first: threads of the one before still look for work, and would take the cores from this one's.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.15)
            call()
            end = time.perf_counter() + seconds / rounds
            while True:
                begin = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - begin)
                if time.perf_counter() > end:
                    break
    return times


def product(m: int, k: int, n: int, threads: int, seconds: float) -> dict:
    """gemm as a compiled network of one step, and numpy.matmul, both writing into an array that is there."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    g = Graph("gemm")
    g.output(g.apply("gemm", "gemm", g.input("a", a.shape, batched=False), g.input("b", b.shape, batched=False)))
    run = Network(g).compile(threads=threads)
    y, expected = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
    times = turns({"tesela": lambda: run(a, b, out=y), "numpy": lambda: np.matmul(a, b, out=expected)}, seconds)
    if not np.allclose(y, expected, atol=1e-5 * k, rtol=0):
        raise RuntimeError(f"gemm of {m} x {k} and {k} x {n} is not numpy's")
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "m": m, "k": k, "n": n, "threads": threads,
        "gflops": {name: round(2e-9 * m * k * n / median, 1) for name, median in medians.items()},
        "ratio": round(medians["numpy"] / medians["tesela"], 3),
    }  # fmt: skip


def products(threads: int, seconds: float) -> list[dict]:
    """In a process of its own, whose OpenBLAS has been told the number of threads before it starts."""
    script = (
        "import json; from bench.operators import PRODUCTS, product; "
        f"print(json.dumps([product(*sizes, {threads}, {seconds}) for sizes in PRODUCTS]))"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="file to write (default: bench/results/<machine>/operators.json)")
    parser.add_argument("--engines", nargs="+", choices=benchmark.ENGINES, help="default: all that are installed")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each engine and layer (default: %(default)s)")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    args = parser.parse_args()
    out = args.out or Path(__file__).parent / "results" / benchmark.slug(benchmark.describe()) / "operators.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    gemm = [row for threads in args.threads for row in products(threads, args.seconds)]
    for row in gemm:
        sizes = f"{row['m']} x {row['k']} x {row['n']}"
        print(f"gemm {sizes}, threads {row['threads']}: {row['gflops']} GFLOP/s, ratio {row['ratio']}")
    races = []
    for threads in args.threads:
        for name in LAYERS:
            races.append(benchmark.race(layer(name), 1, threads, args.engines, args.seconds))
            print(benchmark.table(races[-1]), end="\n\n", flush=True)
    out.write_text(json.dumps(benchmark.record(races) | {"commit": commit(), "products": gemm}, indent=1) + "\n")


if __name__ == "__main__":
    main()
