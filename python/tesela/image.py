"""Pictures in and out: from a file to the array that a network takes, and from an array to a file.

    x = ts.image.load("photo.jpg", 227)                  # shorter side to 227, centre crop, values in 0..1
    x = ts.image.IMAGENET("photo.jpg")                   # as the networks of torchvision were trained
    larger = dataclasses.replace(ts.image.IMAGENET, resize=320, crop=288)

The presets below Transform are what published weights expect. Resizing is Pillow's, whose filters grow as the
picture shrinks (antialiasing); sizes of resize and crop are rounded as in torchvision. Needs Pillow: pip install
'tesela[image]'.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import integer, pair

try:
    from PIL import Image, ImageOps
except ImportError:

    class _Missing:
        """In Pillow's place: said where a picture is first touched, because a transform can be read without it."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            raise ImportError("image: reading pictures needs Pillow; pip install 'tesela[image]'")

    Image = ImageOps = _Missing()

if TYPE_CHECKING:
    Source = str | os.PathLike[str] | Image.Image | np.ndarray


INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class Transform:
    """From a picture to a network's input; called with a path, a Pillow image or an array (see `read`).

    resize         length of the shorter side after resizing, the other in proportion; (h, w) sets both and distorts;
                   None keeps the size
    crop           int or (h, w) cut from the centre; None keeps all
    scale          factor for the 8-bit values
    mean, std      one number, or three in the order of `channels`; the result is (value * scale - mean) / std
    channels       "RGB", "BGR" or "L": one of grey, 0.299 R + 0.587 G + 0.114 B (ITU-R 601-2)
    interpolation  of resize: "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos"

    Returns (1, 3, H, W) float32, C-contiguous; (1, 1, H, W) for "L".
    """

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    mean: float | tuple[float, float, float] = 0.0
    std: float | tuple[float, float, float] = 1.0
    scale: float = 1 / 255
    channels: str = "RGB"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name, value, known in (("channels", self.channels, ("RGB", "BGR", "L")),
                                   ("interpolation", self.interpolation, INTERPOLATIONS)):  # fmt: skip
            if value not in known:
                raise ValueError(f"image: expected {name} as one of {', '.join(map(repr, known))}, got {value!r}")
        for name, value in (("resize", self.resize), ("crop", self.crop)):
            if value is not None and min(pair("image", name, value)) < 1:
                raise ValueError(f"image: expected {name} of at least 1, got {value}")
        for name in ("mean", "std"):
            if np.shape(getattr(self, name)) not in ((), (1,) if self.channels == "L" else (3,)):
                counts = "one number" if self.channels == "L" else "one number or three"
                raise ValueError(f"image: expected {name} as {counts}, got {getattr(self, name)!r}")

    def __call__(self, source: Source) -> np.ndarray:
        picture = read(source)
        if self.resize is not None:
            picture = _resized(picture, self.resize, self.interpolation)
        if self.crop is not None:
            picture = _cropped(picture, *pair("image", "crop", self.crop))
        pixels = np.asarray(picture.convert("L") if self.channels == "L" else picture, np.float32)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        values = (pixels * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


_IMAGENET_STATISTICS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# torchvision's ImageClassification(crop_size=224), and what most of timm's residual networks take.
IMAGENET = Transform(resize=256, crop=224, **_IMAGENET_STATISTICS)
# torchvision's SemanticSegmentation(resize_size=520).
SEGMENTATION = Transform(resize=520, **_IMAGENET_STATISTICS)
# akamaster/pytorch_resnet_cifar10, as in its trainer.py.
CIFAR10 = Transform(resize=32, crop=32, **_IMAGENET_STATISTICS)
# Inception and GoogLeNet as TensorFlow trained them, also torchvision's googlenet: values in -1..1.
INCEPTION = Transform(resize=256, crop=224, mean=0.5, std=0.5)
# PyTorch's example of DCGAN: pictures in -1..1, as the generator draws them.
DCGAN = Transform(resize=64, crop=64, mean=0.5, std=0.5)
# Caffe's reference models: all pictures are made square. AlexNet crops 227, GoogLeNet and SqueezeNet 224.
CAFFE = Transform(resize=(256, 256), crop=227, mean=(104, 117, 123), scale=1, channels="BGR")
# VGG as its authors trained it in Caffe (1409.1556), and FCN on top of it.
VGG = Transform(resize=256, crop=224, mean=(103.939, 116.779, 123.68), scale=1, channels="BGR")
# VGG-Face: the mean of its Caffe model.
VGG_FACE = Transform(resize=256, crop=224, mean=(93.594, 104.7624, 129.1863), scale=1, channels="BGR")
# Grey in 0..1 for LeNet-5 and the denoiser. The weights that come with tesela were trained on ink that is 1, paper 0.
GREY = Transform(resize=32, crop=32, channels="L")


def load(source: Source, size: int | tuple[int, int] | None = None, **transform: Any) -> np.ndarray:
    """A picture as (1, 3, H, W) float32; `size` is Transform's crop, and its longer side the default of resize."""
    if size is not None:
        transform = {"resize": max(pair("image", "size", size)), "crop": size} | transform
    return Transform(**transform)(source)


def read(source: Source) -> Image.Image:
    """A picture in mode RGB, upright: grey is repeated, transparency dropped, 16 bits per channel rounded to 8.

    source: a path, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8 or uint16. What
    cannot be decoded, is cut short or is larger than Pillow's limit for decompression bombs raises ValueError.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, (str, os.PathLike, Image.Image)):
        raise TypeError(f"image: expected a path, a Pillow image or an array, got {type(source).__name__}")
    name = "the picture" if isinstance(source, Image.Image) else os.fspath(source)
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source)
        with Image.open(source) as picture:
            return _to_rgb(picture)
    except FileNotFoundError:
        raise FileNotFoundError(f"image: no such file: {name}") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        raise ValueError(f"image: {name} cannot be read: {error}") from None


def save(array: np.ndarray, path: str | os.PathLike[str], columns: int | None = None, zoom: int = 1) -> None:
    """Writes pictures side by side, `columns` in a row (default: all), with white lines between them.

    array: (N, C, H, W), C 1 (grey) or 3 (RGB), values in 0..1; what lies outside is clipped. Each value becomes
    zoom x zoom pixels.
    """
    array = np.asarray(array)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or array.size == 0:
        raise ValueError(f"image: expected pictures of shape (N, 1 or 3, H, W), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("image: expected finite values, got NaN or infinity")
    columns = len(array) if columns is None else columns
    for name, value in (("columns", columns), ("zoom", zoom)):
        if integer("image", name, value) < 1:
            raise ValueError(f"image: expected {name} of at least 1, got {value}")
    array = array.repeat(zoom, axis=2).repeat(zoom, axis=3)
    n, channels, height, width = array.shape
    rows, gap = -(-n // columns), 2
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, picture in enumerate(np.rint(255 * np.clip(array, 0, 1)).astype(np.uint8)):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(path)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"image: expected an array of uint8 or uint16, got {array.dtype}")
    if array.size == 0 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError(f"image: expected an array of shape (H, W) or (H, W, 1, 3 or 4), got {array.shape}")
    if array.dtype == np.uint16:
        array = _eight_bits(array)
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(array[:, :, :3]))


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """0..65535 to the nearest of 0..255; Pillow's own conversion clips at 255."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if Image.MAX_IMAGE_PIXELS is not None and picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(
            f"{picture.width} x {picture.height} pixels are more than Pillow's limit against decompression "
            f"bombs, {Image.MAX_IMAGE_PIXELS}; raise PIL.Image.MAX_IMAGE_PIXELS if you trust the picture"
        )
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # one channel of 16 bits, whatever the width of the integers
        return _from_array(np.clip(np.asarray(picture), 0, 65535).astype(np.uint16))
    if picture.mode == "F":
        raise ValueError("floating-point pictures have no known range; pass an array of uint8 or uint16")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # as Pillow asks for palettes with transparency
    return picture.convert("RGB")


def _resized(picture: Image.Image, target: int | tuple[int, int], interpolation: str) -> Image.Image:
    width, height = picture.size
    if not isinstance(target, (int, np.integer)):
        size = tuple(target)[::-1]
    elif width <= height:
        size = (target, max(1, target * height // width))
    else:
        size = (max(1, target * width // height), target)
    return picture if size == picture.size else picture.resize(size, Image.Resampling[interpolation.upper()])


def _cropped(picture: Image.Image, height: int, width: int) -> Image.Image:
    if picture.width < width or picture.height < height:
        raise ValueError(f"image: a picture of {picture.height} x {picture.width} holds no crop of {height} x {width}")
    top, left = round((picture.height - height) / 2), round((picture.width - width) / 2)
    return picture.crop((left, top, left + width, top + height))
