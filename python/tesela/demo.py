"""What `tesela demo` shows: the weights that come with the package at work, and how fast and how exact networks are.

Digits and photographs are those of scikit-learn; see pretrained/README.md for how they were split.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import image, models
from .benchmark.worker import timed

NOISE = 0.3  # standard deviation; the denoiser was trained for it


def _datasets() -> Any:
    try:
        import sklearn.datasets
        import sklearn.model_selection
    except ImportError:
        raise ImportError("demo: digits and photographs come from scikit-learn; pip install 'tesela[demo]'") from None
    return sklearn


def held_out_digits() -> tuple[np.ndarray, np.ndarray]:
    """The quarter of the digits that no training saw: (N, 1, 32, 32) float32 in 0..1, and (N,) labels."""
    sklearn = _datasets()
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    x = np.kron(images.reshape(-1, 8, 8) / 16, np.ones((4, 4)))[:, None].astype(np.float32)
    split = sklearn.model_selection.train_test_split(x, labels, test_size=0.25, random_state=0, stratify=labels)
    return split[1], split[3]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels at once; the peak is 1."""
    return -10 * math.log10(np.mean((a.astype(np.float64) - b) ** 2))


def classify() -> tuple[int, int]:
    """(right, all): LeNet-5 on the held-out digits."""
    x, labels = held_out_digits()
    logits = models.lenet5(weights="digits")(x)
    return int((logits.argmax(axis=1) == labels).sum()), len(labels)


def denoise(path: Path, columns: int = 12) -> tuple[float, float]:
    """PSNR of the held-out digits with noise and after the denoiser; `path` gets rows of clean, noisy and denoised."""
    clean, _ = held_out_digits()
    noise = np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    noisy = np.clip(clean + np.float32(NOISE) * noise, 0, 1)
    denoised = models.denoiser(weights="digits")(noisy)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(np.concatenate([x[:columns] for x in (clean, noisy, denoised)]), path, columns, zoom=2)
    return psnr(noisy, clean), psnr(denoised, clean)


@dataclass(frozen=True)
class Result:
    network: str
    photograph: str
    milliseconds: float  # median of `runs` runs on one image, with all threads
    runs: int
    error: float  # largest deviation from the float64 reference over its largest value


PHOTOGRAPHS = (
    ("alexnet", "china.jpg", image.Transform(resize=256, crop=227)),
    ("resnet50", "china.jpg", image.IMAGENET),
    ("autoencoder", "flower.jpg", image.Transform(resize=256, crop=224)),
)


def photographs(seconds: float = 1.5) -> Iterator[Result]:
    """Large networks on photographs. With seeded weights they recognise nothing, but take their time and round."""
    for name, photograph, transform in PHOTOGRAPHS:
        x = transform(_datasets().datasets.load_sample_image(photograph))
        network = models.NETWORKS[name]()
        expected = network.reference(x)
        error = float(np.abs(network(x) - expected).max() / np.abs(expected).max())
        times = timed(functools.partial(network, x), seconds)
        yield Result(name, photograph, 1e3 * statistics.median(times), len(times), error)
