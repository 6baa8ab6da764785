"""Convolutional autoencoders: an image becomes smaller maps of more channels, and these become an image again."""

from pathlib import Path

from ..graph import Graph
from ..network import Network

DIGITS = Path(__file__).parents[1] / "pretrained" / "denoiser_digits.npz"


def autoencoder(weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or other multiples of 16 -> the same size in 0..1; "conv4" is the code, (N, 256, 14, 14).

    Strided convolutions halve the plane and transposed ones double it, as in Radford, Metz and Chintala, "Unsupervised
    representation learning with deep convolutional generative adversarial networks", 2016. The kernel of 4 is a
    multiple of the stride, so that every output pixel gets equally many products.
    """
    g = Graph("autoencoder")
    x = g.input("image", (3, 224, 224))
    x = g.conv2d("conv1", x, 32, 3, stride=2, padding=1, activation="relu")
    x = g.conv2d("conv2", x, 64, 3, stride=2, padding=1, activation="relu")
    x = g.conv2d("conv3", x, 128, 3, stride=2, padding=1, activation="relu")
    x = g.conv2d("conv4", x, 256, 3, stride=2, padding=1, activation="relu")
    x = g.conv_transpose2d("deconv1", x, 128, 4, stride=2, padding=1, activation="relu")
    x = g.conv_transpose2d("deconv2", x, 64, 4, stride=2, padding=1, activation="relu")
    x = g.conv_transpose2d("deconv3", x, 32, 4, stride=2, padding=1, activation="relu")
    g.output(g.conv_transpose2d("deconv4", x, 3, 4, stride=2, padding=1, activation="sigmoid"))
    return Network(g, weights, seed=seed)


def unpooling_autoencoder(weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or other multiples of 8 -> the same size in 0..1; "pool3" is the code, (N, 128, 28, 28).

    Max-pooling remembers where each maximum was ("pool1:1" is its indices), and unpooling on the way back puts values
    there and zeros elsewhere: Zeiler, Taylor and Fergus, "Adaptive deconvolutional networks for mid and high level
    feature learning", 2011. A convolution then fills the gaps, as in Badrinarayanan, Kendall and Cipolla, "SegNet",
    2017, of which this is a small relative without batch norm.
    """
    g = Graph("unpooling_autoencoder")
    x = g.input("image", (3, 224, 224))
    x = g.conv2d("conv1", x, 32, 3, padding=1, activation="relu")
    x, indices1 = g.max_pool2d("pool1", x, kernel_size=2, return_indices=True)
    x = g.conv2d("conv2", x, 64, 3, padding=1, activation="relu")
    x, indices2 = g.max_pool2d("pool2", x, kernel_size=2, return_indices=True)
    x = g.conv2d("conv3", x, 128, 3, padding=1, activation="relu")
    x, indices3 = g.max_pool2d("pool3", x, kernel_size=2, return_indices=True)
    x = g.max_unpool2d("unpool3", x, indices3, kernel_size=2)
    x = g.conv2d("decode3", x, 64, 3, padding=1, activation="relu")
    x = g.max_unpool2d("unpool2", x, indices2, kernel_size=2)
    x = g.conv2d("decode2", x, 32, 3, padding=1, activation="relu")
    x = g.max_unpool2d("unpool1", x, indices1, kernel_size=2)
    g.output(g.conv2d("decode1", x, 3, 3, padding=1, activation="sigmoid"))
    return Network(g, weights, seed=seed)


def denoiser(weights=None, seed=0) -> Network:
    """(N, 1, 32, 32) noisy, in 0..1 -> the same size, clean; 52,129 parameters.

    weights="digits" loads weights trained by examples/train_digits.py to clean handwritten digits; see
    pretrained/README.md. Trained to clean and not to copy: Vincent et al., "Extracting and composing robust features
    with denoising autoencoders", 2008.
    """
    g = Graph("denoiser")
    x = g.input("image", (1, 32, 32))
    x = g.conv2d("conv1", x, 32, 3, stride=2, padding=1, activation="relu")
    x = g.conv2d("conv2", x, 64, 3, stride=2, padding=1, activation="relu")
    x = g.conv_transpose2d("deconv1", x, 32, 4, stride=2, padding=1, activation="relu")
    g.output(g.conv_transpose2d("deconv2", x, 1, 4, stride=2, padding=1, activation="sigmoid"))
    return Network(g, DIGITS if weights == "digits" else weights, seed=seed)
