"""DCGAN: Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional GANs", 2016.

Both networks as in the example of PyTorch (examples/dcgan), with its parameter names, for pictures of 64 x 64.
"""

from ..graph import Graph
from ..network import Network


def dcgan_generator(latent=100, width=64, channels=3, weights=None, seed=0) -> Network:
    """(N, latent, 1, 1) normal noise -> (N, channels, 64, 64) pictures in -1..1; 3,576,704 parameters. Figure 1."""
    g = Graph("dcgan_generator")
    x = g.input("noise", (latent, 1, 1))
    # From a single pixel, an output gets one of the 16 products that seeding counts on.
    x = g.conv_transpose2d("main.0", x, 8 * width, 4, bias=False, gain=32.0)
    x = g.relu("main.2", g.batch_norm("main.1", x))
    for layer, factor in zip((3, 6, 9), (4, 2, 1), strict=True):
        x = g.conv_transpose2d(f"main.{layer}", x, factor * width, 4, stride=2, padding=1, bias=False)
        x = g.relu(f"main.{layer + 2}", g.batch_norm(f"main.{layer + 1}", x))
    x = g.conv_transpose2d("main.12", x, channels, 4, stride=2, padding=1, bias=False, gain=1.0)
    g.output(g.tanh("main.13", x))
    return Network(g, weights, seed=seed)


def dcgan_discriminator(width=64, channels=3, weights=None, seed=0) -> Network:
    """(N, channels, 64, 64) pictures in -1..1 -> (N, 1, 1, 1) probability of being real; 2,765,568 parameters."""
    g = Graph("dcgan_discriminator")
    x = g.input("image", (channels, 64, 64))
    x = g.conv2d("main.0", x, width, 4, stride=2, padding=1, bias=False)
    x = g.leaky_relu("main.1", x, negative_slope=0.2)
    for layer, factor in zip((2, 5, 8), (2, 4, 8), strict=True):
        x = g.conv2d(f"main.{layer}", x, factor * width, 4, stride=2, padding=1, bias=False)
        x = g.leaky_relu(f"main.{layer + 2}", g.batch_norm(f"main.{layer + 1}", x), negative_slope=0.2)
    g.output(g.sigmoid("main.12", g.conv2d("main.11", x, 1, 4, bias=False)))
    return Network(g, weights, seed=seed)
