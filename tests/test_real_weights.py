"""Weights that others trained, on data they were made for. TESELA_TEST_DATA names the folder; nothing of it is ours."""

import os
from pathlib import Path

import numpy as np
import pytest
from tesela import models

FOLDER = Path(os.environ.get("TESELA_TEST_DATA", "missing"))


def data(name):
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"TESELA_TEST_DATA names no folder with {name}")
    return path


@pytest.mark.parametrize(("name", "right"), [("resnet20", 0.99), ("resnet56", 1.0)])
def test_residual_networks_read_cifar10(name, right):
    """They were trained on these images."""
    net = models.NETWORKS[name](weights=data(f"{name}_cifar10.npz"))
    with np.load(data("cifar10_4000.npz")) as cifar:
        x, label = cifar["x"][:400], cifar["y"][:400]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    x = np.ascontiguousarray(((x / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    logits = net(x)
    assert np.mean(logits.argmax(axis=1) == label) >= right
    expected = net.reference(x[:4])
    assert np.abs(logits[:4] - expected).max() <= 1e-5 * np.abs(expected).max()
