"""Batches whose first layers run image by image: where the cut falls, and that it changes no result."""

import threading

import numpy as np
import pytest
import tesela
from tesela import batching, compile, models
from tesela.passes import optimize


def branches() -> tesela.Network:
    """Integers in, integers out: two branches joined in place, a residual, a constant, pooling and a linear layer."""
    g = tesela.Graph("branches")
    x = g.input("image", (3, 11, 9))
    x = g.conv2d("stem", x, 16, 3, padding=1, activation="relu")
    a, b = g.conv2d("a", x, 16, 1), g.conv2d("b", x, 8, 3, padding=1, groups=8)
    joined = g.concat("joined", [a, b])
    x = g.add("sum", joined, g.conv2d("tail", joined, 24, 3, padding=1))
    x = g.max_pool2d("pool", x, kernel_size=2)
    x = g.conv2d("last", x, 5, 3, activation="relu")
    g.output(g.linear("fc", g.flatten("flat", x), 7))
    rng = np.random.default_rng(1)
    return tesela.Network(
        g, {name: rng.integers(-2, 3, p.shape).astype(np.float32) for name, p in g.parameters.items()}
    )


@pytest.fixture(scope="module")
def net():
    return branches()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).integers(-3, 4, (7, 3, 11, 9)).astype(np.float32)


def cut_after(monkeypatch, count):
    monkeypatch.setattr(compile, "images_apart", lambda *_: count)


def nodes_of(net):
    return optimize(net.graph, dict(net.parameters))[0].nodes


CUTS = range(len(nodes_of(branches())) + 1)  # nodes before the cut


@pytest.mark.parametrize("count", CUTS)
@pytest.mark.parametrize("batch, threads", [(1, 1), (2, 2), (5, 2), (7, 3)])
def test_no_cut_changes_a_result(net, images, isa, monkeypatch, count, batch, threads):
    cut_after(monkeypatch, count)
    run = net.compile(batch, threads=threads, accuracy="strict")
    assert np.array_equal(run(images[:batch]), net.reference(images[:batch]).astype(np.float32))
    assert np.array_equal(run(images[:batch]), run(images[:batch]))


@pytest.mark.parametrize("count", CUTS)
def test_every_layer_can_be_asked_for_wherever_the_cut_is(net, images, monkeypatch, count):
    """Parts of a concatenation, what later layers read, what none does, and the last of those that run apart."""
    cut_after(monkeypatch, count)
    names = ["a", "joined", "sum", "pool", "stem", "fc"]
    run = net.compile(5, threads=2, accuracy="strict", outputs=names)
    expected = net.reference(images[:5], outputs=names)
    for name, result, value in zip(names, run(images[:5]), expected, strict=True):
        assert np.array_equal(result, value.astype(np.float32)), name


def test_an_input_that_both_parts_read(monkeypatch, images):
    g = tesela.Graph("twice")
    x = g.input("image", (3, 11, 9))
    g.output(g.add("sum", g.conv2d("one", x, 3, 1), x))
    net = tesela.Network(g, {"one.weight": np.ones((3, 3, 1, 1), np.float32), "one.bias": np.ones(3, np.float32)})
    cut_after(monkeypatch, 1)
    monkeypatch.setattr(compile, "optimize", lambda graph, parameters, strict: (graph, parameters))
    assert np.array_equal(net.compile(4)(images[:4]), net.reference(images[:4]).astype(np.float32))


def test_the_bits_do_not_depend_on_threads():
    net = models.squeezenet1_1(num_classes=10)
    x = np.random.default_rng(0).standard_normal((5, 3, 64, 64), np.float32)
    graph, parameters = optimize(net.graph, dict(net.parameters))
    sizes = graph.infer_all({"image": x.shape})
    assert 0 < batching.images_apart(graph, parameters, sizes, len(x)) < len(graph.nodes)
    (expected, *others) = [net.compile(5, image_size=(64, 64), threads=threads)(x) for threads in (1, 2, 3, 4)]
    assert all(np.array_equal(other, expected) for other in others)
    one = net.compile(1, image_size=(64, 64))
    alone = np.concatenate([one(image[None]) for image in x])
    np.testing.assert_allclose(expected, alone, rtol=0, atol=2e-6 * np.abs(alone).max())


def test_two_callers_at_once(net, images, monkeypatch):
    cut_after(monkeypatch, 4)
    run = net.compile(5, threads=2, accuracy="strict")
    expected = run(images[:5])
    wrong = []

    def call():
        for _ in range(50):
            if not np.array_equal(run(images[:5]), expected):
                wrong.append(True)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_profile_counts_every_image_of_every_layer(net, images, monkeypatch):
    together = net.compile(5, threads=2).profile(images[:5], repeats=2)
    cut_after(monkeypatch, 6)
    apart = net.compile(5, threads=2).profile(images[:5], repeats=2)
    products = [step for step in together if step.flops]
    assert [(s.name, s.op, s.flops) for s in apart if s.flops] == [(s.name, s.op, s.flops) for s in products]
    assert all(0 < step.seconds < 1 for step in apart)


def test_memory_counts_the_images_that_are_worked_on(net, monkeypatch):
    cut_after(monkeypatch, 0)
    together = net.compile(64).memory()
    cut_after(monkeypatch, len(nodes_of(net)))
    apart = net.compile(64).memory()
    assert apart["arena"] + 2 * apart["scratch"] < together["arena"] / 4
    with pytest.raises(ValueError, match="activations of at most"):
        compile.CompiledNetwork(net.graph, net.parameters, net.graph.input_dims(64), ["fc"], max_bytes=1000)


# ------------------------------------------------------------------------------------------------------- the choice


def chosen(build, dims=(16, 64, 64), batch=16):
    g = tesela.Graph("chosen")
    y = build(g, g.input("x", dims))
    g.output(y)
    net = tesela.Network(g)
    graph, parameters = optimize(net.graph, dict(net.parameters))
    return batching.images_apart(graph, parameters, graph.infer_all(graph.input_dims(batch)), batch), len(graph.nodes)


def test_large_maps_run_apart_and_many_weights_together():
    assert chosen(lambda g, x: g.conv2d("c", x, 16, 3)) == (1, 1)
    assert chosen(lambda g, x: g.conv2d("c", x, 16, 3), batch=1) == (0, 1)
    assert chosen(lambda g, x: g.conv2d("c", x, 16, 3), dims=(16, 8, 8)) == (0, 1)  # small enough for a cache
    assert chosen(lambda g, x: g.linear("l", g.flatten("f", g.conv2d("c", x, 16, 3)), 1000)) == (2, 3)


@pytest.mark.parametrize(
    "build",
    [
        lambda g, x: g.concat("middle", [x, x], dim=0),
        lambda g, x: g.softmax("middle", x, dim=0),
        lambda g, x: g.softmax("middle", x, dim=-4),
        lambda g, x: g.flatten("middle", x, start_dim=0),
        lambda g, x: g.reshape("middle", x, shape=(4, -1)),
        lambda g, x: g.add("middle", x, g.input("other", (62, 62), batched=False)),
    ],
)
def test_what_mixes_images_ends_the_part_that_runs_apart(build):
    def whole(g, x):
        return build(g, g.conv2d("c", x, 16, 3))

    assert chosen(whole)[0] == 1


def test_an_error_of_an_image_that_runs_apart_is_raised(monkeypatch):
    """By the thread that called, when all images are done; it was a worker's, and nobody caught it."""
    monkeypatch.setattr(batching, "images_apart", lambda *_: 1)
    monkeypatch.setattr(compile, "images_apart", lambda *_: 1)
    g = tesela.Graph("unpooling")
    g.output(g.max_unpool2d("up", g.input("x", (2, 2, 2)), g.input("i", (2, 2, 2), "int64"), kernel_size=2))
    x, indices = np.ones((5, 2, 2, 2), np.float32), np.zeros((5, 2, 2, 2), np.int64)
    indices[3:, 1] = 16
    run = tesela.Network(g).compile(5, threads=2)
    for _ in range(20):
        with pytest.raises(
            ValueError, match=r"image 3 by itself: layer 'up': max_unpool2d: index 16 at .* \(0, 1, 0, 0\)"
        ):
            run(x, indices)
    assert run(x, np.zeros_like(indices)).sum() == 10


@pytest.mark.parametrize("batch", [1, 4])
def test_what_all_images_share_is_added_to_each(batch, rng):
    """A value without the batch has the sizes of a residual or a gate only where there is one image."""
    g = tesela.Graph("shared")
    x = g.input("x", (8, 3, 3))
    mean = g.reduce_mean("mean", x, axes=(0,))
    gate = g.reduce_max("gate", x, axes=(0, 2, 3))
    y = g.add("sum", g.conv2d("conv", x, 8, 1), mean)
    g.output(g.mul("gated", g.conv2d("wide", y, 8, 1), gate))
    net = tesela.Network(g)
    images = rng.standard_normal((batch, 8, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(net.compile(batch)(images), net.reference(images), rtol=1e-4, atol=1e-5)
