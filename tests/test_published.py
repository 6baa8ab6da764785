"""The registry of published weights: what an entry must say, and downloads from a server of our own."""

import functools
import hashlib
import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tesela as ts
from tesela import image, models, published, weights

pooch = pytest.importorskip("pooch")
pooch.get_logger().setLevel("ERROR")
EXAMPLE = Path(__file__).parents[1] / "examples" / "convert_torch_weights.py"


@pytest.mark.parametrize("name", published.ENTRIES)
def test_entries_are_complete(name):
    entry = published.ENTRIES[name]
    assert entry.url.startswith("https://") and entry.source.startswith("https://")
    assert re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{8}", entry.sha256)
    assert len(entry.sha256) == 64 or re.search(
        f"-{entry.sha256}.p?th$", entry.url
    )  # eight digits: those of PyTorch's names
    assert entry.licence and re.search(r"\d", entry.accuracy)
    channels = 1 if isinstance(entry.transform, image.Transform) and entry.transform.channels == "L" else 3
    if entry.network is None:
        assert entry.url.endswith(".onnx")
    else:
        net = models.NETWORKS[entry.network](**entry.options)
        ((expected, *size),) = net.graph.inputs.values()
        assert channels == expected
        if entry.transform.crop is not None:
            assert entry.transform(np.zeros((300, 400, 3), np.uint8)).shape == (1, expected, *size)
        assert not any(parameter.startswith(entry.unused) for parameter in net.graph.parameters)
        assert len(entry.class_names) == net.graph.dims[net.graph.outputs[0]][1]
    assert all(entry.class_names) and len(entry.class_names) in (10, 21, 1000)


def test_class_names_are_in_the_order_of_the_outputs():
    names = published.ENTRIES["resnet18.tv_in1k"].class_names
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert published.ENTRIES["fcn_resnet50_coco-1167a1af"].class_names[:2] == ("__background__", "aeroplane")
    assert published.ENTRIES["resnet20-12fca82f"].class_names[3] == "cat"
    assert published.ENTRIES["mnist-8"].class_names[7] == "7"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """publish(file, network, ...) puts a file on a server of this machine and an entry for it into the registry."""
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("TESELA_CACHE", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "site")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()

    def publish(name, file, content, network="lenet5", digits=64, **more):
        (tmp_path / "site" / file).write_bytes(content)
        url = f"http://127.0.0.1:{running.server_port}/{file}"
        entry = published.Published(network, url, hashlib.sha256(content).hexdigest()[:digits], url, "MIT", "0", **more)
        monkeypatch.setitem(published.ENTRIES, name, entry)
        return tmp_path / "site" / file

    yield publish
    running.shutdown()
    running.server_close()


def saved(state, suffix, path):
    path = path / f"saved{suffix}"
    if suffix == ".npz":
        np.savez(path, **state)
    elif suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file(state, path)
    else:
        torch = pytest.importorskip("torch")
        torch.save({k: torch.from_numpy(v) for k, v in state.items()}, path)
    return path.read_bytes()


def same(net, state):
    assert list(net.parameters) == list(state)
    for name, value in net.parameters.items():
        np.testing.assert_array_equal(value, state[name])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("digits", [64, 8])
def test_weights_by_name(server, tmp_path, suffix, digits):
    state = models.lenet5(seed=5).state_dict()
    extra = state | {"aux1.weight": np.zeros(3, np.float32)}
    site = server("lenet5.mine", f"m{suffix}", saved(extra, suffix, tmp_path), digits=digits, unused=("aux1.",))
    same(models.lenet5(weights="lenet5.mine"), state)
    site.unlink()  # from now on there is nothing to download
    same(ts.published.load("lenet5.mine"), state)
    assert published.fetch("lenet5.mine") == tmp_path / "cache" / "lenet5.mine" / f"m{suffix}"


def test_onnx_by_name(server):
    pytest.importorskip("onnx")
    net = models.lenet5(seed=5)
    server("lenet5-onnx", "lenet5.onnx", net.to_onnx().SerializeToString(), None)
    x = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    np.testing.assert_array_equal(ts.published.load("lenet5-onnx")(x), net(x))
    with pytest.raises(ValueError, match=r"lenet5-onnx is an ONNX model.*published\.load\('lenet5-onnx'\)"):
        models.lenet5(weights="lenet5-onnx")


@pytest.mark.parametrize("digits", [64, 8])
def test_another_file_is_refused_and_not_kept(server, tmp_path, digits):
    state = models.lenet5().state_dict()
    content = saved(state, ".npz", tmp_path)
    site = server("lenet5.mine", "m.npz", content, digits=digits)
    site.write_bytes(content[:-1] + b"!")
    with pytest.raises(ValueError, match="SHA"):
        published.fetch("lenet5.mine")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_spoilt_in_the_cache_is_fetched_again(server, tmp_path):
    state = models.lenet5(seed=5).state_dict()
    server("lenet5.mine", "m.npz", saved(state, ".npz", tmp_path))
    published.fetch("lenet5.mine").write_bytes(b"spoilt")
    same(models.lenet5(weights="lenet5.mine"), state)


def test_no_network(server, tmp_path):
    site = server("lenet5.mine", "m.npz", b"")
    site.unlink()
    with pytest.raises(OSError, match=rf"could not be downloaded; put the file as {tmp_path}.*m\.npz: "):
        published.fetch("lenet5.mine")


def test_unknown_names():
    with pytest.raises(ValueError, match=r"unknown weights 'resnet18'; known are resnet18\.tv_in1k, "):
        published.load("resnet18")
    with pytest.raises(FileNotFoundError, match=r"no such file: resnet18, and no name in tesela\.published\.ENTRIES"):
        models.resnet18(weights="resnet18")


def test_pooch_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'tesela\[weights\]'"):
        models.resnet18(weights="resnet18.tv_in1k")


# ----------------------------------------------------------------------------------------------- files of PyTorch


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch")
    sys.path.insert(0, str(EXAMPLE.parent))
    import convert_torch_weights

    yield convert_torch_weights
    sys.path.remove(str(EXAMPLE.parent))


def test_published_files_of_pytorch_are_converted_once(server, tmp_path, example):
    state = models.lenet5(seed=5).state_dict()
    server("lenet5-pth", "lenet5.pth", saved(state, ".pth", tmp_path), digits=8)
    with pytest.raises(ValueError, match=r"file of PyTorch.*python examples/convert_torch_weights\.py lenet5-pth$"):
        models.lenet5(weights="lenet5-pth")
    assert example.convert("lenet5-pth", None, "lenet5") == tmp_path / "cache" / "lenet5-pth" / "lenet5.safetensors"
    same(models.lenet5(weights="lenet5-pth"), state)


def test_checkpoints_are_opened(tmp_path, example):
    import torch

    shared = torch.arange(6.0)
    state = {"module.a": shared, "module.b": shared.reshape(2, 3).T, "module.c": torch.tensor(3)}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pth")
    output = example.convert(str(tmp_path / "checkpoint.pth"), tmp_path / "out.safetensors", None)
    read = weights.read(output)
    assert sorted(read) == ["a", "b", "c"]
    for name, value in read.items():
        np.testing.assert_array_equal(value, state[f"module.{name}"].numpy())


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was run",)


def test_pickles_and_misfits_are_refused(tmp_path, example):
    import torch

    path = tmp_path / "weights.pth"
    for content, error in ((Bomb(), Exception), ([1.0], SystemExit), ({"a": "b"}, SystemExit)):
        torch.save(content, path)
        with pytest.raises(error) as caught:
            example.convert(str(path), None, None)
        assert "a pickle was run" not in str(caught.value)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"lenet5: the weights do not fit: missing conv1\.weight"):
        example.convert(str(path), None, "lenet5")
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


def test_the_example_is_a_command(tmp_path, example):
    (tmp_path / "net.pth").write_bytes(saved(models.lenet5(seed=5).state_dict(), ".pth", tmp_path))
    result = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "net.pth", "--network", "lenet5"], capture_output=True, text=True
    )
    assert result.returncode == 0 and result.stdout.strip() == str(tmp_path / "net.safetensors"), result.stderr
    same(models.lenet5(weights=tmp_path / "net.safetensors"), models.lenet5(seed=5).state_dict())


@pytest.mark.parametrize("name", ["networks", "weights"])
def test_pages_are_as_their_command_writes_them(name, monkeypatch):
    docs = Path(__file__).parents[1] / "docs"
    if not docs.is_dir():
        pytest.skip("no sources around the tests")
    monkeypatch.syspath_prepend(docs.with_name("bench"))
    from networks_page import page

    assert page(name) == (docs / f"{name}.md").read_text(encoding="utf-8")
