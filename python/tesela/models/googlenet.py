"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", 2015, table 1; without the auxiliary classifiers.

Those two helped training and are not part of the network that classifies. Two forms, each with the names of the
weights that exist for it.
"""

from ..graph import Graph
from ..network import Network

# 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(batch_norm=False, num_classes=1000, weights=None, seed=0) -> Network:
    """(N, 3, 224, 224), or any other size -> (N, num_classes) logits.

    batch_norm=False  as published, with local response normalization; 6,998,552 parameters. Layers have the names of
                      Caffe's bvlc_googlenet: "conv1/7x7_s2", "inception_3a/output", "loss3/classifier". Its weights
                      take BGR values 0..255 less (104, 117, 123).
    batch_norm=True   as in torchvision, with batch norm in place of biases; 6,624,904 parameters named as there, "5x5"
                      being 3x3 as there. Its weights take (value - 0.5) / 0.5; torchvision's transform_input is not
                      part of the network, and its aux1 and aux2 have to be left out.
    """
    return (_torchvision if batch_norm else _caffe)(num_classes, weights, seed)


def _caffe(num_classes, weights, seed):
    normalization = {"size": 5, "alpha": 1e-4, "beta": 0.75}
    pooling = {"kernel_size": 3, "stride": 2, "ceil_mode": True}

    g = Graph("googlenet")
    x = g.input("image", (3, 224, 224))
    x = g.conv2d("conv1/7x7_s2", x, 64, 7, stride=2, padding=3, activation="relu")
    x = g.max_pool2d("pool1/3x3_s2", x, **pooling)
    x = g.local_response_norm("pool1/norm1", x, **normalization)
    x = g.conv2d("conv2/3x3_reduce", x, 64, 1, activation="relu")
    x = g.conv2d("conv2/3x3", x, 192, 3, padding=1, activation="relu")
    x = g.local_response_norm("conv2/norm2", x, **normalization)
    x = g.max_pool2d("pool2/3x3_s2", x, **pooling)
    for block, (c1, r3, c3, r5, c5, proj) in INCEPTIONS.items():
        name = f"inception_{block}"
        y1 = g.conv2d(f"{name}/1x1", x, c1, 1, activation="relu")
        y3 = g.conv2d(f"{name}/3x3_reduce", x, r3, 1, activation="relu")
        y3 = g.conv2d(f"{name}/3x3", y3, c3, 3, padding=1, activation="relu")
        y5 = g.conv2d(f"{name}/5x5_reduce", x, r5, 1, activation="relu")
        y5 = g.conv2d(f"{name}/5x5", y5, c5, 5, padding=2, activation="relu")
        y = g.max_pool2d(f"{name}/pool", x, kernel_size=3, stride=1, padding=1)
        y = g.conv2d(f"{name}/pool_proj", y, proj, 1, activation="relu")
        x = g.concat(f"{name}/output", [y1, y3, y5, y])
        if block in ("3b", "4e"):
            x = g.max_pool2d(f"pool{block[0]}/3x3_s2", x, **pooling)
    x = g.global_avg_pool2d("pool5/7x7_s1", x)
    x = g.dropout("pool5/drop_7x7_s1", g.flatten("flatten", x))
    g.output(g.linear("loss3/classifier", x, num_classes))
    return Network(g, weights, seed=seed)


def _torchvision(num_classes, weights, seed):
    g = Graph("googlenet_bn")

    def convolution(name, x, channels, kernel_size, stride=1):
        x = g.conv2d(f"{name}.conv", x, channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
        return g.relu(f"{name}.relu", g.batch_norm(f"{name}.bn", x, eps=1e-3))

    x = g.input("image", (3, 224, 224))
    x = convolution("conv1", x, 64, 7, stride=2)
    x = g.max_pool2d("maxpool1", x, kernel_size=3, stride=2, ceil_mode=True)
    x = convolution("conv2", x, 64, 1)
    x = convolution("conv3", x, 192, 3)
    x = g.max_pool2d("maxpool2", x, kernel_size=3, stride=2, ceil_mode=True)
    for block, (c1, r3, c3, r5, c5, proj) in INCEPTIONS.items():
        name = f"inception{block}"
        y1 = convolution(f"{name}.branch1", x, c1, 1)
        y3 = convolution(f"{name}.branch2.1", convolution(f"{name}.branch2.0", x, r3, 1), c3, 3)
        y5 = convolution(f"{name}.branch3.1", convolution(f"{name}.branch3.0", x, r5, 1), c5, 3)
        y = g.max_pool2d(f"{name}.branch4.0", x, kernel_size=3, stride=1, padding=1, ceil_mode=True)
        x = g.concat(name, [y1, y3, y5, convolution(f"{name}.branch4.1", y, proj, 1)])
        if block == "3b":
            x = g.max_pool2d("maxpool3", x, kernel_size=3, stride=2, ceil_mode=True)
        if block == "4e":
            x = g.max_pool2d("maxpool4", x, kernel_size=2, stride=2, ceil_mode=True)
    x = g.flatten("flatten", g.global_avg_pool2d("avgpool", x))
    g.output(g.linear("fc", g.dropout("dropout", x, p=0.2), num_classes))
    return Network(g, weights, seed=seed)
