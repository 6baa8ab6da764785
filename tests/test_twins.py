"""Networks and their twins in PyTorch (torch_twins.py): the same results with the same parameters.

Images are small, weights random, results may differ by 1e-5 of the largest.
"""

import numpy as np
import pytest
from tesela import models

torch = pytest.importorskip("torch")
import torch_twins as twins  # noqa: E402

nn, F = torch.nn, torch.nn.functional

TWINS = {
    "vgg11_bn": (twins.vgg11_bn, lambda: models.vgg11(batch_norm=True, num_classes=10), (40, 32)),
    "googlenet_bn": (twins.googlenet, lambda: models.googlenet(batch_norm=True, num_classes=10), (64, 80)),
    "squeezenet1_1": (twins.squeezenet1_1, lambda: models.squeezenet1_1(num_classes=10), (64, 80)),
    "resnext50_32x4d": (twins.resnext50_32x4d, lambda: models.resnext50_32x4d(num_classes=10), (64, 48)),
    "se_resnet50": (twins.se_resnet50, lambda: models.se_resnet50(num_classes=10), (64, 50)),
    "mobilenet_v2": (twins.mobilenet_v2, lambda: models.mobilenet_v2(num_classes=10), (64, 80)),
    "fcn_resnet50": (twins.fcn_resnet50, lambda: models.fcn_resnet50(num_classes=10, aux=True), (48, 64)),
    "fcn_resnet50_odd": (
        twins.fcn_resnet50,
        lambda: models.fcn_resnet50(num_classes=10, aux=True, size=(50, 41)),
        None,
    ),
    "unet": (twins.unet, lambda: models.unet(num_classes=10), (32, 48)),
    "fcn32s": (lambda: twins.fcn([("upscore", 32, 19)]), lambda: models.fcn32s(num_classes=10, size=(21, 40)), None),
    "fcn8s": (
        lambda: twins.fcn([("upscore2", "pool4", 5), ("upscore_pool4", "pool3", 9), ("upscore8", 8, 31)]),
        lambda: models.fcn8s(num_classes=10, size=(64, 32)),
        (32, 64),
    ),
    "unet_valid": (twins.UNetValid, lambda: models.unet_valid(3, 10, size=(188, 188)), (188, 204)),
    "vggish": (twins.vggish, models.vggish, None),
    "m5": (twins.m5, lambda: models.m5(35, (32, 32, 64, 64), 16, 8000), (1, 8123)),
    "segnet": (twins.SegNet, lambda: models.segnet(num_classes=10, size=(40, 36)), None),
    "dcgan_generator": (twins.dcgan_generator, models.dcgan_generator, None),
    "dcgan_discriminator": (twins.dcgan_discriminator, models.dcgan_discriminator, None),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", TWINS)
def test_twin(name):
    twin, network, size = TWINS[name]
    net, rng = network(), np.random.default_rng(1)
    state = dict(net.parameters)
    for tensor, parameter in net.graph.parameters.items():
        if parameter.kind == "ones":
            state[tensor] = rng.uniform(0.5, 1.5, parameter.shape)
        elif parameter.kind == "zeros":
            state[tensor] = rng.normal(0, 0.2, parameter.shape)
    net.load_state_dict(state)
    module = twin().eval()
    missing, unexpected = module.load_state_dict({k: torch.tensor(v) for k, v in net.parameters.items()}, False)
    assert not unexpected and all(tensor.endswith("num_batches_tracked") for tensor in missing)

    ((channels, *own),) = net.graph.inputs.values()
    x = rng.standard_normal((2, channels, *(size or own)), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    actual = net(x)
    for y, z in zip(*((r if isinstance(r, tuple) else (r,)) for r in (actual, expected)), strict=True):
        z = z.numpy()
        assert y.shape == z.shape and np.isfinite(z).all() and z.std() > 1e-4
        assert np.abs(y - z).max() <= 1e-5 * np.abs(z).max()


DISTANCES = {
    "l1": lambda x, y: (x - y).abs().sum(1),
    "l2": lambda x, y: (x - y).square().sum(1).sqrt(),
    "cosine": lambda x, y: 1 - F.cosine_similarity(x, y),
}


@pytest.mark.parametrize("distance", [*DISTANCES, "learned"])
def test_siamese_distance(distance):
    net = models.siamese(distance)
    images = np.random.default_rng(1).standard_normal((2, 2, 1, 105, 105), np.float32)
    x, y = (torch.from_numpy(e).double() for e in models.siamese(weights={
        name: v for name, v in net.parameters.items() if not name.startswith("prediction")})(*images))  # fmt: skip
    if distance == "learned":
        weight, bias = (torch.tensor(net.parameters[f"prediction.{k}"]).double() for k in ("weight", "bias"))
        expected = ((x - y).abs() @ weight.T + bias).sigmoid().numpy()
    else:
        expected = DISTANCES[distance](x, y).numpy()
    actual = net(*images)
    assert actual.shape == expected.shape == ((2, 1) if distance == "learned" else (2,)) and expected.min() > 0.01
    # Embeddings have 4096 values below 1; in 1 - cosine, norms and product of that many terms cancel.
    bound = 4096 * 2**-24 if distance == "cosine" else 1e-5 * expected.max()
    assert np.abs(actual - expected).max() <= bound


def test_siamese_knows_its_distances():
    assert models.siamese("learned").summary().parameters == 38_951_745
    with pytest.raises(ValueError, match=r"None or one of 'l1', 'l2', 'cosine', 'learned', got 'hamming'"):
        models.siamese("hamming")


def test_the_tutorial_counts_the_parameters_of_m5():
    assert models.m5(35, (32, 32, 64, 64), 16, 8000).summary().parameters == 26_915


def test_a_seeded_fcn_interpolates():
    """Between the centres of two scores, the result is their weighed mean, as F.interpolate has it."""
    net = models.fcn8s(num_classes=3, size=(32, 32))
    weight = torch.tensor(net.parameters["upscore8.weight"])
    x = torch.rand(1, 3, 5, 6)
    expected = F.interpolate(x, scale_factor=8, mode="bilinear")[:, :, 8:-8, 8:-8]
    actual = F.conv_transpose2d(x, weight, stride=8, padding=4)[:, :, 8:-8, 8:-8]
    assert (actual - expected).abs().max() <= 1e-6


def test_unet_valid_refuses_other_sizes():
    with pytest.raises(ValueError, match=r"188 and multiples of 16 more, got \(572, 570\)"):
        models.unet_valid(size=(572, 570))


def test_siamese():
    branch = twins.sequence(("conv1", nn.Conv2d(1, 64, 10)), ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2)),
                      ("conv2", nn.Conv2d(64, 128, 7)), ("relu2", nn.ReLU()), ("pool2", nn.MaxPool2d(2)),
                      ("conv3", nn.Conv2d(128, 128, 4)), ("relu3", nn.ReLU()), ("pool3", nn.MaxPool2d(2)),
                      ("conv4", nn.Conv2d(128, 256, 4)), ("relu4", nn.ReLU()), ("flatten", nn.Flatten()),
                      ("fc1", nn.Linear(9216, 4096)), ("sigmoid", nn.Sigmoid()))  # fmt: skip
    net = models.siamese()
    branch.load_state_dict({name.removeprefix("left."): torch.tensor(v) for name, v in net.parameters.items()})
    images = np.random.default_rng(1).standard_normal((2, 1, 1, 105, 105), np.float32)
    with torch.no_grad():
        for actual, x in zip(net(*images), images, strict=True):
            assert np.abs(actual - branch(torch.from_numpy(x)).numpy()).max() <= 1e-5
