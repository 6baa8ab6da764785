"""The building blocks of published networks, exported by PyTorch's two exporters and run beside ONNX Runtime.

Each is exported as it stands, with an open batch, and where it takes images of any size with open height and width;
the same file then serves several batches and sizes.
"""

import itertools
import warnings

import numpy as np
import pytest
import tesela as ts

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

RELATIVE = 1e-4  # of the largest output: two orders of summation in float32


def conv(channels, out, kernel=3, activation=nn.ReLU, **options):
    options.setdefault("padding", kernel // 2)
    layers = [nn.Conv2d(channels, out, kernel, bias=False, **options), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class Block(nn.Module):
    """Parts by name and a function of them, so that each network below is a few lines."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.function(self, x)


def residual():
    """He et al. 2015, arXiv:1512.03385."""
    body = nn.Sequential(conv(8, 16, stride=2), conv(16, 16, activation=None))
    shortcut = conv(8, 16, 1, activation=None, stride=2)
    block = Block(lambda m, x: F.relu(m.body(x) + m.shortcut(x)), body=body, shortcut=shortcut)
    return nn.Sequential(conv(3, 8), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


def inception():
    """Szegedy et al. 2014, arXiv:1409.4842."""
    branches = nn.ModuleList(
        [conv(8, 4, 1), nn.Sequential(conv(8, 4, 1), conv(4, 6, 3)), nn.Sequential(conv(8, 2, 1), conv(2, 4, 5)),
         nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(8, 4, 1))]
    )  # fmt: skip
    block = Block(lambda m, x: torch.cat([branch(x) for branch in m.branches], 1), branches=branches)
    return nn.Sequential(conv(3, 8), block, nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.LocalResponseNorm(5))


def squeeze_and_excitation():
    """Hu et al. 2017, arXiv:1709.01507."""
    gate = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8), nn.Sigmoid())
    block = Block(lambda m, x: x * m.gate(x.mean((2, 3)))[:, :, None, None], gate=gate)
    return nn.Sequential(conv(3, 8), block, conv(8, 4, activation=nn.Hardswish))


def grouped():
    """Xie et al. 2016, arXiv:1611.05431."""
    body = nn.Sequential(conv(8, 16, 1), conv(16, 16, groups=4), conv(16, 8, 1, activation=None))
    return nn.Sequential(conv(3, 8), Block(lambda m, x: F.relu(x + m.body(x)), body=body), nn.PReLU(8))


def inverted_residual():
    """Sandler et al. 2018, arXiv:1801.04381."""
    body = nn.Sequential(
        conv(8, 24, 1, nn.ReLU6), conv(24, 24, groups=24, activation=nn.ReLU6), conv(24, 8, 1, activation=None)
    )
    return nn.Sequential(conv(3, 8, activation=nn.SiLU), Block(lambda m, x: x + m.body(x), body=body), nn.Dropout())


def dilated():
    """Atrous spatial pyramid pooling: Chen et al. 2017, arXiv:1706.05587."""

    def pyramid(m, x):
        pooled = F.interpolate(m.image(x), size=x.shape[2:], mode="bilinear", align_corners=False)
        return m.project(torch.cat([branch(x) for branch in m.branches] + [pooled], 1))

    branches = nn.ModuleList([conv(8, 4, 1), *(conv(8, 4, padding=d, dilation=d) for d in (2, 4, 6))])
    image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(8, 4, 1))
    return nn.Sequential(conv(3, 8), Block(pyramid, branches=branches, image=image, project=conv(20, 8, 1)))


def transposed():
    """Radford et al. 2015, arXiv:1511.06434."""
    up = nn.ConvTranspose2d(8, 6, 4, 2, 1, bias=False), nn.BatchNorm2d(6), nn.LeakyReLU(0.2)
    return nn.Sequential(conv(3, 8, stride=2), *up, nn.ConvTranspose2d(6, 3, 3, 2, 1, 1, groups=3), nn.Tanh())


def pixel_shuffle():
    """Shi et al. 2016, arXiv:1609.05158."""
    return nn.Sequential(conv(3, 16, 5, nn.Tanh), nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2))


def feature_pyramid():
    """Lin et al. 2016, arXiv:1612.03144."""

    def pyramid(m, x):
        fine = m.stem(x)
        coarse = m.down(fine)
        top = m.across[1](coarse)
        return m.smooth(m.across[0](fine) + F.interpolate(top, size=fine.shape[-2:], mode="nearest")), top

    across = nn.ModuleList([nn.Conv2d(8, 6, 1), nn.Conv2d(16, 6, 1)])
    return Block(pyramid, stem=conv(3, 8), down=conv(8, 16, stride=2), across=across, smooth=conv(6, 6))


def detection_head():
    """Two scales, each with three anchors of four sides and five classes: Liu et al. 2015, arXiv:1512.02325."""

    def head(m, x):
        scales = [m.stem(x)]
        scales.append(m.down(scales[0]))
        boxes, scores = [], []
        for scale, predict in zip(scales, m.predict, strict=True):
            y = predict(scale)
            n, _, h, w = y.shape
            y = y.view(n, 3, 9, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 9)
            boxes.append(y[..., :4])
            scores.append(y[..., 4:].sigmoid())
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    predict = nn.ModuleList([nn.Conv2d(8, 27, 3, padding=1), nn.Conv2d(8, 27, 3, padding=1)])
    return Block(head, stem=conv(3, 8, stride=2), down=conv(8, 8, stride=2), predict=predict)


def unet():
    """Ronneberger et al. 2015, arXiv:1505.04597, with bilinear upsampling."""

    def shaped(m, x):
        fine = m.down[0](x)
        coarse = m.down[1](F.max_pool2d(fine, 2))
        coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
        return m.last(m.up(torch.cat([fine, coarse], 1)))

    return Block(shaped, down=nn.ModuleList([conv(3, 8), conv(8, 16)]), up=conv(24, 8), last=nn.Conv2d(8, 2, 1))


def convnext():
    """Liu et al. 2022, arXiv:2201.03545."""

    def block(m, x):
        y = m.spatial(x).permute(0, 2, 3, 1)
        y = m.mix(m.norm(y)) * m.scale.weight
        return x + y.permute(0, 3, 1, 2)

    mix = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
    scale = nn.Linear(8, 1, bias=False)
    body = Block(
        block, spatial=nn.Conv2d(8, 8, 7, padding=3, groups=8), norm=nn.LayerNorm(8, 1e-6), mix=mix, scale=scale
    )
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), body, nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True))


def shuffle():
    """Ma et al. 2018, arXiv:1807.11164."""

    def block(m, x):
        left, right = x.chunk(2, 1)
        y = torch.cat([left, m.body(right)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    body = nn.Sequential(conv(4, 4, 1), conv(4, 4, groups=4, activation=None), conv(4, 4, 1))
    return nn.Sequential(conv(3, 8), Block(block, body=body), Block(block, body=body))


def audio():
    """Waveforms: Dai et al. 2016, arXiv:1610.00087."""

    def layer(channels, out, kernel, **options):
        return nn.Sequential(nn.Conv1d(channels, out, kernel, **options), nn.BatchNorm1d(out), nn.ReLU())

    first, second = layer(1, 8, 15, stride=4, padding=7), layer(8, 12, 3, padding=2, dilation=2, groups=4)
    pools = nn.MaxPool1d(4, 2), nn.AvgPool1d(2)
    return nn.Sequential(first, pools[0], second, pools[1], nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4),
                         nn.LogSoftmax(1))  # fmt: skip


IMAGES = [residual, inception, squeeze_and_excitation, grouped, inverted_residual, dilated, transposed, pixel_shuffle,
          feature_pyramid, detection_head, unet, convnext, shuffle]  # fmt: skip
OPEN = {"nothing": {}, "batch": {0: "N"}, "batch and size": {0: "N", 2: "H", 3: "W"}}


def initialised(build):
    """With statistics and affine parameters that are not the identity."""
    torch.manual_seed(0)
    net = build().eval()
    with torch.no_grad():
        for name, value in (*net.named_parameters(), *net.named_buffers()):
            if value.dim() == 1:
                value.uniform_(0.5, 1.5) if "var" in name or name.endswith("weight") else value.normal_(0, 0.5)
    return net


def exported(net, x, path, dynamo, axes):
    """axes: of x that stay open, with their names."""
    options = {"dynamic_axes": {"x": axes}} if axes else {}
    if dynamo:
        shapes = {axis: torch.export.Dim.DYNAMIC for axis in axes}
        options = {"external_data": False, "dynamic_shapes": [shapes] if axes else None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(net, (x,), str(path), dynamo=dynamo, input_names=["x"], verbose=False, **options)


def compare(path, sizes):
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    loaded = ts.onnx.load(path)
    (given,) = session.get_inputs()
    for size in sizes:
        x = np.random.default_rng(size).standard_normal(size, np.float32)
        expected, ys = session.run(None, {given.name: x}), loaded(x)
        ys = ys if isinstance(ys, tuple) else (ys,)
        assert len(ys) == len(expected)
        for y, z in zip(ys, expected, strict=True):
            assert y.shape == z.shape
            np.testing.assert_allclose(y, z, rtol=0, atol=RELATIVE * np.abs(z).max())


@pytest.mark.parametrize("opened", OPEN)
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("build", IMAGES, ids=lambda build: build.__name__)
def test_images(build, dynamo, opened, tmp_path):
    path, axes = tmp_path / "net.onnx", OPEN[opened]
    # With dynamo, a size of one in the example would be taken for a constant.
    exported(initialised(build), torch.rand(2, 3, 32, 32), path, dynamo, axes)
    batches = (1, 3) if axes else (2,)
    planes = ((32, 32), (24, 40)) if 2 in axes else ((32, 32),)
    compare(path, [(n, 3, *plane) for n, plane in itertools.product(batches, planes)])


@pytest.mark.parametrize("axes", [{}, {0: "N"}, {0: "N", 2: "T"}], ids=["nothing", "batch", "batch and length"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_audio(dynamo, axes, tmp_path):
    path = tmp_path / "net.onnx"
    exported(initialised(audio), torch.rand(2, 1, 400), path, dynamo, axes)
    compare(path, [(n, 1, t) for n in ((1, 3) if axes else (2,)) for t in ((400, 333) if 2 in axes else (400,))])
