"""The race over whole networks: python -m bench.networks, from the root of the repository.

Writes bench/results/<machine>/networks.json after every race, so that what was measured is kept if it is interrupted.
"""

import argparse
import json
from pathlib import Path

from tesela import benchmark, models

from bench.source import commit

NETWORKS = (
    "alexnet", "resnet18", "resnet50", "googlenet", "resnext50_32x4d", "se_resnet50", "squeezenet1_1", "mobilenet_v2",
    "autoencoder", "dcgan_generator", "vgg16", "resnet152", "fcn_resnet50",
)  # fmt: skip
SETTINGS = ((1, 2), (1, 1), (16, 2))  # (batch, threads)


def main() -> None:
    parser = argparse.ArgumentParser(description="Race tesela against the engines that are installed.")
    parser.add_argument("--out", type=Path, help="file to write (default: bench/results/<machine>/networks.json)")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=models.NETWORKS, metavar="NETWORK")
    parser.add_argument("--engines", nargs="+", choices=benchmark.ENGINES, help="default: all that are installed")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each engine and race (default: %(default)s)")
    parser.add_argument("--tune", action="store_true", help="let tesela measure its algorithms first")
    parser.add_argument("--settings", nargs="+", default=SETTINGS, metavar="BATCHxTHREADS",
                        type=lambda text: tuple(map(int, text.split("x"))))  # fmt: skip
    args = parser.parse_args()

    out = args.out or Path(__file__).parent / "results" / benchmark.slug(benchmark.describe()) / "networks.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    races = []
    for batch, threads in args.settings:
        for name in args.networks:
            net = models.NETWORKS[name]()
            races.append(benchmark.race(net, batch, threads, args.engines, args.seconds, tune=args.tune))
            print(benchmark.table(races[-1]), end="\n\n", flush=True)
            out.write_text(json.dumps(benchmark.record(races) | {"commit": commit()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
