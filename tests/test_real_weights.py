"""Weights that others trained, on data they were made for: published accuracies, stored outputs, other engines.

The data is where TESELA_TEST_DATA says; nothing of it is ours, and without it these tests are skipped.
"""

import csv

import numpy as np
import pytest
import tesela as ts
from tesela import models

RELATIVE = 1e-5  # of the largest value: two orders of summation in float32
ORT = {"providers": ["CPUExecutionProvider"]}


def expect_close(y, expected, relative=RELATIVE):
    assert y.shape == expected.shape and np.isfinite(expected).all()
    np.testing.assert_allclose(y, expected, rtol=0, atol=relative * np.abs(expected).max())


# ---------------------------------------------------------------------------------------------------------- CIFAR-10


@pytest.mark.parametrize(("name", "right"), [("resnet20", 3992), ("resnet56", 4000)])
def test_residual_networks_read_cifar10(name, right, data):
    """They were trained on these images; 99.8 % and 100 % right is what was measured before, elsewhere."""
    net = models.NETWORKS[name](weights=data(f"{name}_cifar10.npz"))
    with np.load(data("cifar10_4000.npz")) as cifar:
        x, label = cifar["x"], cifar["y"]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    x = np.ascontiguousarray(((x / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    logits = np.concatenate([net(batch) for batch in np.split(x, 40)])
    assert np.sum(logits.argmax(axis=1) == label) == right
    expect_close(logits[:4], net.reference(x[:4]))


# ------------------------------------------------------------------------------------------------------------- MNIST


@pytest.fixture(scope="module")
def mnist(data):
    """(images (10000, 1, 28, 28) in 0..1, labels) of the test set."""
    with np.load(data("mnist.npz")) as file:
        return (file["x_test"] / np.float32(255))[:, None], file["y_test"]


@pytest.fixture(scope="module")
def reader(data):
    pytest.importorskip("onnx")
    return ts.onnx.load(data("mnist_cntk/mnist.onnx"))


def test_cntk_network_reads_mnist(reader, mnist):
    """Its card (onnx/models, validated/vision/classification/mnist) says 1.1 % wrong, one image at a time."""
    x, label = mnist
    wrong = sum(reader(x[i : i + 1]).argmax() != label[i] for i in range(len(x)))
    assert round(wrong / len(x), 3) == 0.011


def test_cntk_network_gives_the_stored_values(reader, data):
    image = pytest.importorskip("PIL.Image")
    with image.open(data("mnist_cntk/mnist_28.png")) as digit:
        x = np.asarray(digit.convert("L"), np.float32)[None, None]
    with open(data("mnist_cntk/mnist_28_expected.csv"), newline="") as file:
        expected = np.float32([[row["Value"] for row in csv.DictReader(file)]])
    y = reader(x)
    expect_close(y, expected, 1e-3)  # from an application that makes grey of the picture in its own way
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(data("mnist_cntk/mnist.onnx")), **ORT)
    expect_close(y, session.run(None, {session.get_inputs()[0].name: x})[0])


def test_generator_draws_digits(reader, data):
    """A DCGAN of kernels 3 and 4, strides 1 and 2: as PyTorch draws, and most can be read."""
    with np.load(data("dcgan_mnist_generator.npz")) as file:
        state = {name: file[name] for name in file.files}
    g = ts.Graph("digits")
    x = g.input("noise", (64, 1, 1))
    for i, (kernel, stride) in enumerate(((3, 2), (4, 1), (3, 2), (4, 2))):
        x = g.conv_transpose2d(f"gen.{i}.0", x, state[f"gen.{i}.0.bias"].size, kernel, stride=stride)
        x = g.relu(f"gen.{i}.2", g.batch_norm(f"gen.{i}.1", x)) if i < 3 else g.tanh("gen.3.1", x)
    g.output(x)
    z = np.random.default_rng(0).standard_normal((200, 64, 1, 1), np.float32)
    pictures = ts.Network(g, state)(z)

    scores = np.concatenate([reader((picture[None] + 1) / 2) for picture in pictures])
    sure = ts.softmax(scores).max(axis=1) > 0.9
    assert set(scores[sure].argmax(axis=1)) == set(range(10))
    untrained = np.concatenate([reader((picture[None] + 1) / 2) for picture in ts.Network(g)(z)])
    assert sure.mean() > 0.5 > np.mean(ts.softmax(untrained).max(axis=1) > 0.9)

    torch = pytest.importorskip("torch")
    y = torch.from_numpy(z)
    with torch.no_grad():
        for i, stride in enumerate((2, 1, 2, 2)):
            p = {name[6:]: torch.from_numpy(v) for name, v in state.items() if name.startswith(f"gen.{i}.")}
            y = torch.nn.functional.conv_transpose2d(y, p["0.weight"], p["0.bias"], stride)
            if i < 3:
                y = torch.nn.functional.batch_norm(
                    y, *(p[f"1.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
                )
                y = y.relu()
    expect_close(ts.Network(g, state).compile(batch=200, accuracy="strict")(z), y.tanh().numpy())
    expect_close(pictures, y.tanh().numpy(), 2 * RELATIVE)  # what Winograd's algorithms may add by "default"


# ---------------------------------------------------------------------------------------------------------- ImageNet


@pytest.fixture(scope="module")
def squeezenet(data):
    pytest.importorskip("onnx")
    return ts.onnx.load(data("squeezenet1_1/squeezenet1_1_fp16.onnx"))


@pytest.fixture(scope="module")
def photos(data):
    """(N, 3, 224, 224) as the network takes them, BGR less a mean, and the class of each."""
    image = pytest.importorskip("tesela.image")
    with open(data("photos/index.tsv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    transform = image.Transform(resize=256, crop=224, mean=(104, 117, 123), scale=1, channels="BGR")
    x = np.concatenate([transform(data(f"photos/{row['file']}")) for row in rows])
    return x, np.array([int(row["class_index"]) for row in rows])


def test_squeezenet_agrees_with_its_published_outputs(squeezenet, data):
    from onnx import TensorProto, numpy_helper

    for i in range(6):
        x, y = (
            numpy_helper.to_array(
                TensorProto.FromString(data(f"squeezenet1_1/test_data_set_{i}/{which}_0.pb").read_bytes())
            )
            for which in ("input", "output")
        )
        # The outputs came from float32 weights, which float16 rounds by up to 2^-11 in each of 26 layers.
        np.testing.assert_allclose(squeezenet(x).ravel(), y.ravel(), rtol=0, atol=1e-3)
        assert squeezenet(x).argmax() == y.argmax()


def test_squeezenet_knows_a_fish(squeezenet, data):
    image = pytest.importorskip("tesela.image")
    y = squeezenet(image.load(data("squeezenet1_1/fish.png"), scale=1, channels="BGR")).ravel()
    with open(data("squeezenet1_1/fish_expected.csv"), newline="") as file:
        expected = np.float32([row["Value"] for row in csv.DictReader(file)])
    assert y.argmax() == expected.argmax() == 0
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-3)  # stored by a run in float16


def test_squeezenet_gives_photos_the_class_that_onnxruntime_gives_them(squeezenet, photos, data):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(data("squeezenet1_1/squeezenet1_1_fp16.onnx")), **ORT)
    (given,) = session.get_inputs()
    kind = np.float16 if given.type == "tensor(float16)" else np.float32
    x, label = photos
    own = np.array([squeezenet(photo[None]).argmax() for photo in x])
    other = np.array([session.run(None, {given.name: photo[None].astype(kind)})[0].argmax() for photo in x])
    assert (own == other).all()
    assert np.mean(own == label) > 0.5  # of a thousand such photos ONNX Runtime has 61 % right


def test_squeezenet_of_the_models_takes_the_weights_of_caffe(squeezenet, photos):
    """models.squeezenet1_1 has torchvision's names; the tensors are those of the authors' Caffe model."""
    fires = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
    state = {}
    for name, value in squeezenet.state_dict().items():
        layer, _, kind = name.rpartition("_")[0].rpartition("_")
        if layer in ("conv1", "conv10"):
            layer = "features.0" if layer == "conv1" else "classifier.1"
        else:
            fire, _, part = layer.partition("/")
            layer = f"features.{fires[int(fire[4:])]}.{part.replace('squeeze1x1', 'squeeze')}"
        state[f"{layer}.{'weight' if kind == 'w' else 'bias'}"] = value
    net = models.squeezenet1_1(weights=state)
    x = photos[0][:16]
    expected = np.concatenate([squeezenet(photo[None]) for photo in x])
    expect_close(ts.softmax(net(x)), expected.reshape(len(x), -1))


# ------------------------------------------------------------------------------------------------------------- faces


def test_minifasnet(data):
    """Depthwise convolutions, PReLU and squeeze-and-excitation with real weights: what PyTorch computes.

    MiniFASNetV1SE of minivision-ai/Silent-Face-Anti-Spoofing; its input is BGR, 0..255.
    """
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("tesela.image")
    with np.load(data("minifasnet_v1se.npz")) as file:
        state = {name: file[name] for name in file.files}
    net = ts.Network(minifasnet(state), state)
    files = sorted(data("photos").glob("*.JPEG"))[:8]
    x = np.concatenate([image.load(file, 80, scale=1, channels="BGR") for file in files])
    with torch.no_grad():
        expected = torch_minifasnet({k: torch.from_numpy(v) for k, v in state.items()}, torch.from_numpy(x)).numpy()
    y = net(x)
    expect_close(y, expected)
    expect_close(y, net.reference(x))
    assert (y.argmax(axis=1) == expected.argmax(axis=1)).all()


BLOCKS = ("conv_23", *(f"conv_3.model.{i}" for i in range(4)), "conv_34",
          *(f"conv_4.model.{i}" for i in range(6)), "conv_45", *(f"conv_5.model.{i}" for i in range(2)))  # fmt: skip


def minifasnet(state):
    """Widths are those of the weights. A block expands, filters each channel, projects; in stages it is residual."""
    g = ts.Graph("minifasnet_v1se")

    def unit(name, x, stride=1, padding=0, prelu=True):
        out, per_group, *kernel = state[f"{name}.conv.weight"].shape
        groups = g.dims[x][1] // per_group
        x = g.conv2d(f"{name}.conv", x, out, kernel, stride=stride, padding=padding, groups=groups, bias=False)
        x = g.batch_norm(f"{name}.bn", x)
        return g.prelu(f"{name}.prelu", x) if prelu else x

    x = unit("conv1", g.input("face", (3, 80, 80)), stride=2, padding=1)
    x = unit("conv2_dw", x, padding=1)
    for name in BLOCKS:
        residual = ".model." in name
        y = unit(f"{name}.conv", x)
        y = unit(f"{name}.conv_dw", y, stride=1 if residual else 2, padding=1)
        y = unit(f"{name}.project", y, prelu=False)
        se = f"{name}.se_module"
        if f"{se}.fc1.weight" in state:
            s = g.conv2d(
                f"{se}.fc1", g.global_avg_pool2d(f"{se}.pool", y), len(state[f"{se}.fc1.weight"]), 1, bias=False
            )
            s = g.batch_norm(f"{se}.bn1", s, activation="relu")
            s = g.conv2d(f"{se}.fc2", s, g.dims[y][1], 1, bias=False)
            y = g.mul(se, y, g.batch_norm(f"{se}.bn2", s, activation="sigmoid"))
        x = g.add(name, x, y) if residual else y
    x = unit("conv_6_dw", unit("conv_6_sep", x), prelu=False)
    x = g.linear("linear", g.flatten("flatten", x), 128, bias=False)
    g.output(g.linear("prob", g.batch_norm("bn", x), 3, bias=False))
    return g


def torch_minifasnet(state, x):
    from torch.nn import functional as F

    def norm(name, x):
        return F.batch_norm(x, *(state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))

    def unit(name, x, **geometry):
        weight = state[f"{name}.conv.weight"]
        x = norm(f"{name}.bn", F.conv2d(x, weight, groups=x.shape[1] // weight.shape[1], **geometry))
        return F.prelu(x, state[f"{name}.prelu.weight"]) if f"{name}.prelu.weight" in state else x

    x = unit("conv2_dw", unit("conv1", x, stride=2, padding=1), padding=1)
    for name in BLOCKS:
        y = unit(f"{name}.conv_dw", unit(f"{name}.conv", x), stride=1 if ".model." in name else 2, padding=1)
        y = unit(f"{name}.project", y)
        se = f"{name}.se_module"
        if f"{se}.fc1.weight" in state:
            s = F.conv2d(F.adaptive_avg_pool2d(y, 1), state[f"{se}.fc1.weight"])
            s = F.conv2d(norm(f"{se}.bn1", s).relu(), state[f"{se}.fc2.weight"])
            y = y * norm(f"{se}.bn2", s).sigmoid()
        x = x + y if ".model." in name else y
    x = unit("conv_6_dw", unit("conv_6_sep", x)).flatten(1)
    return norm("bn", x @ state["linear.weight"].T) @ state["prob.weight"].T
