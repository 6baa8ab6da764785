"""Weights that others published: where they are, what they are worth, and the pictures they expect.

    net = ts.published.load("resnet18.tv_in1k")                # downloaded once, verified, never unpickled
    x = ts.published.ENTRIES["resnet18.tv_in1k"].transform("photo.jpg")
    print(ts.published.ENTRIES["resnet18.tv_in1k"].class_names[net(x).argmax()])
    net = ts.models.resnet18(weights="resnet18.tv_in1k")       # the same network

An entry has the name that its publisher gives the file. Nothing of it comes with tesela: pooch downloads it into
`cache()` and compares its SHA-256 with the one written here, which comes from the publisher: a Git LFS pointer, or the
eight digits in the names of PyTorch's files. Those are not read; examples/convert_torch_weights.py turns one into
.safetensors, where PyTorch is installed. Needs pooch: pip install 'tesela[weights]'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .runtime import cache

if TYPE_CHECKING:
    from .image import Transform
    from .network import Network


@dataclass(frozen=True)
class Published:
    network: str | None  # in models.NETWORKS, None for an ONNX model
    url: str
    sha256: str  # all of it, or how it begins
    source: str  # the page that vouches for the file
    licence: str
    accuracy: str  # as claimed there; not measured with tesela
    preset: str = "IMAGENET"  # of tesela.image
    changes: Mapping[str, Any] = field(default_factory=dict)  # to the preset
    options: Mapping[str, Any] = field(default_factory=dict)  # of the network
    unused: tuple[str, ...] = ()  # prefixes of tensors that only training uses
    classes: str = "imagenet"  # a file in class_names/

    @property
    def transform(self) -> Transform:
        """From a picture to the network's input."""
        from . import image

        return replace(getattr(image, self.preset), **self.changes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the outputs stand for, in their order. ImageNet's and VOC's as torchvision has them (BSD-3-Clause)."""
        path = Path(__file__).parent / "class_names" / f"{self.classes}.txt"
        return tuple(path.read_text(encoding="utf-8").splitlines())

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return self.url.rsplit("/", 1)[1]


def _torchvision(
    network: str, digits: str, accuracy: str, module: str = "", stem: str | None = None, **more: Any
) -> tuple[str, Published]:
    name = f"{stem or network}-{digits}"
    return name, Published(
        network,
        f"https://download.pytorch.org/models/{name}.pth",
        digits,
        f"https://github.com/pytorch/vision/blob/main/torchvision/models/{module or network}.py",
        "BSD-3-Clause",
        accuracy,
        **more,
    )


def _akamaster(network: str, digits: str, accuracy: str) -> tuple[str, Published]:
    name, page = f"{network}-{digits}", "https://github.com/akamaster/pytorch_resnet_cifar10"
    url = f"{page}/raw/master/pretrained_models/{name}.th"
    return name, Published(network, url, digits, page, "BSD-2-Clause", accuracy, "CIFAR10", classes="cifar10")


def _timm(network: str, tag: str, revision: str, sha256: str, licence: str, accuracy: str) -> tuple[str, Published]:
    name = f"{network}.{tag}"
    page = f"https://huggingface.co/timm/{name}"
    return name, Published(network, f"{page}/resolve/{revision}/model.safetensors", sha256, page, licence, accuracy)


def _onnx(path: str, sha256: str, licence: str, accuracy: str, **more: Any) -> tuple[str, Published]:
    folder, name = f"validated/vision/classification/{path}".rsplit("/model/", 1)
    url = f"https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/{folder}/model/{name}.onnx"
    page = f"https://github.com/onnx/models/tree/main/{folder}"
    return name, Published(None, url, sha256, page, licence, accuracy, **more)


# As on the page of googlenet: Pillow's default filter, which was bicubic, to a square.
_SQUARE = {"resize": (224, 224), "crop": None, "interpolation": "bicubic"}
ENTRIES: dict[str, Published] = dict(
    (
        # torchvision's weights in another file; the accuracy is torchvision's.
        _timm("resnet18", "tv_in1k", "a987fd6b60f845221bfff84b6f0191273ba56ead",
              "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
              "BSD-3-Clause", "ImageNet top-1 69.758 %"),
        _timm("resnet50", "tv_in1k", "aa6c2d36d56bc0209040c02b5a7b7d7bf11d57b8",
              "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
              "BSD-3-Clause", "ImageNet top-1 76.130 %"),
        _torchvision("resnet18", "f37072fd", "ImageNet top-1 69.758 %", "resnet"),
        _torchvision("resnet34", "b627a593", "ImageNet top-1 73.314 %", "resnet"),
        _torchvision("resnet50", "0676ba61", "ImageNet top-1 76.130 %", "resnet"),
        _torchvision("resnet50", "11ad3fa6", "ImageNet top-1 80.858 %", "resnet", changes={"resize": 232}),
        _torchvision("resnet101", "63fe2227", "ImageNet top-1 77.374 %", "resnet"),
        _torchvision("resnet152", "394f9c45", "ImageNet top-1 78.312 %", "resnet"),
        _torchvision("resnext50_32x4d", "7cdf4587", "ImageNet top-1 77.618 %", "resnet"),
        _torchvision("resnext101_32x8d", "8ba56ff5", "ImageNet top-1 79.312 %", "resnet"),
        _torchvision("vgg11", "8a719046", "ImageNet top-1 69.020 %", "vgg"),
        _torchvision("vgg13", "19584684", "ImageNet top-1 69.928 %", "vgg"),
        _torchvision("vgg16", "397923af", "ImageNet top-1 71.592 %", "vgg"),
        _torchvision("vgg19", "dcbb9e9d", "ImageNet top-1 72.376 %", "vgg"),
        _torchvision("vgg16", "6c64b313", "ImageNet top-1 73.360 %", "vgg", "vgg16_bn", options={"batch_norm": True}),
        _torchvision("googlenet", "1378be20", "ImageNet top-1 69.778 %", preset="INCEPTION",
                     options={"batch_norm": True}, unused=("aux1.", "aux2.")),
        _torchvision("squeezenet1_0", "b66bff10", "ImageNet top-1 58.092 %", "squeezenet"),
        _torchvision("squeezenet1_1", "b8a52dc0", "ImageNet top-1 58.178 %", "squeezenet"),
        _torchvision("mobilenet_v2", "b0353104", "ImageNet top-1 71.878 %", "mobilenetv2"),
        _torchvision("fcn_resnet50", "1167a1af", "COCO val 2017 with VOC's classes, mean IoU 60.5 %",
                     "segmentation/fcn", "fcn_resnet50_coco", preset="SEGMENTATION", unused=("aux_classifier.",),
                     classes="voc"),
        _akamaster("resnet20", "12fca82f", "CIFAR-10 test error 8.27 %"),
        _akamaster("resnet56", "4bfd9763", "CIFAR-10 test error 6.61 %"),
        _onnx("mnist/model/mnist-8", "2f06e72de813a8635c9bc0397ac447a601bdbfa7df4bebc278723b958831c9bf",
              "MIT", "MNIST top-1 error 1.1 %", preset="GREY", changes={"resize": 28, "crop": 28},
              classes="digits"),
        _onnx("squeezenet/model/squeezenet1.0-8", "3c0bff2f7c984350d3ffa98e0167dc08c15da88f05d0c31989ebeba6fbb5e025",
              "Apache-2.0", "ImageNet top-1 56.85 % (of squeezenet1.0-12)", preset="CAFFE", changes={"crop": 224}),
        _onnx("alexnet/model/bvlcalexnet-12", "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
              "BSD-3-Clause", "ImageNet top-1 54.80 %", preset="CAFFE", changes={"crop": 224}),
        _onnx("inception_and_googlenet/googlenet/model/googlenet-7",
              "5725ccfd90845735ce5897faf7843c3f9b13acda3c4f3bff82cb21c9337c9de8",
              "BSD-3-Clause", "ImageNet top-1 68.7 %", preset="VGG", changes=_SQUARE),
        _onnx("resnet/model/resnet50-v1-12", "ab65bdc02c5b3123eb3cdf6dac01742438517d8635d4f233913b2be1c70db3b6",
              "Apache-2.0", "ImageNet top-1 74.97 %"),
    )
)  # fmt: skip


def entry(name: str) -> Published:
    if name not in ENTRIES:
        raise ValueError(f"published: unknown weights {name!r}; known are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def fetch(name: str) -> Path:
    """The entry's file as published, downloaded if it is not in the cache, and verified each time.

    Raises ValueError for a file with another hash, which is removed, and OSError if it cannot be downloaded.
    """
    known, pooch, folder = entry(name), _pooch(), cache() / name
    whole = len(known.sha256) == 64
    try:
        path = Path(
            pooch.retrieve(known.url, f"sha256:{known.sha256}" if whole else None, fname=known.file, path=folder)
        )
    except OSError as error:
        raise OSError(
            f"published: {name} could not be downloaded; put the file as {folder / known.file}: {error}"
        ) from None
    if not (found := pooch.file_hash(path)).startswith(known.sha256):
        path.unlink()
        raise ValueError(f"published: expected {known.url} with a SHA-256 of {known.sha256}..., got {found}")
    return path


def weights_file(name: str) -> Path:
    """A file that `weights` reads: the one published, or what examples/convert_torch_weights.py made of it."""
    known = entry(name)
    if known.network is None:
        raise ValueError(f"published: {name} is an ONNX model, no weights; published.load({name!r}) gives the network")
    if not known.file.endswith((".pth", ".th")):
        return fetch(name)
    converted = (cache() / name / known.file).with_suffix(".safetensors")
    if not converted.is_file():
        raise ValueError(
            f"published: {name} is a file of PyTorch, which tesela does not read; convert it once, where PyTorch is "
            f"installed: python examples/convert_torch_weights.py {name}"
        )
    return converted


def load(name: str) -> Network:
    """The entry's network with its weights."""
    known = entry(name)
    if known.network is None:
        from . import onnx

        return onnx.load(fetch(name))
    from . import models

    return models.NETWORKS[known.network](**known.options, weights=name)


def _pooch() -> Any:
    try:
        import pooch
    except ImportError:
        raise ImportError("published: downloads need pooch; pip install 'tesela[weights]'") from None
    return pooch
