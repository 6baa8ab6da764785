"""U-Net: Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015."""

from ..graph import Graph
from ..network import Network


def unet(in_channels=3, num_classes=2, weights=None, seed=0) -> Network:
    """(N, in_channels, 256, 256), or other multiples of 16 -> (N, num_classes, same size); 31,037,698 parameters.

    Figure 1 in the form that is used today: convolutions are padded, so that nothing has to be cropped, and followed by
    batch norm. Parameters have the names of milesial/Pytorch-UNet: "inc.double_conv.0", "down1.maxpool_conv.1...",
    "up1.up", "up1.conv...", "outc.conv".
    """
    g = Graph("unet")

    def double_convolution(name, x, channels):
        for i in (0, 3):
            x = g.conv2d(f"{name}.double_conv.{i}", x, channels, 3, padding=1, bias=False)
            x = g.relu(f"{name}.double_conv.{i + 2}", g.batch_norm(f"{name}.double_conv.{i + 1}", x))
        return x

    x = double_convolution("inc", g.input("image", (in_channels, 256, 256)), 64)
    skipped = []
    for i, channels in enumerate((128, 256, 512, 1024), 1):
        skipped.append(x)
        x = g.max_pool2d(f"down{i}.maxpool_conv.0", x, kernel_size=2)
        x = double_convolution(f"down{i}.maxpool_conv.1", x, channels)
    for i, channels in enumerate((512, 256, 128, 64), 1):
        x = g.conv_transpose2d(f"up{i}.up", x, channels, 2, stride=2, gain=1.0)
        x = double_convolution(f"up{i}.conv", g.concat(f"up{i}.concat", [skipped.pop(), x]), channels)
    g.output(g.conv2d("outc.conv", x, num_classes, 1))
    return Network(g, weights, seed=seed)


def unet_valid(in_channels=1, num_classes=2, size=(572, 572), weights=None, seed=0) -> Network:
    """(N, in_channels, 572, 572) -> (N, num_classes, 388, 388) scores "conv_u0d-score"; 31,030,658 parameters.

    Figure 1 as it was drawn: convolutions without padding, so that every score has seen its whole surroundings, and the
    centre of what is skipped. Other sizes are 188 and multiples of 16 more; the result is smaller by 184. Layers have
    the names of the authors' Caffe model: "conv_d0a-b", ..., "upconv_d4c_u3a", "crop_d3c-d3cc", ..., "conv_u0c-d".
    """
    if any(extent < 188 or (extent - 188) % 16 for extent in size):
        raise ValueError(f"unet_valid: expected a size of 188 and multiples of 16 more, got {tuple(size)}")
    g = Graph("unet_valid")

    def two_convolutions(x, name, letters, channels):
        for i in range(2):
            layer = f"conv_{name}{letters[i]}-{letters[i + 1]}"
            x = g.conv2d(layer, x, channels, 3, activation="relu")
        return x

    x = g.input("image", (in_channels, *size))
    skipped = []
    for i, channels in enumerate((64, 128, 256, 512)):
        x = two_convolutions(x, f"d{i}", "abc", channels)
        if i == 3:
            x = g.dropout("dropout_d3c", x)
        skipped.append(x)
        x = g.max_pool2d(f"pool_d{i}c-{i + 1}a", x, kernel_size=2)
    x = g.dropout("dropout_d4c", two_convolutions(x, "d4", "abc", 1024))
    for i, channels in zip((3, 2, 1, 0), (512, 256, 128, 64), strict=True):
        below = "d4c" if i == 3 else f"u{i + 1}d"
        x = g.conv_transpose2d(f"upconv_{below}_u{i}a", x, channels, 2, stride=2, activation="relu")
        wide, narrow = g.dims[skipped[i]][2], g.dims[x][2]
        margin = (wide - narrow) // 2
        cut = {"starts": (margin, margin), "ends": (-margin, -margin), "axes": (2, 3)}
        cropped = g.slice(f"crop_d{i}c-d{i}cc", skipped[i], **cut)
        x = two_convolutions(g.concat(f"concat_d{i}cc_u{i}a-b", [x, cropped]), f"u{i}", "bcd", channels)
    g.output(g.conv2d("conv_u0d-score", x, num_classes, 1))
    return Network(g, weights, seed=seed)
