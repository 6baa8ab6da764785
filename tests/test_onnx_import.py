"""Models of other exporters and of this one, loaded and compared with ONNX Runtime and with published outputs."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import tesela as ts

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper  # noqa: E402

RELATIVE = 1e-4  # of the largest output: two orders of summation in float32


def expect_close(y, expected):
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


# -------------------------------------------------------------------------------------------------------- round trip


def test_round_trip():
    """To the bit, also with other weights and a second time; tests/test_onnx_export.py does so for every network."""
    net = ts.models.lenet5()
    loaded = ts.onnx.load(net.to_onnx().SerializeToString())
    x = np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    np.testing.assert_array_equal(loaded(x), net(x))
    assert loaded.state_dict().keys() == net.state_dict().keys()
    state = {key: value * np.float32(0.5) for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    loaded.load_state_dict(state)
    np.testing.assert_array_equal(loaded(x), net(x))
    again = ts.onnx.load(loaded.to_onnx().SerializeToString())
    np.testing.assert_array_equal(again(x), loaded(x))


def test_an_attribute_is_the_decimal_that_it_was():
    """A file holds eps in float32, 9.99999974e-6 for 1e-5: batch norm folded with that differs in the last bits."""
    g = ts.Graph("case")
    g.output(g.batch_norm("norm", g.input("x", (64, 2, 2)), eps=1e-5))
    loaded = ts.onnx.load(ts.Network(g).to_onnx().SerializeToString())
    assert loaded.compile() and loaded.graph.nodes[0].attributes["eps"] == 1e-5


def test_reshape():
    g = ts.Graph("reshape")
    g.output(g.reshape("y", g.relu("a", g.input("x", (2, 3), batched=False)), shape=(3, 1, 2)))
    net, x = ts.Network(g), np.arange(-2, 4, dtype=np.float32).reshape(2, 3)
    expected = np.maximum(x, 0).reshape(3, 1, 2)
    compiled = net.compile()
    for y in (compiled(x), net.reference(x), ts.onnx.load(net.to_onnx(batch=1).SerializeToString())(x)):
        np.testing.assert_array_equal(y, expected)
    with pytest.raises(ValueError, match="reshape: expected a shape of 6 elements"):
        g.reshape("z", "a", shape=(4, 2))


def test_layers_by_name():
    net = ts.models.lenet5()
    loaded = ts.onnx.load(net.to_onnx().SerializeToString())
    layer = net.graph.nodes[-2].outputs[0]
    x = np.random.default_rng(0).random((1, *next(iter(net.graph.inputs.values()))), np.float32)
    expect_close(loaded.extract(x, [layer])[layer], net.extract(x, [layer])[layer])
    assert loaded.summary().parameters == net.summary().parameters
    assert loaded.compile(batch=3).input_dims[loaded.graph.nodes[0].inputs["x"]][0] == 3
    assert str(loaded.profile(x, repeats=1))


def test_open_sizes_are_asked_for():
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [[onnx.helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, "H", "W"])] for n in "xy"]
    data = onnx.helper.make_model(onnx.helper.make_graph([node], "open", *values)).SerializeToString()
    net = ts.onnx.load(data)
    with pytest.raises(ValueError, match="input_dims"):
        net.compile()
    for size in (4, 7):
        assert net(np.ones((2, 3, size, size), np.float32)).shape == (2, 3, size, size)
    assert ts.onnx.load(data, input_dims={"x": (1, 3, 5, 6)}).compile().input_dims == {"x": (1, 3, 5, 6)}
    with pytest.raises(ValueError, match="expected x of shape"):
        net(np.ones((2, 4, 5, 5), np.float32))
    with pytest.raises(TypeError, match="float32"):
        net(np.ones((2, 3, 5, 5)))


# ------------------------------------------------------------------------------------------------------ PyTorch's two


def torch_nets():
    from torch import nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.BatchNorm2d(8), nn.ReLU())
            self.b = nn.Conv2d(8, 8, 3, padding=2, dilation=2)

        def forward(self, x):
            return (x + self.b(self.a(x))).relu()

    class Gate(nn.Module):  # squeeze and excitation
        def __init__(self):
            super().__init__()
            self.fc = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1))

        def forward(self, x):
            return x * self.fc(x).sigmoid()

    stem = nn.Conv2d(3, 8, 3, padding=1)
    return {
        "residual": nn.Sequential(stem, Residual(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 64, 5)),
        "squeeze and excitation": nn.Sequential(stem, Gate()),
        "depthwise": nn.Sequential(stem, nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(), nn.Conv2d(8, 4, 1)),
        "transposed": nn.Sequential(stem, nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Tanh()),
        "pixel shuffle": nn.Sequential(stem, nn.PixelShuffle(2), nn.Upsample(scale_factor=2)),
    }


@pytest.mark.parametrize("name", ["residual", "squeeze and excitation", "depthwise", "transposed", "pixel shuffle"])
@pytest.mark.parametrize("dynamo", [False, True])
def test_exported_by_pytorch(name, dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = torch_nets()[name].eval()
    x = torch.rand(1, 3, 16, 16)
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        options = {"external_data": False} if dynamo else {"dynamic_axes": {"x": {0: "N"}}}
        torch.onnx.export(net, (x,), str(path), dynamo=dynamo, input_names=["x"], verbose=False, **options)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    loaded = ts.onnx.load(path)
    for batch in (1,) if dynamo else (1, 3):
        x = np.random.default_rng(batch).random((batch, 3, 16, 16), np.float32)
        expect_close(loaded(x), session.run(None, {"x": x})[0])


# --------------------------------------------------------------------------------------------------------- real files


def data(name):
    folder = os.environ.get("TESELA_TEST_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"TESELA_TEST_DATA names no folder with {name}")
    return Path(folder) / name


def stored(path):
    return numpy_helper.to_array(TensorProto.FromString(path.read_bytes()))


def test_squeezenet_agrees_with_its_published_outputs():
    folder = data("squeezenet1_1")
    net = ts.onnx.load(folder / "squeezenet1_1_fp16.onnx")
    for i in range(6):
        x, y = (stored(folder / f"test_data_set_{i}" / f"{which}_0.pb") for which in ("input", "output"))
        # The outputs came from float32 weights, which float16 rounds by up to 2^-11 in each of 26 layers.
        np.testing.assert_allclose(net(x).ravel(), y.ravel(), rtol=0, atol=1e-3)
        assert net(x).argmax() == y.argmax()


def test_squeezenet_knows_a_fish():
    image = pytest.importorskip("PIL.Image")
    folder = data("squeezenet1_1")
    with image.open(folder / "fish.png") as photo:
        pixels = np.asarray(photo.convert("RGB"), np.float32)[:, :, ::-1].transpose(2, 0, 1)[None]
    y = ts.onnx.load(folder / "squeezenet1_1_fp16.onnx")(np.ascontiguousarray(pixels)).ravel()
    assert y.argmax() == 0
    assert y[0] == pytest.approx(0.738, abs=2e-3)


def test_mnist_of_cntk():
    image = pytest.importorskip("PIL.Image")
    runtime = pytest.importorskip("onnxruntime")
    folder = data("mnist_cntk")
    with image.open(folder / "mnist_28.png") as digit:
        x = np.asarray(digit.convert("L"), np.float32)[None, None]
    session = runtime.InferenceSession(str(folder / "mnist.onnx"), providers=["CPUExecutionProvider"])
    expect_close(ts.onnx.load(folder / "mnist.onnx")(x), session.run(None, {session.get_inputs()[0].name: x})[0])


def test_photos_get_the_class_that_onnxruntime_gives_them():
    image = pytest.importorskip("PIL.Image")
    runtime = pytest.importorskip("onnxruntime")
    model, photos = data("squeezenet1_1") / "squeezenet1_1_fp16.onnx", sorted(data("photos").glob("*.JPEG"))
    session = runtime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    net = ts.onnx.load(model)
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    same = 0
    for path in photos:
        with image.open(path) as photo:
            rgb = np.asarray(photo.convert("RGB").resize((224, 224)), np.float32)
        x = np.ascontiguousarray((rgb[:, :, ::-1] - (104, 117, 123)).transpose(2, 0, 1)[None], np.float32)
        same += net(x).argmax() == session.run(None, {session.get_inputs()[0].name: x.astype(kind)})[0].argmax()
    assert same == len(photos)
