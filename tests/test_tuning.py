"""net.compile(tune=True) with a clock of its own: what is chosen, what is remembered, and which files are believed."""

import json
import warnings

import numpy as np
import pytest
import tesela
from tesela import onnx, tuning
from tesela.compile import CompiledNetwork


def network(channels=64):
    """Two layers that are alike, one that is not, and some without a choice."""
    g = tesela.Graph("tuned")
    x = g.conv2d("stem", g.input("x", (3, 20, 20)), 32, 3, padding=1, activation="relu")
    x = g.conv2d("a", x, 32, 3, padding=1, activation="relu")
    x = g.conv2d("b", x, 32, 3, padding=1, activation="relu")
    x = g.conv2d("wide", x, channels, 5, padding=2)
    g.output(g.linear("fc", g.flatten("flat", g.global_avg_pool2d("mean", x)), 7))
    return tesela.Network(g)


@pytest.fixture
def net():
    return network()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TESELA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a layer by algorithm, 1 where none are set; `measured` lists what was."""

    class Clock(dict):
        def __init__(self):
            self.measured = []

    clock = Clock()

    def seconds(networks):
        results = []
        for one in networks:
            algorithms = {step.name: step.algorithm for step in one.steps() if step.name in one.choices}
            clock.measured.append(algorithms)
            results.append({c.key: clock.get(algorithms[name], 1.0) for name, c in one.choices.items()})
        return results

    monkeypatch.setattr(tuning, "_seconds", seconds)
    return clock


def algorithms(run):
    return {step.name: step.algorithm for step in run.steps() if step.name in run.choices}


def test_the_fastest_is_taken_and_remembered(net, folder, clock):
    estimated = algorithms(net.compile())
    assert estimated["a"] == "winograd F(4,3)" and estimated["wide"] == "winograd F(3,5)" and not folder.exists()
    clock |= {"winograd F(2,3)": 0.7, "direct": 0.9, "winograd F(2,5)": 0.5}
    tuned = net.compile(tune=True, threads=2)
    assert algorithms(tuned) == estimated | {
        "a": "winograd F(2,3)", "b": "winograd F(2,3)", "wide": "winograd F(2,5)"
    }  # fmt: skip
    x = np.random.default_rng(0).standard_normal((1, 3, 20, 20)).astype(np.float32)
    np.testing.assert_allclose(tuned(x), net.reference(x), rtol=1e-3, atol=1e-5)
    # Once for each candidate, in turns with the first of all.
    assert [measured["a"] for measured in clock.measured[::2]] == ["winograd F(4,3)"] * 2
    assert {measured["a"] for measured in clock.measured[1::2]} == {"winograd F(2,3)", "direct"}
    (machine,) = json.loads((folder / "tuning.json").read_text()).items()
    assert "2 threads" in machine[0] and tesela.show_runtime()["isa"] in machine[0] and len(machine[1]) == 2

    clock.measured.clear()
    clock.clear()
    assert algorithms(network().compile(tune=True, threads=2)) == algorithms(tuned)
    assert not clock.measured
    net.compile(tune=True, threads=1)
    assert clock.measured


def test_layers_without_an_entry_are_measured_beside_those_that_have_one(net, clock):
    clock["direct"] = 0.5
    net.compile(tune=True)
    clock.measured.clear()
    clock |= {"direct": 1.0, "winograd F(2,5)": 0.5}
    chosen = algorithms(network(channels=48).compile(tune=True))
    assert chosen["a"] == "direct" and chosen["wide"] == "winograd F(2,5)"
    assert all(measured["a"] == "direct" for measured in clock.measured)


@pytest.mark.parametrize("seconds", [0.985, 1.5])
def test_what_wins_little_is_not_taken(net, clock, seconds):
    clock |= {"winograd F(2,3)": seconds, "direct": seconds, "winograd F(2,5)": seconds}
    assert algorithms(net.compile(tune=True)) == algorithms(net.compile())


def test_accuracy_is_kept(net, clock):
    clock["winograd F(2,3)"] = 0.1
    assert "winograd" not in str(algorithms(net.compile(tune=True, accuracy="strict")))
    assert not clock.measured  # one way to sum directly


def test_images_apart_are_layers_of_their_own(net, clock, folder):
    clock["direct"] = 0.1
    run = net.compile(4, tune=True)
    assert algorithms(run)["a"] == "direct"
    assert net.compile(1).choices["a"].key != run.choices["a"].key


def test_real_clock(net, monkeypatch):
    monkeypatch.setattr(tuning, "_ROUNDS", (1, 2))
    for batch in (1, 3):
        first = net.compile(batch)
        second = CompiledNetwork(net.graph, net.parameters, first.input_dims, net.graph.outputs,
                                 algorithms={"a": "direct"})  # fmt: skip
        for seconds in tuning._seconds([first, second]):
            assert seconds.keys() == {choice.key for choice in first.choices.values()}
            assert all(0 < value < 1 for value in seconds.values())
        assert algorithms(net.compile(batch, tune=True)).keys() == algorithms(first).keys()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{", b"[1, 2]", b'{"machine": 3}', b'{"machine": {"layer": 4}}', b"[" * 100_000]
)
def test_a_file_that_is_not_ours_is_named_and_replaced(net, clock, folder, content):
    folder.mkdir()
    (folder / "tuning.json").write_bytes(content)
    clock["direct"] = 0.5
    with pytest.warns(UserWarning, match="tuning.json is not what tesela writes there"):
        assert algorithms(net.compile(tune=True))["a"] == "direct"
    clock.measured.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert algorithms(net.compile(tune=True))["a"] == "direct"
    assert not clock.measured and [path.name for path in folder.iterdir()] == ["tuning.json"]


def test_an_entry_that_names_no_candidate_is_measured_again(net, clock, folder):
    clock["direct"] = 0.5
    net.compile(tune=True)
    path = folder / "tuning.json"
    path.write_text(path.read_text().replace('"direct"', '"fft"'))
    assert algorithms(net.compile(tune=True))["a"] == "direct"
    assert "fft" not in path.read_text()


def test_entries_of_others_stay(net, clock, folder):
    folder.mkdir()
    (folder / "tuning.json").write_text('{"another machine": {"layer": "direct"}}')
    net.compile(tune=True)
    assert json.loads((folder / "tuning.json").read_text())["another machine"] == {"layer": "direct"}


def test_a_folder_that_cannot_be_written_is_named(net, clock, folder):
    folder.write_text("a file")
    clock["direct"] = 0.5
    with pytest.warns(UserWarning, match="tuning.json could not be written, what was measured is forgotten"):
        assert algorithms(net.compile(tune=True))["a"] == "direct"


def test_without_a_choice_nothing_is_measured(clock, folder):
    g = tesela.Graph("plain")
    g.output(g.relu("y", g.input("x", (3, 4))))
    tesela.Network(g).compile(tune=True)
    assert not clock.measured and not folder.exists()


def test_errors(net):
    with pytest.raises(TypeError, match="compile: expected tune as True or False, got 'yes'"):
        net.compile(tune="yes")
    for layer in ("fc", "conv9"):
        with pytest.raises(ValueError, match=f"compile: layer '{layer}' has no choice of algorithm"):
            CompiledNetwork(net.graph, net.parameters, {"x": (1, 3, 20, 20)}, ["fc"], algorithms={layer: "direct"})
    with pytest.raises(ValueError, match=r"layer 'a': conv2d: expected algorithm as one of 'winograd.*, got 'fft'"):
        CompiledNetwork(net.graph, net.parameters, {"x": (1, 3, 20, 20)}, ["fc"], algorithms={"a": "fft"})


def test_onnx(net, clock, tmp_path):
    net.to_onnx(tmp_path / "net.onnx")
    clock["direct"] = 0.5
    run = onnx.load(tmp_path / "net.onnx").compile(tune=True)
    assert "direct" in algorithms(run).values()


@pytest.mark.parametrize("variable, expected", [("TESELA_CACHE", ""), ("XDG_CACHE_HOME", "tesela")])
def test_cache(variable, expected, tmp_path, monkeypatch):
    monkeypatch.delenv("TESELA_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(variable, str(tmp_path / "there"))
    assert tuning.cache() == tmp_path / "there" / expected


@pytest.mark.emulator
def test_two_convolutions_that_a_gpu_computes_apart_are_tuned_by_the_first(clock):
    g = tesela.Graph("inverted")
    g.output(g.conv2d("y", g.conv2d("wide", g.input("x", (16, 6, 6)), 32, 1), 32, 3, groups=32))
    net = tesela.Network(g)
    for algorithm in net.compile(device="emulator", tune=True).choices["y"].algorithms:
        run = tesela.CompiledNetwork(
            g, net.parameters, {"x": (1, 16, 6, 6)}, g.outputs, device="emulator", algorithms={"y": algorithm}
        )
        assert any(step.algorithm.startswith(algorithm.split(" ")[0]) for step in run.steps())


@pytest.mark.emulator
def test_a_gpu_lists_rungs_and_tiles(clock):
    g = tesela.Graph("small")
    g.output(g.conv2d("y", g.input("x", (16, 6, 6)), 16, 3))
    net = tesela.Network(g)
    candidates = net.compile(device="emulator").choices["y"].algorithms
    assert {"implicit gemm", "mma 3xtf32 64x64x1", "wgmma 3xtf32 64x128x2"} < set(candidates)
    clock["implicit gemm"] = 0.5
    assert algorithms(net.compile(device="emulator", tune=True)) == {"y": "implicit gemm"}
