"""FCN: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015."""

from ..graph import Graph
from ..network import Network
from .resnet import _bottleneck, stages


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
