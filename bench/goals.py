"""How far ahead of the best other engine tesela means to be: its time over tesela's, at least, in float32.

Batch 1 with one thread and with two, batch 16 with two. Set from what arithmetic and memory of a processor with AVX-512
allow and what the engines reached on one; report.py shows them beside what was measured.
"""

NARROWER = 1 / 1.15  # where tesela runs on AVX2: no network may take more than 1.15 times the best engine's time

# network -> (batch 1, batch 16)
GOALS = {
    "alexnet": (1.05, 2.0),
    "vgg16": (1.10, 1.3),
    "resnet18": (1.25, 1.35),
    "resnet50": (1.10, 1.15),
    "resnet152": (1.10, 1.15),
    "googlenet": (1.25, 1.3),
    "resnext50_32x4d": (1.10, 1.15),
    "se_resnet50": (1.15, 1.2),
    "squeezenet1_1": (1.15, 1.15),
    "mobilenet_v2": (1.10, 1.10),
    "autoencoder": (1.25, 1.2),
    "dcgan_generator": (1.15, 1.15),
    "fcn_resnet50": (1.10, 1.10),
}


def goal(network: str, batch: int, isa: str) -> float:
    return GOALS.get(network, (1.0, 1.0))[batch > 1] if isa == "avx512" else NARROWER
