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
