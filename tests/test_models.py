"""The networks: their published sizes, and that they compute what reference/ and PyTorch do with the same weights.

Weights and images are random, and so are biases and the statistics of batch norm, which puts folding them to the test.
Results may differ by 1e-5 of the largest.
"""

import itertools
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import tesela as ts
from tesela import Graph, Network, models
from tesela.graph import Parameter
from tesela.network import ACCURACIES
from tesela.passes import Scaled, optimize

# From the papers; for those that torchvision has, also multiply-adds, from its documentation; those of AlexNet from Sze
# et al., "Efficient processing of deep neural networks", 2017. Senets from timm's.
PARAMETERS = {
    "lenet5": 61_706,
    "alexnet": 60_965_224,
    "zfnet": 62_357_608,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg_face": 145_002_878,
    "googlenet": 6_998_552,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "se_resnet50": 28_088_024,
    "senet154": 115_088_984,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "resnet20": 269_722,
    "resnet56": 853_018,
    "siamese": 38_947_648,
    "vggish": 72_141_184,
    "m5": 80 * 128 + 3 * (128 * 128 + 128 * 256 + 256 * 512) + 3 * (128 + 128 + 256 + 512) + 512 * 10 + 10,
    # vgg16's, with the weights of fc6 and fc7 as convolutions; the paper's table 1 says 134M.
    "fcn32s": 134_260_544 + 4097 * 21 + 21**2 * 64**2,
    "fcn8s": 134_260_544 + (4097 + 513 + 257) * 21 + 21**2 * (2 * 4**2 + 16**2),
    "unet_valid": 31_030_658,
    "unet": 31_037_698,
    "fcn_resnet50": 32_957_013,
    "segnet": 29_449_355,
    "dcgan_generator": 3_576_704,
    "dcgan_discriminator": 2_765_568,
    # Kernel area x input channels x output channels, and a bias for each output channel.
    "autoencoder": 9 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + (32 + 64 + 128 + 256)
    + 16 * (256 * 128 + 128 * 64 + 64 * 32 + 32 * 3) + (128 + 64 + 32 + 3),
    "unpooling_autoencoder": 9 * 2 * (3 * 32 + 32 * 64 + 64 * 128) + (32 + 64 + 128) + (64 + 32 + 3),
    "denoiser": 9 * (1 * 32 + 32 * 64) + (32 + 64) + 16 * (64 * 32 + 32 * 1) + (32 + 1),
}  # fmt: skip
GIGA_MACS = {
    "alexnet": 0.72,
    "vgg11": 7.61,
    "vgg13": 11.31,
    "vgg16": 15.47,
    "vgg19": 19.63,
    "squeezenet1_0": 0.82,
    "squeezenet1_1": 0.35,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
    "resnext50_32x4d": 4.23,
    "resnext101_32x8d": 16.41,
    "mobilenet_v1": 0.57,
    "mobilenet_v2": 0.30,
}

# Smaller or oblong images, where a network takes them, for the sake of time.
IMAGE_SIZE = {
    "vgg11": (32, 40),
    "vgg13": (40, 32),
    "vgg16": (33, 32),
    "vgg19": (32, 32),
    "googlenet": (64, 48),
    "squeezenet1_0": (50, 64),
    "squeezenet1_1": (64, 50),
    "resnext50_32x4d": (40, 32),
    "resnext101_32x8d": (32, 32),
    "se_resnet50": (50, 40),
    "senet154": (32, 32),
    "mobilenet_v1": (48, 64),
    "mobilenet_v2": (64, 48),
    "fcn_resnet50": (40, 48),
    "unet": (32, 48),
    "m5": (1, 2000),
    "resnet18": (64, 96),
    "resnet34": (50, 37),
    "resnet50": (64, 64),
    "resnet101": (32, 40),
    "resnet152": (64, 64),
    "autoencoder": (48, 64),
    "unpooling_autoencoder": (48, 64),
}
# Unpooling belongs to a size. With one of two values that are closer than rounding, the place of a maximum is open: in
# noise of this size there are none.
OPTIONS = {
    "segnet": {"size": (32, 64)},
    "fcn32s": {"size": (32, 32)},
    "fcn8s": {"size": (33, 20)},
    "unet_valid": {"size": (188, 188)},
}
SMALL = ["lenet5", "resnet18", "autoencoder", "unpooling_autoencoder", "denoiser"]


def randomised(net, seed=1):
    """The network with other weights, biases that are not zero and batch norms that are not the identity."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(999_983, np.float32)  # repeated where a tensor has more: drawing them all takes longer
    state = {}
    for name, parameter in net.graph.parameters.items():
        if parameter.kind == "he":
            state[name] = np.resize(normal, parameter.shape)
            state[name] *= np.float32(np.sqrt(parameter.gain / parameter.fan_in))
        elif parameter.kind == "ones":
            state[name] = rng.uniform(0.5, 2, parameter.shape)
        else:
            state[name] = rng.normal(0, 0.5, parameter.shape)
    net.load_state_dict(state)
    return net


def images(net, batch=1, seed=2):
    """Normal noise."""
    ((channels, *size),) = net.graph.inputs.values()
    size = IMAGE_SIZE.get(net.graph.name, size)
    return np.random.default_rng(seed).standard_normal((batch, channels, *size), np.float32)


def near(actual, expected, bound=1e-5):
    assert actual.shape == expected.shape and np.isfinite(expected).all()
    assert np.abs(actual - expected).max() <= bound * np.abs(expected).max()


equal = np.testing.assert_array_equal


@pytest.fixture(scope="module")
def alexnet():
    return randomised(models.alexnet())


@pytest.fixture(scope="module", params=[name for name in models.NETWORKS if name != "siamese"])
def net(request):
    if request.param == "alexnet":  # large, and asked for again
        return request.getfixturevalue("alexnet")
    return randomised(models.NETWORKS[request.param](**OPTIONS.get(request.param, {})))


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    yield torch
    torch.set_num_threads(threads)


# -------------------------------------------------------------------------------------------------------- every one


@pytest.mark.parametrize("name", models.NETWORKS)
def test_published_sizes(name):
    net = models.NETWORKS[name]()
    summary = net.summary()
    assert net.graph.name == models.NETWORKS[name].__name__ == name and getattr(models, name) is models.NETWORKS[name]
    assert summary.parameters == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,} parameters" in repr(net)
    if name in GIGA_MACS:
        assert round(summary.macs / 1e9, 2) == GIGA_MACS[name]


def test_agrees_with_reference(net):
    """Where direct sums come near the bound already, the algorithms of "default" keep to what it promises: twice."""
    x = images(net)
    expected = net.reference(x)
    strict = net.compile(image_size=x.shape[2:], accuracy="strict")(x)
    near(strict, expected)
    bound = max(1e-5, 2 * np.abs(strict - expected).max() / np.abs(expected).max())
    near(net(x), expected, bound)
    if net.graph.name in SMALL:
        for isa, accuracy in itertools.product(ts.show_runtime()["supported_isas"], ACCURACIES):
            with ts.max_isa(isa):
                found = net.compile(image_size=x.shape[2:], accuracy=accuracy)(x)
                near(found, expected, 1e-5 if accuracy == "strict" else bound)


@pytest.mark.parametrize("net", [*SMALL, "alexnet", "resnet50"], indirect=True)
def test_batch_is_its_images(net):
    x = images(net, batch=2)
    one, two = (net.compile(batch, image_size=x.shape[2:]) for batch in (1, 2))
    apart = np.concatenate([one(x[:1]), one(x[1:])])
    equal(net(x[:1]), apart[:1])
    if [step.algorithm for step in one.steps()] == [step.algorithm for step in two.steps()]:
        equal(two(x), apart)
    else:  # what is fastest for a batch may add in another order
        near(two(x), apart)


@pytest.mark.parametrize("net", [*SMALL, "alexnet", "resnet50"], indirect=True)
def test_optimized_graph_is_the_same_network(net):
    graph, parameters = optimize(net.graph, net.parameters)
    fused = ("batch_norm", "relu", "add", "dropout")
    left = {node.name: node.op for node in graph.nodes}
    assert left == {node.name: node.op for node in net.graph.nodes if node.op not in fused}
    assert len(graph.outputs) == 1 and graph.dims[graph.outputs[0]] == net.graph.dims[net.graph.outputs[0]]
    if net.graph.name == "resnet18":
        x = images(net)
        # Folded weights are rounded to float32 once more; that is all.
        near(*graph.evaluate(parameters, {"image": x}), net.reference(x), bound=1e-6)


@pytest.mark.parametrize(
    ("shape", "rows"), [((5, 3, 3, 3), 5), ((4, 6, 2, 2), 24), ((300, 700), 300), ((0, 3, 1, 1), 0)]
)
def test_folded_weights_are_rounded_once(shape, rows):
    rng = np.random.default_rng(0)
    weight, factors = rng.standard_normal(shape, np.float32), rng.standard_normal(rows)
    expected = (weight.reshape(rows, -1 if rows else 3) * factors[:, None]).astype(np.float32).reshape(shape)
    scaled = Scaled(weight, factors)
    equal(np.asarray(scaled), expected)
    equal(np.asarray(scaled, np.float64), expected.astype(np.float64))
    assert scaled.shape == shape and scaled.nbytes == weight.nbytes


@pytest.mark.parametrize(("shape", "factors"), [((5, 3), 4), ((5, 3), 0)])
def test_rows_that_are_none_are_refused(shape, factors):
    with pytest.raises(ValueError, match=r"scaled_rows: .* are not .* rows"):
        np.asarray(Scaled(np.ones(shape, np.float32), np.ones(factors)))


def test_batch_norm_folds_into_groups_of_a_transposed_convolution():
    g = Graph("transposed")
    x = g.conv_transpose2d("up", g.input("image", (4, 5, 5)), 6, 3, groups=2)
    g.output(g.batch_norm("norm", x))
    rng = np.random.default_rng(0)
    net = Network(g, {name: rng.random(p.shape, np.float32) + 0.5 for name, p in g.parameters.items()})
    x = rng.standard_normal((2, 4, 5, 5), np.float32)
    assert [node.name for node in optimize(net.graph, dict(net.parameters))[0].nodes] == ["up"]
    near(net(x), net.reference(x))


def excited(wide=24, narrow=8, output=()):
    """A squeeze-and-excitation block: conv3, what it is multiplied with, and a shortcut."""
    g = Graph("excited")
    x = g.conv2d("conv1", g.input("image", (3, 9, 8)), narrow, 3, activation="relu")
    y = g.conv2d("conv3", x, wide, 1)
    s = g.conv2d("fc1", g.global_avg_pool2d("pool", y), 5, 1, activation="relu")
    s = g.conv2d("fc2", s, wide, 1, activation="sigmoid")
    y = g.mul("mul", s, y)
    g.output(g.relu("relu", g.add("add", y, g.conv2d("shortcut", x, wide, 1))), *output)
    return Network(g)


def test_a_gate_is_known_before_the_convolution_that_applies_it():
    net = excited()
    graph, parameters = optimize(net.graph, dict(net.parameters))
    assert [node.name for node in graph.nodes] == ["conv1", "pool", "fc1", "fc2", "conv3", "shortcut"]
    pool, fc1, conv3 = graph.nodes[1], graph.nodes[2], graph.nodes[4]
    assert pool.inputs == {"x": "conv1"} and parameters[fc1.parameters["weight"]].shape == (5, 8, 1, 1)
    assert conv3.inputs == {"x": "conv1", "gate": "fc2"}
    x = images(net, batch=3)
    near(*graph.evaluate(parameters, {"image": x}), net.reference(x), bound=1e-6)
    near(net(x), net.reference(x))


def test_strict_replaces_no_sums_and_no_products():
    net = excited()
    graph, _ = optimize(net.graph, dict(net.parameters), strict=True)
    assert next(node for node in graph.nodes if node.name == "pool").inputs == {"x": "conv3"}
    strict, default = (net.compile(accuracy=accuracy) for accuracy in ("strict", "default"))
    names = [[step.name for step in run.steps()] for run in (strict, default)]
    assert names[0].index("conv3") < names[0].index("fc1") and names[1].index("fc1") < names[1].index("conv3")
    for precision in ("tf32", "bfloat16", "float16"):
        with pytest.raises(ValueError, match=f"accuracy 'strict' with precision 'float32', got '{precision}'"):
            net.compile(accuracy="strict", precision=precision)


@pytest.mark.parametrize("given", [{"output": ("pool",)}, {"wide": 8, "narrow": 24}], ids=["asked for", "narrowing"])
def test_a_mean_that_is_asked_for_or_would_grow_stays(given):
    net = excited(**given)
    graph, parameters = optimize(net.graph, dict(net.parameters))
    assert next(node for node in graph.nodes if node.name == "pool").inputs == {"x": "conv3"}
    x = images(net, batch=2)
    for y, expected in zip(
        graph.evaluate(parameters, {"image": x}),
        net.reference(x) if len(graph.outputs) > 1 else [net.reference(x)],
        strict=True,
    ):
        near(y, expected, bound=1e-6)


# ------------------------------------------------------------------------------------- several inputs, several parts


def test_siamese_shares_its_parameters():
    net = randomised(models.siamese())
    assert all(name.startswith("left.") for name in net.parameters)
    left, right = np.random.default_rng(2).standard_normal((2, 1, 1, 105, 105), np.float32)
    for actual, expected in zip(net(left, right), net.reference(left, right), strict=True):
        near(actual, expected)
    equal(net(left, right)[0], net(right, left)[1])
    assert net.summary()[-1].name == "right.fc1" and net.summary()[-1].parameters == 0


def test_shared_parameters_must_fit():
    g = ts.Graph()
    x = g.conv2d("conv1", g.input("image", (3, 8, 8)), 4, 3)
    for shared, words in (("conv0", "earlier layer with a weight, got 'conv0'"), ("conv1", "got \\(4, 3, 3, 3\\)")):
        with pytest.raises(ValueError, match=f"layer 'conv2': .*{words}"):
            g.conv2d("conv2", x, 4, 3, shared=shared)
    with pytest.raises(ValueError, match="expected shared with a layer that has parameters, got 'conv1'"):
        g.relu("relu", x, shared="conv1")


def test_ensemble_is_the_mean_of_its_parts():
    parts = [models.lenet5(seed=seed) for seed in range(3)]
    net = models.ensemble(parts)
    x = np.random.default_rng(2).random((5, 1, 32, 32), np.float32)
    near(net(x), np.mean([ts.softmax(part(x)) for part in parts], axis=0))
    near(net(x), net.reference(x))
    assert net.summary().parameters == 3 * PARAMETERS["lenet5"]
    with pytest.raises(ValueError, match="like the first, lenet5, got denoiser"):
        models.ensemble([parts[0], models.denoiser()])
    with pytest.raises(TypeError, match="a list of at least one Network"):
        models.ensemble([])


@pytest.mark.parametrize("name", models.NETWORKS)
def test_seeded_networks_stay_in_range(name):
    if PARAMETERS[name] > 60e6 or name in ("segnet", "unet_valid"):
        pytest.skip("large; others have the same layers")
    net = models.NETWORKS[name]()
    rng = np.random.default_rng(0)
    y = net(*(rng.standard_normal((2, *dims), np.float32) for dims in net.graph.inputs.values()))
    assert 0.05 < np.sqrt(np.mean(np.square(y))) < 20


# ---------------------------------------------------------------------------------------------------------- AlexNet


def test_alexnet_layer_by_layer(alexnet):
    summary = alexnet.summary()
    assert {layer.name: layer.output for layer in summary} == {
        "conv1": (96, 55, 55), "norm1": (96, 55, 55), "pool1": (96, 27, 27),
        "conv2": (256, 27, 27), "norm2": (256, 27, 27), "pool2": (256, 13, 13),
        "conv3": (384, 13, 13), "conv4": (384, 13, 13), "conv5": (256, 13, 13), "pool5": (256, 6, 6),
        "flatten": (9216,), "fc6": (4096,), "drop6": (4096,), "fc7": (4096,), "drop7": (4096,), "fc8": (1000,),
    }  # fmt: skip
    assert {layer.name: layer.parameters for layer in summary if layer.parameters} == {
        "conv1": 34_944, "conv2": 307_456, "conv3": 885_120, "conv4": 663_936, "conv5": 442_624,
        "fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000,
    }  # fmt: skip
    assert summary.macs == 724_406_816
    assert re.search(r"^conv1 +conv2d +96 x 55 x 55 +34,944 +105,415,200$", str(summary), re.MULTILINE)


@pytest.mark.parametrize(
    ("groups", "conv3", "total", "megabytes"), [(1, "0.88", "61.0", "243.9"), (2, "0.44", "60.5", "242.1")]
)
def test_alexnet_parameters_in_millions(groups, conv3, total, megabytes):
    summary = models.alexnet(conv3_groups=groups).summary()
    published = ["0.03", "0.31", conv3, "0.66", "0.44", "37.8", "16.8", "4.1", total]
    counted = [layer.parameters for layer in summary if layer.parameters] + [summary.parameters]
    for count, text in zip(counted, published, strict=True):
        # 0.88 of 0.885 is cut rather than rounded.
        assert abs(count / 1e6 - float(text)) < (0.006 if len(text.split(".")[1]) == 2 else 0.05)
    assert f"{megabytes} MB in float32" in str(summary)


def test_alexnet_extract(alexnet):
    x = images(alexnet)
    names = ["fc7", "conv1", "norm1", "drop7", "conv5", "fc8"]
    features = alexnet.extract(x, names)
    assert list(features) == names
    for name in ("fc7", "conv1", "conv5"):  # after the ReLU
        assert features[name].min() == 0
    # Section 3.3 of the paper: k = 2, n = 5, alpha = 1e-4 for each of the n squares, beta = 0.75.
    squares = np.pad(features["conv1"].astype(np.float64) ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    total = sum(squares[:, c : c + 96] for c in range(5))
    near(features["norm1"], features["conv1"] / (2 + 1e-4 * total) ** 0.75)
    equal(features["drop7"], features["fc7"])
    weight, bias = alexnet.parameters["fc8.weight"], alexnet.parameters["fc8.bias"]
    near(features["fc8"], ts.reference.linear(features["fc7"], weight, bias))
    equal(features["fc8"], alexnet(x))
    with pytest.raises(ValueError, match=r"alexnet: unknown layer 'fc9'; the network has image, conv1, norm1, "):
        alexnet.extract(x, ["fc9"])


def torch_alexnet(nn):
    def norm():
        return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)

    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 96, 11, stride=4), relu1=nn.ReLU(), norm1=norm(), pool1=nn.MaxPool2d(3, 2),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2), relu2=nn.ReLU(), norm2=norm(), pool2=nn.MaxPool2d(3, 2),
        conv3=nn.Conv2d(256, 384, 3, padding=1), relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2), relu4=nn.ReLU(),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2), relu5=nn.ReLU(), pool5=nn.MaxPool2d(3, 2),
        flatten=nn.Flatten(),
        fc6=nn.Linear(9216, 4096), relu6=nn.ReLU(), drop6=nn.Dropout(),
        fc7=nn.Linear(4096, 4096), relu7=nn.ReLU(), drop7=nn.Dropout(),
        fc8=nn.Linear(4096, 1000),
    ))  # fmt: skip


# ------------------------------------------------------------------------------------------------- residual networks


def test_resnet50_layer_by_layer():
    outputs = {layer.name: layer.output for layer in models.resnet50().summary()}
    sizes = {
        "conv1": (64, 112, 112), "maxpool": (64, 56, 56), "layer1.2.relu": (256, 56, 56),
        "layer2.0.conv1": (128, 56, 56), "layer2.0.conv2": (128, 28, 28), "layer2.0.downsample.0": (512, 28, 28),
        "layer2.3.relu": (512, 28, 28), "layer3.5.relu": (1024, 14, 14), "layer4.2.relu": (2048, 7, 7),
        "avgpool": (2048, 1, 1), "flatten": (2048,), "fc": (1000,),
    }  # fmt: skip
    assert {name: outputs[name] for name in sizes} == sizes
    assert sum(".downsample.0" in name for name in outputs) == 4


def test_resnet_extract():
    net = randomised(models.resnet18(num_classes=10))
    x = images(net)
    names = ["layer1.0.bn1", "layer1.0.relu1", "layer2.0.bn2", "layer2.0.downsample.1", "layer2.0.add",
             "layer2.0.relu", "flatten", "fc"]  # fmt: skip
    features = net.extract(x, names)
    for name, expected in zip(names, net.reference(x, outputs=names), strict=True):
        near(features[name], expected)
    assert features["layer1.0.bn1"].min() < 0 and features["layer2.0.add"].min() < 0
    equal(features["layer1.0.relu1"], np.maximum(features["layer1.0.bn1"], 0))
    equal(features["layer2.0.relu"], np.maximum(features["layer2.0.add"], 0))
    assert features["fc"].shape == (1, 10)


def torch_resnet(nn, kernels, depths):
    """torchvision's ResNet, its parameters under torchvision's names; kernels (3, 3) or (1, 3, 1)."""

    class Block(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            strided = kernels.index(3)
            inner = channels
            for i, kernel in enumerate(kernels):
                out = 4 * width if i == 2 else width
                step = stride if i == strided else 1
                setattr(self, f"conv{i + 1}", nn.Conv2d(inner, out, kernel, step, kernel // 2, bias=False))
                setattr(self, f"bn{i + 1}", nn.BatchNorm2d(out))
                inner = out
            self.downsample = nn.Sequential()
            if (channels, stride) != (out, 1):
                self.downsample.extend([nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)])

        def forward(self, x):
            y = x
            for i in range(1, len(kernels) + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y if i == 1 else y.relu()))
            return (y + self.downsample(x)).relu()

    net = OrderedDict(conv1=nn.Conv2d(3, 64, 7, 2, 3, bias=False), bn1=nn.BatchNorm2d(64), relu=nn.ReLU(),
                      maxpool=nn.MaxPool2d(3, 2, 1))  # fmt: skip
    channels = 64
    for stage, depth in enumerate(depths):
        blocks = []
        for i in range(depth):
            width = 64 << stage
            blocks.append(Block(channels, width, 2 if stage and i == 0 else 1))
            channels = width * (4 if len(kernels) == 3 else 1)
        net[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    net.update(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, 1000))
    return nn.Sequential(net)


def test_state_dict_of_pytorch_as_safetensors(torch, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    net, module = randomised(models.resnet18()), torch_resnet(torch.nn, (3, 3), (2, 2, 2, 2))
    module.load_state_dict({name: torch.tensor(value) for name, value in net.state_dict().items()})
    assert "layer2.0.downsample.1.num_batches_tracked" in module.state_dict()
    path = tmp_path / "resnet18.safetensors"
    save_file(module.state_dict(), path)
    loaded = models.resnet18(weights=path)
    assert list(loaded.parameters) == [name for name in module.state_dict() if "num_batches" not in name]
    for name, value in net.parameters.items():
        equal(loaded.parameters[name], value)


# ------------------------------------------------------------------------------------------------------ autoencoders


def torch_autoencoder(nn):
    layers = OrderedDict()
    for i, (channels, out) in enumerate([(3, 32), (32, 64), (64, 128), (128, 256)], 1):
        layers |= {f"conv{i}": nn.Conv2d(channels, out, 3, 2, 1), f"relu{i}": nn.ReLU()}
    for i, (channels, out) in enumerate([(256, 128), (128, 64), (64, 32), (32, 3)], 1):
        layers |= {f"deconv{i}": nn.ConvTranspose2d(channels, out, 4, 2, 1), f"relu{i + 4}": nn.ReLU()}
    layers["relu8"] = nn.Sigmoid()
    return nn.Sequential(layers)


@pytest.mark.parametrize("name", ["autoencoder", "unpooling_autoencoder"])
def test_autoencoder_returns_an_image(name):
    net = models.NETWORKS[name]()
    x = np.random.default_rng(4).random((1, 3, 224, 224), np.float32)
    codes = {"autoencoder": ("conv4", (1, 256, 14, 14)), "unpooling_autoencoder": ("pool3", (1, 128, 28, 28))}
    code, shape = codes[name]
    features = net.extract(x, [code, net.graph.outputs[0]])
    assert features[code].shape == shape
    y = features[net.graph.outputs[0]]
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1


def test_unpooling_is_exact_on_integers():
    """Where float32 is exact, so are the places of the maxima, ties included. Transforms would divide."""
    net = models.unpooling_autoencoder()
    rng = np.random.default_rng(6)
    state = {}
    for name, value in net.parameters.items():
        integers = rng.integers(-1, 2, value.shape) * (rng.random(value.shape) < 0.1)
        state[name] = integers.astype(np.float32)
    net.load_state_dict(state)
    x = rng.integers(-4, 5, (2, 3, 32, 48)).astype(np.float32)

    names = [value for value in net.graph.dims if value not in ("image", *net.graph.outputs)]
    expected = dict(zip(names, net.reference(x, outputs=names), strict=True))
    for node in net.graph.nodes:
        if node.op == "conv2d":
            sums = ts.reference.conv2d(np.abs(({"image": x} | expected)[node.inputs["x"]]),
                                       np.abs(state[f"{node.name}.weight"]), padding=1)  # fmt: skip
            assert sums.max() + 1 < 2**24
    for isa in ts.show_runtime()["supported_isas"]:
        with ts.max_isa(isa):
            run = net.compile(2, image_size=x.shape[2:], accuracy="strict", outputs=names)
        features = dict(zip(names, run(x), strict=True))
        assert features["pool1:1"].dtype == np.int64
        for name in names:
            equal(features[name], expected[name], err_msg=name)


# ---------------------------------------------------------------------------------------------------------- PyTorch

PEERS = {
    "alexnet": torch_alexnet,
    "resnet18": lambda nn: torch_resnet(nn, (3, 3), (2, 2, 2, 2)),
    "resnet50": lambda nn: torch_resnet(nn, (1, 3, 1), (3, 4, 6, 3)),
    "autoencoder": torch_autoencoder,
}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_pytorch(torch, name, request):
    net = request.getfixturevalue("alexnet") if name == "alexnet" else randomised(models.NETWORKS[name]())
    module = PEERS[name](torch.nn).eval()
    module.load_state_dict({name: torch.tensor(value) for name, value in net.parameters.items()})
    x = np.random.default_rng(5).standard_normal((1, *net.graph.inputs["image"]), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    near(net(x), expected)


# -------------------------------------------------------------------------------------------------- trained networks


@pytest.fixture(scope="module")
def digits():
    """(images, labels) of the part that examples/train_digits.py held out, and the card it wrote."""
    datasets = pytest.importorskip("sklearn.datasets")
    split = pytest.importorskip("sklearn.model_selection").train_test_split
    x, label = datasets.load_digits(return_X_y=True)
    _, x, _, label = split(x, label, test_size=0.25, random_state=0, stratify=label)
    x = np.kron(x.reshape(-1, 8, 8) / 16, np.ones((4, 4)))[:, None].astype(np.float32)
    return x, label, Path(ts.__file__).with_name("pretrained").joinpath("README.md").read_text(encoding="utf-8")


def test_lenet5_reads_digits(digits):
    x, label, card = digits
    right = np.sum(models.lenet5(weights="digits")(x).argmax(axis=1) == label)
    assert f"({right} of {len(label)})" in card


def test_denoiser_cleans_digits(digits):
    x, _, card = digits
    sigma, seed = re.search(r"np\.clip\(x \+ ([\d.]+) \* noise", card), re.search(r"default_rng\((\d+)\)", card)
    noise = np.random.default_rng(int(seed[1])).standard_normal(x.shape, dtype=np.float32)
    noisy = np.clip(x + np.float32(sigma[1]) * noise, 0, 1)

    def psnr(y):
        return f"{-10 * np.log10(np.mean((y.astype(np.float64) - x) ** 2)):.2f} dB"

    cleaned = models.denoiser(weights="digits")(noisy)
    assert f"PSNR {psnr(noisy)} noisy, {psnr(cleaned)} denoised" in card


def test_batch_norm_over_rows_of_linear_is_not_folded():
    """linear's features lie on the last axis, the channels of batch_norm on axis 1, whatever their sizes."""
    for features in (4, 5):
        g = ts.Graph("rows")
        x = g.linear("fc", g.input("x", (4, 8)), features)
        g.output(g.batch_norm("bn", x))
        net = ts.Network(g)
        rng = np.random.default_rng(0)
        statistics = {name: rng.standard_normal(4) for name in ("bn.weight", "bn.running_mean")}
        net.load_state_dict({**net.parameters, **statistics})
        x = rng.standard_normal((2, 4, 8), np.float32)
        np.testing.assert_allclose(net(x), net.reference(x), rtol=0, atol=1e-5)


def with_extras(computed, *names):
    """A 1x1 convolution with a gate, a residual or both, each computed or a constant."""
    g = ts.Graph("extras")
    x = g.input("x", (4, 5, 5))
    shapes = {"gate": (1, 4, 1, 1), "residual": (1, 4, 5, 5)}
    parameters = {"weight": Parameter((4, 4, 1, 1), "he", 4), "bias": Parameter((4,))}
    values = {"gate": g.sigmoid("gate", g.global_avg_pool2d("pool", x)), "residual": g.relu("residual", x)}
    given = {name: values[name] if computed and name in names else None for name in values}
    parameters |= {name: Parameter(shapes[name], "he") for name in names if not computed}
    return g, values, g.apply("conv2d", "conv", x, given["residual"], given["gate"], parameters=parameters)


@pytest.mark.parametrize("after", ["batch_norm", "mul", "add", "squeeze"])
@pytest.mark.parametrize("names", [["gate"], ["residual"], ["gate", "residual"]], ids="+".join)
@pytest.mark.parametrize("computed", [True, False], ids=["computed", "constant"])
def test_what_a_convolution_has_besides_is_kept(computed, names, after):
    """Whatever could be fused or folded into it next."""
    g, values, y = with_extras(computed, *names)
    if after == "batch_norm":
        y = g.batch_norm("norm", y)
    elif after == "mul":
        y = g.mul("product", y, values["gate"])
    elif after == "add":
        y = g.add("sum", y, values["residual"])
    else:
        y = g.conv2d("narrow", g.global_avg_pool2d("means", y), 2, 1)
    g.output(y)
    net = Network(g)
    rng = np.random.default_rng(5)
    net.load_state_dict({name: rng.random(p.shape, np.float32) + 0.5 for name, p in g.parameters.items()})
    x = rng.standard_normal((1, 4, 5, 5), np.float32)
    near(net(x), net.reference(x))


def test_a_network_remembers_the_plans_it_used_last():
    from tesela.network import MOST_REMEMBERED

    g = ts.Graph("sizes")
    g.output(g.relu("y", g.input("x", (2, 4, 4))))
    net = ts.Network(g)
    for width in range(1, 3 * MOST_REMEMBERED):
        x = np.full((1, 2, 4, width), -1, np.float32)
        assert not net(x).any()
        assert not net(x[..., :1].copy()).any()
    assert len(net._compiled) == MOST_REMEMBERED
    widths = {dict(key[0])["x"][-1] for key in net._compiled}
    assert widths == {1, *range(2 * MOST_REMEMBERED + 1, 3 * MOST_REMEMBERED)}  # the first stays in use
