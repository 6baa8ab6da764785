"""A PyTorch state_dict as .safetensors, which tesela reads without unpickling anything.

    python examples/convert_torch_weights.py vgg16-397923af                    # a name in tesela.published: downloaded
    python examples/convert_torch_weights.py mine.pth mine.safetensors --network resnet18

PyTorch loads with weights_only=True, which builds tensors and runs nothing else of the file. A checkpoint that holds
its state_dict under "state_dict", "model" or "model_state_dict" is opened, "module." of DataParallel is taken from the
names, and every tensor gets memory of its own. --network compares names and shapes with a network before writing.

Needs PyTorch and safetensors; a published name needs pooch too.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from tesela import models, published

NESTED = ("state_dict", "model_state_dict", "model")


def state_of(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a PyTorch file, by name."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state:
        raise SystemExit(f"{path}: expected a state_dict, got {type(state).__name__}")
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise SystemExit(f"{path}: expected nothing but tensors, got {others[0]} of {type(state[others[0]]).__name__}")
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    # Contiguous clones: names that share memory, as tied weights do, are refused by safetensors.
    return {name.removeprefix(prefix): value.detach().contiguous().clone() for name, value in state.items()}


def convert(source: str, output: Path | None, network: str | None) -> Path:
    if source in published.ENTRIES:
        path = published.fetch(source)
    else:
        path = Path(source)
    if not path.is_file():
        raise SystemExit(f"{path}: no such file, and no name in tesela.published.ENTRIES")
    state, output = state_of(path), output or path.with_suffix(".safetensors")
    if network is not None:
        models.NETWORKS[network](weights=state)
    # The name is there only when the file is whole.
    part = output.with_name(output.name + ".part")
    save_file(state, part)
    os.replace(part, output)
    return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a PyTorch file, or a name in tesela.published")
    parser.add_argument("output", nargs="?", type=Path, help="where to; beside the file if not given")
    parser.add_argument("--network", choices=models.NETWORKS, metavar="NETWORK", help="must have these very tensors")
    given = parser.parse_args()
    print(convert(given.source, given.output, given.network))
