"""Where parameters come from: the forms that are taken, and that nothing else is."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import tesela as ts
from tesela import models, weights

SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "fc.weight": (2, 4), "fc.bias": (2,)}


def network(source=None, **seed):
    g = ts.Graph("small")
    x = g.input("image", (3, 6, 6))
    x = g.global_avg_pool2d("pool", g.conv2d("conv", x, 4, 3, activation="relu"))
    g.output(g.linear("fc", g.flatten("flatten", x), 2))
    return ts.Network(g, source, **seed)


@pytest.fixture
def state():
    """Multiples of 1/8 below 4: exact in every floating-point format there is a test for."""
    rng = np.random.default_rng(7)
    return {name: (rng.integers(-31, 32, shape) / 8).astype(np.float32) for name, shape in SHAPES.items()}


def same(net, state):
    assert list(net.parameters) == list(SHAPES)
    for name, value in net.parameters.items():
        assert value.dtype == np.float32 and value.flags.c_contiguous
        np.testing.assert_array_equal(value, state[name], err_msg=name)


def npz(path, tensors):
    np.savez(path, **tensors)
    return path


def safetensors(path, tensors):
    pytest.importorskip("safetensors.numpy").save_file(tensors, path)
    return path


def safetensors_bytes(dtype, tensors):
    """The format by hand, for dtypes that NumPy has not: length of the header, header in JSON, data."""
    header, end = {}, 0
    for name, value in tensors.items():
        begin, end = end, end + value.nbytes
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in tensors.values())


FORMATS = {".npz": npz, ".safetensors": safetensors}
each_format = pytest.mark.parametrize("suffix", FORMATS)

# --------------------------------------------------------------------------------------------------------- good ones


def test_seeded_weights():
    first, again, other = network(), network(seed=0), network(seed=1)
    for name, shape in SHAPES.items():
        assert first.parameters[name].shape == shape and first.parameters[name].dtype == np.float32
        np.testing.assert_array_equal(first.parameters[name], again.parameters[name])
    assert not np.array_equal(first.parameters["conv.weight"], other.parameters["conv.weight"])
    assert not first.parameters["conv.bias"].any()


def test_he_initialisation():
    g = ts.Graph()
    g.output(g.batch_norm("bn", g.conv2d("conv", g.input("image", (64, 8, 8)), 256, 3)))
    parameters = ts.Network(g).parameters
    weight = parameters["conv.weight"]
    # The deviation of n normal numbers is known to 1 / sqrt(2 n); five times that is never left by chance.
    expected = np.sqrt(2 / (64 * 3 * 3))
    assert abs(weight.std() / expected - 1) < 5 / np.sqrt(2 * weight.size)
    assert abs(weight.mean()) < 5 * expected / np.sqrt(weight.size)
    values = {name: set(parameters[f"bn.{name}"]) for name in ("weight", "bias", "running_mean", "running_var")}
    assert values == {"weight": {1}, "bias": {0}, "running_mean": {0}, "running_var": {1}}


def test_dict(state):
    same(network(state), state)
    same(network(dict(reversed(state.items()))), state)


@each_format
def test_file(state, tmp_path, suffix):
    path = FORMATS[suffix](tmp_path / f"weights{suffix}", state)
    same(network(path), state)
    same(network(str(path)), state)


@each_format
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_become_float32(state, tmp_path, suffix, dtype):
    tensors = {name: value.astype(dtype) for name, value in state.items()}
    same(network(tensors), state)
    same(network(FORMATS[suffix](tmp_path / f"weights{suffix}", tensors)), state)


def test_bfloat16_in_safetensors(state, tmp_path):
    upper_halves = {name: (value.view(np.uint32) >> 16).astype("<u2") for name, value in state.items()}
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_bytes("BF16", upper_halves))
    same(network(path), state)


def test_files_and_tensors_of_pytorch(state, tmp_path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    same(network(tensors), state)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        path = tmp_path / "weights.safetensors"
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, path)
        same(network(path), state)


def test_arrays_in_any_memory_order(state):
    transposed = {name: np.asfortranarray(value) for name, value in state.items()}
    assert not transposed["conv.weight"].flags.c_contiguous
    same(network(transposed), state)


@each_format
def test_counts_of_training_batches_are_ignored(tmp_path, suffix):
    """As in every state_dict of PyTorch with batch norm."""
    net = models.resnet18(num_classes=2, seed=3)
    counts = {f"{node.name}.num_batches_tracked": np.array(100) for node in net.graph.nodes if node.op == "batch_norm"}
    assert len(counts) == 20
    path = FORMATS[suffix](tmp_path / f"resnet18{suffix}", net.state_dict() | counts)
    loaded = models.resnet18(num_classes=2, weights=path).parameters
    assert list(loaded) == list(net.parameters)
    for name, value in net.parameters.items():
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)


def test_state_dict_round_trip(tmp_path):
    x = np.random.default_rng(5).standard_normal((2, 3, 6, 6), np.float32)
    net, other = network(seed=1), network(seed=2)
    expected = net(x)
    assert not np.array_equal(other(x), expected)  # compiled now, for the old weights
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other(x), expected)
    np.testing.assert_array_equal(network(npz(tmp_path / "weights.npz", net.state_dict()))(x), expected)


def test_state_dict_is_a_copy(state):
    net = network(state)
    for value in net.state_dict().values():
        value[:] = 0
    same(net, state)


def test_dict_is_copied(state):
    net = network(state)
    kept = {name: value.copy() for name, value in state.items()}
    for value in state.values():
        value[:] = 0
    same(net, kept)


# ------------------------------------------------------------------------------------------------------- refused ones


@pytest.fixture(params=["dict", ".npz", ".safetensors", "load_state_dict"])
def refuses(request, tmp_path):
    """A function that sees the tensors refused in one form."""

    def check(tensors, error, match):
        if request.param in FORMATS:
            tensors = FORMATS[request.param](tmp_path / f"weights{request.param}", tensors)
        net = network()
        before = net.state_dict()
        with pytest.raises(error, match=match):
            net.load_state_dict(tensors) if request.param == "load_state_dict" else network(tensors)
        same(net, before)

    return check


def test_missing_tensor(state, refuses):
    del state["conv.bias"]
    refuses(state, ValueError, r"small: the weights do not fit: missing conv\.bias$")


def test_extra_tensor(state, refuses):
    state["conv2.bias"] = state["conv.bias"]
    refuses(state, ValueError, r"small: the weights do not fit: unexpected conv2\.bias$")


def test_misnamed_tensor(state, refuses):
    state["conv.gamma"] = state.pop("conv.weight")
    refuses(state, ValueError, r"missing conv\.weight; unexpected conv\.gamma$")


def test_misshapen_tensor(state, refuses):
    state["fc.weight"] = state["fc.weight"].T.copy()
    refuses(state, ValueError, r"small: expected fc\.weight of shape \(2, 4\), got \(4, 2\)$")


def test_tensor_that_would_broadcast(state, refuses):
    state["fc.bias"] = state["fc.bias"][:1]
    refuses(state, ValueError, r"expected fc\.bias of shape \(2,\), got \(1,\)$")


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers(state, refuses, dtype):
    state["conv.weight"] = state["conv.weight"].astype(dtype)
    refuses(state, TypeError, rf"small: expected conv\.weight as floating-point numbers, got {dtype}$")


def test_long_lists_are_cut():
    with pytest.raises(ValueError, match=r"missing conv1\.weight, conv1\.bias, conv2\.weight, .* and 4 more$"):
        models.lenet5(weights={})


@pytest.mark.parametrize("source", [3, [1.0], b"weights.npz"])
def test_unknown_source(source):
    with pytest.raises(TypeError, match=f"expected weights as a dict, a path or None, got {type(source).__name__}"):
        network(source)


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors", "weights.pt", "digits", ""])
def test_missing_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="weights: no such file: "):
        network(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.onnx", "weights"])
def test_unknown_suffix(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"expected a \.npz or \.safetensors file, got .*" + name):
        network(path)


class Bomb:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@each_format
def test_nothing_is_unpickled(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=f"weights: .* is no readable {suffix} file"):
        network(path)


def test_no_object_array_is_unpickled(state, tmp_path):
    state["conv.bias"] = np.array([Bomb()], object)
    with pytest.raises(ValueError, match=r"is no readable \.npz file of plain arrays$"):
        network(npz(tmp_path / "weights.npz", state))


@each_format
def test_truncated_file(state, tmp_path, suffix):
    path = FORMATS[suffix](tmp_path / f"weights{suffix}", state)
    whole = path.read_bytes()
    for length in (0, 1, 4, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"weights: .* is no readable {suffix} file"):
            network(path)


@pytest.mark.parametrize("store", [np.savez, np.savez_compressed])
def test_damaged_npz(state, tmp_path, store):
    path = tmp_path / "weights.npz"
    store(path, **state)
    whole = path.read_bytes()
    begin = whole.index(b"conv.weight.npy") + 64  # in the first tensor
    for size in (1, 8, 64):
        flipped = bytes(byte ^ 0xFF for byte in whole[begin : begin + size])
        path.write_bytes(whole[:begin] + flipped + whole[begin + size :])
        with pytest.raises(ValueError, match=r"is no readable \.npz file"):
            network(path)


def npy(shape=(3,)):
    """The bytes of an .npy file, whose header promises this shape and whose data are missing."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_npy_file_is_no_npz(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(npy() + bytes(12))
    with pytest.raises(ValueError, match=r"is no readable \.npz file"):
        network(path)


def test_npz_that_promises_too_much(tmp_path):
    path = tmp_path / "weights.npz"
    for shape in ((3,), (2**50,)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("conv.bias.npy", npy(shape))
        with pytest.raises(ValueError, match=r"is no readable \.npz file"):
            network(path)


def test_unknown_dtype_in_safetensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_bytes("BOOL", {"conv.bias": np.zeros(4, bool)}))
    with pytest.raises(ValueError, match=r"tensor 'conv\.bias' has dtype BOOL, expected one of F64, F32, F16, "):
        network(path)


def test_safetensors_package_is_optional(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.touch()
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'tesela\[safetensors\]'"):
        weights.read(path)


def test_parameters_are_not_written_into():
    """Plans hold copies: an edit in place would change what the reference computes, and nothing else."""
    g = ts.Graph("net")
    g.output(g.linear("fc", g.input("x", (4,)), 3))
    net = ts.Network(g)
    for of in (net, ts.Network(g, net.state_dict())):
        with pytest.raises(ValueError, match="read-only"):
            of.parameters["fc.weight"][0] = 1
        with pytest.raises(TypeError):
            of.parameters["fc.weight"] = of.parameters["fc.weight"] * 2
    x = np.ones((1, 4), np.float32)
    before = net(x)
    state = net.state_dict()
    state["fc.bias"][:] = 1  # a copy, to be edited
    net.load_state_dict(state)
    np.testing.assert_allclose(net(x), before + 1, rtol=0, atol=1e-6)  # added before the last rounding, or after it


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_file_of_pytorch_is_told_how_to_convert(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"convert files of PyTorch with examples/convert_torch_weights\.py"):
        ts.models.lenet5(weights=str(path))


def test_tensors_of_any_floating_type(state):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(value).bfloat16().requires_grad_() for name, value in state.items()}
    same(network(tensors), state)


def test_members_of_an_npz_stay_within_the_file_and_apart(state, tmp_path):
    path = npz(tmp_path / "weights.npz", state)
    whole = path.read_bytes()
    directory = whole.index(b"PK\1\2")
    second = whole.index(b"PK\1\2", directory + 4)
    sizes = directory + 20  # of the first member: compressed, then as it is
    for size in (2**31, len(whole)):
        path.write_bytes(whole[:sizes] + 2 * size.to_bytes(4, "little") + whole[sizes + 8 :])
        with pytest.raises(ValueError, match=r"is no readable \.npz file .*larger than the file"):
            network(path)
    path.write_bytes(whole[: second + 42] + (2**31).to_bytes(4, "little") + whole[second + 46 :])
    with pytest.raises(ValueError, match=r"is no readable \.npz file"):
        network(path)


def test_a_member_of_an_npz_ends_before_the_directory(tmp_path):
    path = npz(tmp_path / "weights.npz", {"conv.bias": np.zeros(3, np.float32)})
    whole = path.read_bytes()
    directory = whole.index(b"PK\1\2")
    path.write_bytes(whole[: directory + 20] + 2 * directory.to_bytes(4, "little") + whole[directory + 28 :])
    with pytest.raises(ValueError, match=r"is no readable \.npz file .*'conv.bias.npy' does not lie in the file"):
        network(path)


def test_a_member_of_an_npz_that_is_no_array(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("conv.bias", b"hello")
    with pytest.raises(ValueError, match=r"is no readable \.npz file .*'conv.bias' is no array"):
        network(path)


def test_what_numpy_never_compresses_with(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("conv.bias.npy", npy((3,)) + bytes(12))
    with pytest.raises(ValueError, match=r"is no readable \.npz file .*'conv.bias.npy' is neither stored nor deflated"):
        network(path)


HEADERS = [
    b"{'descr': (\n",
    b"{'descr': '<f4'",
    b"[" * 3000,
    b"\0\0",
    b"{'descr': ('<f4',), 'fortran_order': False, 'shape': (1,)}\n",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1180591620717411303424,)}\n",
]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_are_none(tmp_path, header, compression):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("conv.bias.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"is no readable \.npz file"):
        network(path)


def test_many_members_at_one_place_take_no_memory(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy((1 << 20,)) + bytes(4 << 20))
        archive.filelist *= 1000
    with pytest.raises(ValueError, match="its members are larger than the file"):
        network(path)


def test_threads_that_are_none_are_no_fault_of_the_file(state, tmp_path, monkeypatch):
    path = npz(tmp_path / "weights.npz", state)
    monkeypatch.setenv("TESELA_NUM_THREADS", "many")
    with pytest.raises(ValueError, match=r"^TESELA_NUM_THREADS: expected threads"):
        network(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_form_of_array_in_an_npz(tmp_path, version):
    arrays = {
        "rows": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "number": np.float32(3),
        "none": np.zeros((0, 3), np.float32),
        "swapped": np.arange(3, dtype=">i8"),
        "large": np.arange(1 << 19, dtype=np.float32),
    }
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asanyarray(array), version)
            archive.writestr(name + ".npy", stream.getvalue())
    read = weights.read(path)
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and read[name].flags.aligned
        np.testing.assert_array_equal(read[name], array)
