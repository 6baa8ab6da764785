"""Networks, each a short file that reads like the table in its paper.

    net = tesela.models.alexnet()                              # seeded weights
    net = tesela.models.resnet50(weights="resnet50.safetensors")
    net = tesela.models.resnet18(weights="resnet18.tv_in1k")   # a name in tesela.published: downloaded once
    net = tesela.models.lenet5(weights="digits")               # trained weights that come with the package

Every one takes `weights`, None for seeded ones, a dict of arrays, the path of an .npz or .safetensors file or the name
of published weights, and `seed`, and returns a tesela.Network. `NETWORKS` has them all by name; `ensemble` joins
several.

Layer names are those of summary(); net.extract(x, names) returns their values. A layer with an activation of its own
("conv1" and "fc7" in AlexNet) gives the value after it. Residual networks keep batch norm, addition and ReLU as layers
of their own, so "layer1.0.bn1" is the value before the ReLU "layer1.0.relu1". What is extracted is not fused away.
"""

from collections.abc import Callable

from ..network import Network
from .alexnet import alexnet
from .audio import m5, vggish
from .autoencoder import autoencoder, denoiser, unpooling_autoencoder
from .cifar import resnet20, resnet56
from .dcgan import dcgan_discriminator, dcgan_generator
from .ensemble import ensemble
from .fcn import fcn8s, fcn32s, fcn_resnet50
from .googlenet import googlenet
from .lenet import lenet5
from .mobilenet import mobilenet_v1, mobilenet_v2
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152, resnext50_32x4d, resnext101_32x8d
from .segnet import segnet
from .senet import se_resnet50, senet154
from .siamese import siamese
from .squeezenet import squeezenet1_0, squeezenet1_1
from .unet import unet, unet_valid
from .vgg import vgg11, vgg13, vgg16, vgg19, vgg_face
from .zfnet import zfnet

NETWORKS: dict[str, Callable[..., Network]] = {
    network.__name__: network
    for network in (
        lenet5, alexnet, zfnet, vgg11, vgg13, vgg16, vgg19, vgg_face, googlenet, squeezenet1_0, squeezenet1_1,
        resnet18, resnet34, resnet50, resnet101, resnet152, resnext50_32x4d, resnext101_32x8d, se_resnet50, senet154,
        mobilenet_v1, mobilenet_v2, resnet20, resnet56,
        fcn32s, fcn8s, fcn_resnet50, unet_valid, unet, segnet, siamese, vggish, m5,
        autoencoder, unpooling_autoencoder, denoiser, dcgan_generator, dcgan_discriminator,
    )
}  # fmt: skip

__all__ = ["NETWORKS", "ensemble", *NETWORKS]
