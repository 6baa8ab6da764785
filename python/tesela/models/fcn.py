"""FCN: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015.

fcn32s and fcn8s are those of the paper, vgg16 whose fully connected layers became convolutions. Layers have the names
of the authors' Caffe models (voc-fcn32s, voc-fcn8s), which wkentaro/pytorch-fcn has too. fcn_resnet50 is torchvision's.
"""

from ..graph import Graph
from ..network import Network
from .resnet import _bottleneck, stages
from .vgg import WIDTHS


def fcn32s(num_classes=21, size=(224, 224), weights=None, seed=0) -> Network:
    """(N, 3, *size) -> (N, num_classes, *size) scores "score" of each pixel; 136,152,917 parameters.

    The scores of every 32nd pixel, enlarged at once. The input is BGR, 0..255 less (104.007, 116.669, 122.679). Where
    `size` is a multiple of 32, image_size may be any other such; otherwise the crop belongs to one size.
    """
    g = Graph("fcn32s")
    scores, _ = _scores(g, num_classes, size)
    _enlarged(g, scores, num_classes, 32, size, 19)
    return Network(g, weights, seed=seed)


def fcn8s(num_classes=21, size=(224, 224), weights=None, seed=0) -> Network:
    """(N, 3, *size) -> (N, num_classes, *size) scores "score" of each pixel; 134,489,759 parameters.

    As fcn32s, but the scores are doubled and added to those that pool4 gives, and again to those of pool3, before they
    are enlarged by eight: details come from where the plane is fine.
    """
    g = Graph("fcn8s")
    x, pools = _scores(g, num_classes, size)
    for enlarged, pool, offset in (("upscore2", "pool4", 5), ("upscore_pool4", "pool3", 9)):
        x = _interpolated(g, enlarged, x, num_classes, 2)
        skipped = g.conv2d(f"score_{pool}", pools[pool], num_classes, 1, gain=1.0)
        x = g.add(f"fuse_{pool}", x, _cropped(g, f"score_{pool}c", skipped, offset, g.dims[x][2:]))
    _enlarged(g, x, num_classes, 8, size, 31)
    return Network(g, weights, seed=seed)


def _scores(g, num_classes, size):
    """The scores of every 32nd pixel, and what was pooled. Padding by 100 leaves fc6 a plane whatever the size."""
    x, pools = g.input("image", (3, *size)), {}
    for stage, (width, depth) in enumerate(zip(WIDTHS, (2, 2, 3, 3, 3), strict=True), 1):
        for i in range(1, depth + 1):
            padding = 100 if stage == i == 1 else 1
            x = g.conv2d(f"conv{stage}_{i}", x, width, 3, padding=padding, activation="relu")
        x = pools[f"pool{stage}"] = g.max_pool2d(f"pool{stage}", x, kernel_size=2, ceil_mode=True)
    x = g.dropout("drop6", g.conv2d("fc6", x, 4096, 7, activation="relu"))
    x = g.dropout("drop7", g.conv2d("fc7", x, 4096, 1, activation="relu"))
    return g.conv2d("score_fr", x, num_classes, 1, gain=1.0), pools


def _interpolated(g, name, x, num_classes, factor):
    """Transposed convolution that begins as bilinear interpolation; the paper fixes it so at the end of a network."""
    return g.conv_transpose2d(name, x, num_classes, 2 * factor, stride=factor, bias=False, begins="bilinear")


def _cropped(g, name, x, offset, plane):
    """As Caffe's Crop: `plane` of x from `offset` on. Counted from the end, so that it fits other planes too."""
    ends = [offset + extent - whole for extent, whole in zip(plane, g.dims[x][2:], strict=True)]
    return g.slice(name, x, starts=(offset, offset), ends=ends, axes=(2, 3))


def _enlarged(g, x, num_classes, factor, size, offset):
    x = _interpolated(g, "upscore" if factor == 32 else f"upscore{factor}", x, num_classes, factor)
    g.output(_cropped(g, "score", x, offset, size))


def fcn_resnet50(num_classes=21, aux=False, size=(224, 224), weights=None, seed=0) -> Network:
    """(N, 3, *size) -> (N, num_classes, *size) scores of each pixel; 32,957,013 parameters.

    As in torchvision: a residual network whose last two stages are dilated, so that they stay at an eighth of the
    image, and bilinear interpolation back to its size. Parameters have torchvision's names. aux=True adds the head that
    sits on the third stage in training: a second output, 35,322,218 parameters in all. Where `size` is a multiple of
    eight, image_size may be any other such.
    """
    g = Graph("fcn_resnet50")
    image = g.input("image", (3, *size))
    x = stages(g, image, _bottleneck, (3, 4, 6, 3), dilated=(3, 4), prefix="backbone.")
    # The interpolation of whole factors is the same for any image; others belong to one size.
    whole = all(extent % 8 == 0 for extent in g.dims[image][2:])
    target = {"scale_factor": 8} if whole else {"size": g.dims[image][2:]}

    def head(name, x, channels):
        x = g.conv2d(f"{name}.0", x, channels, 3, padding=1, bias=False)
        x = g.relu(f"{name}.2", g.batch_norm(f"{name}.1", x))
        x = g.conv2d(f"{name}.4", g.dropout(f"{name}.3", x, p=0.1), num_classes, 1)
        return g.upsample("out" if name == "classifier" else "aux", x, **target, mode="bilinear")

    heads = [head("classifier", x, 512)]
    if aux:
        heads.append(head("aux_classifier", "backbone.layer3.5.relu", 256))
    g.output(*heads)
    return Network(g, weights, seed=seed)
