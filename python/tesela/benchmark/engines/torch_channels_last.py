"""PyTorch as in torch.py, with activations and weights in NHWC order in memory."""

import torch

from . import Model, Run
from .torch import DISTRIBUTION as DISTRIBUTION
from .torch import prepare as prepare_contiguous


def prepare(model: Model, threads: int) -> Run:
    return prepare_contiguous(model, threads, torch.channels_last)
