"""Arrays on a device: taken from other libraries and given to them, on their streams. On the emulator, whose memory
stands for a GPU's, and whose streams do no work before somebody waits."""

import contextlib
import gc
import re
import sys
import threading
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
import tesela as ts
from tesela import _core, calls, in_flight, reference, selftest
from tesela.device_array import DeviceArray

pytestmark = pytest.mark.emulator


@pytest.fixture(autouse=True)
def _emulator():
    """An interface does not name its device; here it is the emulator."""
    with ts.runtime.default_device("emulator"):
        yield


def integers(rng, shape):
    return rng.integers(-4, 5, shape).astype(np.float32)


class Interface:
    """As CuPy or Numba give an array: `__cuda_array_interface__`."""

    def __init__(self, x, **entries):
        self.array = ts.to_device(x, "emulator")
        self.__cuda_array_interface__ = {
            "version": 3, "shape": x.shape, "typestr": x.dtype.str, "data": (self.array.pointer, False),
            "strides": None, "stream": None, **entries,
        }  # fmt: skip


class Tensor:
    """As PyTorch or JAX give an array: DLPack, by which it learns on which stream it will be read."""

    def __init__(self, x, *, versioned=True, device=(12, 0)):
        self.array = ts.to_device(x, "emulator")
        self.versioned, self.device = versioned, device
        self.streams = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, **keywords):
        if keywords and not self.versioned:
            raise TypeError("unexpected keyword")
        if type(stream) is not int:  # as PyTorch has it
            raise TypeError("stream must be int")
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream, **keywords)


# ------------------------------------------------------------------------------------------------------- taken, given


PRODUCERS = {
    "interface": Interface,
    "dlpack": Tensor,
    "dlpack-without-versions": lambda x: Tensor(x, versioned=False),
    "own": lambda x: ts.to_device(x, "emulator"),
}


@pytest.mark.parametrize("producer", PRODUCERS)
def test_an_operator_takes_arrays_where_they_lie(producer, rng):
    x, w, b = integers(rng, (2, 3, 9, 8)), integers(rng, (10, 3, 3, 3)), integers(rng, 10)
    made = PRODUCERS[producer]
    y = ts.conv2d(made(x), made(w), made(b), padding=1)
    assert isinstance(y, DeviceArray) and y.device == "emulator"
    assert (y.shape, y.dtype, y.ndim, y.size, y.nbytes, len(y)) == ((2, 10, 9, 8), np.float32, 4, 1440, 5760, 2)
    np.testing.assert_array_equal(y.numpy(), reference.conv2d(x, w, b, padding=1))


TABLES = [c for table in vars(cases).values() if isinstance(table, list) for c in table if isinstance(c, cases.Case)]


@pytest.mark.parametrize("op", sorted({case.op for case in TABLES}))
def test_every_operator_takes_arrays_of_a_device(op, rng):
    case = min((case for case in TABLES if case.op == op), key=lambda case: case.macs)
    arrays = case.arrays(rng, integers=True)
    if op == "batch_norm":
        arrays["running_var"] = np.abs(arrays["running_var"]) + 1
    there = {name: [Interface(v) for v in a] if isinstance(a, list) else Interface(a) for name, a in arrays.items()}
    ours, theirs = getattr(ts, op)(**there, **case.arguments), getattr(reference, op)(**arrays, **case.arguments)
    for y, expected in zip(*(r if isinstance(r, tuple) else (r,) for r in (ours, theirs)), strict=True):
        bound = selftest.bound(selftest.Check(op, {}, terms=None), {}, expected)  # sums of integers are exact
        np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("c", [2.0, (1, 3), (5, 1), (5, 3)], ids=str)
def test_gemm_adds_what_broadcasts(c, rng):
    a, b = integers(rng, (5, 4)), integers(rng, (4, 3))
    c = integers(rng, c) if isinstance(c, tuple) else c
    y = ts.gemm(Interface(a), Interface(b), Interface(c) if isinstance(c, np.ndarray) else c)
    np.testing.assert_array_equal(y.numpy(), reference.gemm(a, b, c))


def test_results_are_taken_again(rng):
    x = integers(rng, (1, 2, 5, 5))
    y = ts.relu(ts.add(Interface(x), Interface(x)))
    np.testing.assert_array_equal(y.numpy(), np.maximum(2 * x, 0))
    assert "DeviceArray(shape=(1, 2, 5, 5), dtype=float32, device='emulator')" == repr(y)
    with pytest.raises(TypeError, match=r"call .numpy\(\)"):
        np.asarray(y)


def network():
    g = ts.Graph("small")
    x = g.input("x", (3, 4, 6))
    a = g.conv2d("conv1", x, 4, 3, padding=1)
    b = g.relu("relu", g.conv2d("conv2", a, 4, 3, padding=1))
    g.output(g.add("add", a, b))
    return ts.Network(g)


@pytest.mark.parametrize("producer", PRODUCERS)
def test_a_network_takes_arrays_where_they_lie(producer, rng):
    net = network()
    made = PRODUCERS[producer]
    for _ in range(3):  # one by one, recorded, changed
        x = rng.standard_normal((2, 3, 4, 6), np.float32)
        np.testing.assert_allclose(net(made(x)).numpy(), net.reference(x), rtol=1e-4, atol=1e-5)
    features = net.extract(made(x), ["relu"])["relu"]
    np.testing.assert_allclose(features.numpy(), net.reference(x, outputs=["relu"]), rtol=1e-4, atol=1e-5)


def test_out_is_written_where_it_lies(rng):
    run = network().compile(batch=1, device="emulator")
    x = rng.standard_normal((1, 3, 4, 6), np.float32)
    room = np.zeros((1, 4, 4, 6), np.float32)
    for out in (Interface(room), ts.to_device(room, "emulator")):
        assert run(Interface(x), out=out) is out
        array = out.array if isinstance(out, Interface) else out
        np.testing.assert_array_equal(array.numpy(), run(x))


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_arrays_at_odd_addresses(offset, rng):
    x = rng.standard_normal(1 * 3 * 4 * 6 + offset).astype(np.float32)
    whole = ts.to_device(x, "emulator")
    view = Interface(np.zeros(1, np.float32), shape=(1, 3, 4, 6), data=(whole.pointer + 4 * offset, False))
    room = ts.to_device(np.zeros(1 * 4 * 4 * 6 + offset, np.float32), "emulator")
    out = Interface(np.zeros(1, np.float32), shape=(1, 4, 4, 6), data=(room.pointer + 4 * offset, False))
    net = network()
    run = net.compile(device="emulator")
    for _ in range(3):
        run(view, out=out)
    image = np.ascontiguousarray(x[offset:].reshape(1, 3, 4, 6))
    np.testing.assert_array_equal(room.numpy()[offset:], run(image).ravel())
    assert not room.numpy()[:offset].any()


@pytest.mark.parametrize("versioned", [False, True])
def test_capsules_are_what_others_read(versioned, rng):
    torch = pytest.importorskip("torch")
    x = integers(rng, (2, 3, 4))
    y = ts.to_device(x, "emulator")  # whose memory the host can read, in truth
    capsule = _core.export_dlpack(y.pointer, (1, 0), y.shape, (2, 32), y, versioned)
    np.testing.assert_array_equal(torch.from_dlpack(capsule).numpy(), x)
    with pytest.raises(BufferError, match="not used yet"):
        _core.import_dlpack(capsule)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool", "float64"])
def test_capsules_of_others_are_read(dtype):
    torch = pytest.importorskip("torch")
    x = torch.arange(24).to(getattr(torch, dtype)).reshape(2, 3, 4)[1:]
    for keywords in ({}, {"max_version": (1, 0)}):
        tensor = _core.import_dlpack(x.__dlpack__(**keywords))
        assert (tensor["pointer"], tensor["device"], tensor["shape"]) == (x.data_ptr(), (1, 0), [1, 3, 4])
        _, bits, lanes = tensor["dtype"]
        assert (bits, lanes) == (8 * np.dtype(dtype).itemsize, 1)


def test_a_copy_on_the_host_through_dlpack(rng):
    x = integers(rng, (2, 3))
    y = ts.to_device(x, "emulator")
    np.testing.assert_array_equal(np.from_dlpack(y, device="cpu"), x)
    for keywords in ({"dl_device": (2, 0)}, {"copy": True}):
        with pytest.raises(BufferError, match="where it lies"):
            y.__dlpack__(**keywords)


def test_memory_lives_as_long_as_somebody_holds_it(rng):
    x = integers(rng, (2, 3))
    y = ts.to_device(x, "emulator")
    pointer, capsule = y.pointer, y.__dlpack__()
    del y
    _core.expect_memory("emulator", pointer, 24, "x")
    tensor = _core.import_dlpack(capsule)
    del capsule
    _core.expect_memory("emulator", pointer, 24, "x")
    del tensor
    ts.to_device(x, "emulator").numpy()  # on the legacy stream, after which the memory was given back
    with pytest.raises(ts.DeviceError):
        _core.expect_memory("emulator", pointer, 24, "x")


def test_arrays_of_others_are_let_go_by_any_number_of_threads():
    """As many threads as like may find the same run ended."""

    class Mark:
        def __init__(self):
            self.asked = threading.Barrier(2, timeout=0.2)

        def done(self):
            with contextlib.suppress(threading.BrokenBarrierError):
                self.asked.wait()  # for the other thread, which has seen the same run by then
            return True

    for _ in range(3):
        in_flight._runs.append((Mark(), []))
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(in_flight.let_go) for _ in range(2)]:
                future.result()
        assert not in_flight._runs


def test_arrays_of_a_run_that_ends_in_an_error_are_kept(rng):
    """Some of its kernels may have been launched."""

    class Failing:
        def run_on_device(self, *_):
            raise RuntimeError("launch")

    x = Interface(integers(rng, (2, 3)))
    end = weakref.ref(x)
    call = calls.call_of("relu", {"x": x})
    array, y = call.array("x", x), call.empty((2, 3), np.float32)
    with pytest.raises(RuntimeError, match="launch"):
        call.run(Failing(), [array], [y], 1)
    del x, array, call
    gc.collect()
    assert end() is not None
    finish(1)
    assert end() is None


# ------------------------------------------------------------------------------------------------------------ streams


def test_a_call_runs_on_the_stream_that_the_array_names(rng):
    s = _core.emulated_stream(blocking=False)
    x = Interface(integers(rng, (2, 3)), stream=s)
    y = ts.relu(x)
    assert y.__cuda_array_interface__["stream"] == s
    assert ts.relu(y).__cuda_array_interface__["stream"] == s
    assert ts.relu(Interface(integers(rng, 3))).__cuda_array_interface__["stream"] == 1
    t = _core.emulated_stream(blocking=False)
    with ts.stream(t):
        assert ts.relu(x).__cuda_array_interface__["stream"] == t


def test_tensors_of_pytorch_are_on_its_current_stream(rng, monkeypatch):
    """Their interface names none, and what PyTorch does with them next comes on that stream too."""

    class Owned(Tensor):
        is_cuda, device = True, (12, 0)

    s, x = _core.emulated_stream(blocking=False), Owned(integers(rng, (2, 3)))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(
        Tensor=Owned,
        cuda=types.SimpleNamespace(current_stream=lambda device: types.SimpleNamespace(cuda_stream=s)),
    ))  # fmt: skip
    assert ts.relu(x).__cuda_array_interface__["stream"] == s
    assert x.streams == [s]
    x.is_cuda = False
    assert ts.relu(x).__cuda_array_interface__["stream"] == 1


def test_dlpack_is_asked_for_the_stream_of_the_call(rng):
    s = _core.emulated_stream()
    x = Tensor(integers(rng, (2, 3)))
    ts.relu(x)
    with ts.stream(s):
        ts.relu(x)
    assert x.streams == [1, s]


def test_work_on_other_streams_is_waited_for(rng):
    """Non-blocking streams know nothing of each other: what is not waited for is not done, and NaN."""
    x = rng.standard_normal((1, 3, 4, 6), np.float32)
    net = network()
    expected = net.reference(x)
    s, t, u = (_core.emulated_stream(blocking=False) for _ in range(3))
    for _ in range(3):
        with ts.stream(s):
            a = net(ts.relu(Interface(x)))  # queued on s
        with ts.stream(t):
            b = ts.add(a, a)  # on t, after a
            c = net(ts.relu(Interface(x)))  # the arena of the run before is not free before s is done
        interface = b.__cuda_array_interface__
        foreign = Interface(x, shape=b.shape, data=interface["data"], stream=t)
        with ts.stream(u):
            d = ts.add(foreign, c)
        expected = net.reference(np.maximum(x, 0))
        np.testing.assert_allclose(d.numpy(), 3 * expected, rtol=1e-4, atol=1e-5)


def test_a_consumer_waits_for_the_call(rng):
    x = integers(rng, (1, 4))
    s, t = (_core.emulated_stream(blocking=False) for _ in range(2))
    with ts.stream(s):
        y = ts.add(Interface(x), Interface(x))
    tensor = _core.import_dlpack(y.__dlpack__(stream=t))  # t waits for s from here on
    copy = np.empty_like(x)
    _core.download("emulator", copy, tensor["pointer"], t)
    np.testing.assert_array_equal(copy, 2 * x)


class Ending:
    """A stream of another library: it ends with its object."""

    def __init__(self):
        self.ptr = _core.emulated_stream(blocking=False)

    def __del__(self):
        _core.destroy_emulated_stream(self.ptr)


def finish(stream):
    """All work on it, and what is held until then."""
    with ts.stream(stream):
        ts.to_device(np.ones(1, np.float32), "emulator")
    in_flight.let_go()


def test_results_keep_the_stream_that_they_were_computed_on(rng):
    x = integers(rng, (2, 3))
    with ts.stream(Ending()):
        y = ts.relu(Interface(x))
    z = ts.add(y, y)
    end = weakref.ref(z._stream.owner)
    s = end().ptr
    del y
    np.testing.assert_array_equal(z.numpy(), 2 * np.maximum(x, 0))
    assert z.__cuda_array_interface__["stream"] == s
    finish(s)
    assert end() is not None
    del z
    gc.collect()
    assert end() is None


def test_results_keep_the_array_that_named_their_stream(rng):
    x = integers(rng, (2, 3))
    stream = Ending()
    given = Interface(x, stream=stream.ptr)
    given.keeps = stream
    end = weakref.ref(stream)
    y = ts.relu(given)
    finish(stream.ptr)
    del given, stream
    np.testing.assert_array_equal(ts.add(y, y).numpy(), 2 * np.maximum(x, 0))
    del y
    gc.collect()
    assert end() is None


def test_results_keep_the_current_stream_of_cupy(rng, monkeypatch):
    """CuPy's arrays name the stream that is current when they are asked, and do not own it."""
    current, x = [Ending()], integers(rng, (2, 3))
    cuda = types.SimpleNamespace(get_current_stream=lambda: current[0])
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(ndarray=Interface, cuda=cuda))
    y = ts.relu(Interface(x, stream=current[0].ptr))
    finish(current[0].ptr)
    end = weakref.ref(current.pop())
    assert end() is not None
    np.testing.assert_array_equal(y.numpy(), np.maximum(x, 0))
    del y
    gc.collect()
    assert end() is None


@pytest.mark.parametrize("stream", [None, 1, 2])
def test_results_do_not_keep_their_inputs(stream, rng):
    """The default streams need nobody to keep them."""
    given = Interface(integers(rng, (2, 3)), stream=stream)
    end = weakref.ref(given)
    y = ts.relu(given)
    y.numpy()
    in_flight.let_go()
    del given
    gc.collect()
    assert end() is None


def test_a_copy_on_the_host_needs_no_stream(rng):
    x = integers(rng, (2, 3))
    s = _core.emulated_stream(blocking=False)
    with ts.stream(s):
        y = ts.relu(Interface(x))
    _core.destroy_emulated_stream(s)
    np.testing.assert_array_equal(y.numpy(), np.maximum(x, 0))


class Named:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def test_streams_of_other_libraries():
    from tesela.device_array import _address

    class Protocol:
        def __cuda_stream__(self):
            return 0, 96

    class Binding:
        def getPtr(self):  # NVIDIA's name
            return 0

        def __int__(self):
            return 96

    streams = [Named(ptr=96), Named(cuda_stream=96), Named(handle=Named(value=96)), Named(handle=Binding()), Protocol()]
    assert [_address(stream) for stream in [*streams, 96]] == [96] * 6
    assert _address(0) == 1 and _address(Named(handle=Named(value=None))) == 1
    for wrong in ("stream", -5, True):
        with pytest.raises(TypeError, match="expected an address or a stream"), ts.stream(wrong):
            pass
    with pytest.raises(RuntimeError, match="invalid resource handle"), ts.stream(96):
        ts.relu(ts.to_device(np.ones(3, np.float32), "emulator"))


def test_threads_run_on_their_streams(rng):
    net = network()
    run = net.compile(device="emulator")
    xs = [rng.standard_normal((1, 3, 4, 6), np.float32) for _ in range(8)]
    expected = [run(x) for x in xs]

    def on_a_stream(x):
        with ts.runtime.default_device("emulator"), ts.stream(_core.emulated_stream(blocking=False)):
            return run(Interface(x)).numpy()

    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(list(pool.map(on_a_stream, xs)), expected)


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("make, error, complaint", [
    (lambda x: Interface(x, typestr="<f2"), TypeError, "relu: expected x of dtype float32, got float16"),
    (lambda x: Interface(x, strides=(4, 8)), ValueError, r"relu: x: expected a C-contiguous array, got shape \(2, 3\)"),
    (lambda x: Interface(x, mask=x), TypeError, "relu: x: expected an array without a mask"),
    (lambda x: Interface(x, shape=(0, 3)), ValueError, "relu: expected x with at least one element"),
    (lambda x: Interface(x, shape=(2, 300)), ts.DeviceError,
     "relu: x: expected 2400 bytes in the memory of device 'emulator', GPU 0, got an address that is outside of it"),
    (lambda x: Interface(x, data=(x.ctypes.data, False)), ts.DeviceError, "is the host's or nobody's"),
    (lambda x: Interface(x, data=(_core.emulated_memory(4096, 1), False)), ts.DeviceError, "is GPU 1's"),
    (lambda x: Tensor(x, device=(12, 1)), ts.DeviceError, "got one on DLPack's device 12, GPU 1"),
    (lambda x: Tensor(x, device=(4, 0)), ts.DeviceError, "got one on DLPack's device 4, GPU 0"),
    (lambda x: Tensor(x, device=(1, 0)), TypeError, "relu: expected x as a NumPy array of float32, got Tensor"),
])  # fmt: skip
def test_what_is_refused(make, error, complaint, rng):
    x = integers(rng, (2, 3))
    with pytest.raises(error, match=complaint):
        ts.relu(make(x))


def test_unaligned_elements_are_refused(rng):
    whole = ts.to_device(np.zeros(64, np.uint8), "emulator")
    view = Interface(np.zeros(1, np.float32), shape=(2, 3), data=(whole.pointer + 2, False))
    with pytest.raises(ValueError, match="expected x aligned to its float32 elements"):
        ts.relu(view)


def test_arrays_of_both_sides_are_not_mixed(rng):
    x, w = integers(rng, (1, 2, 3, 3)), integers(rng, (4, 2, 1, 1))
    with pytest.raises(TypeError, match=r"conv2d: .* in one place, got x on a device and weight as a NumPy array"):
        ts.conv2d(Interface(x), w)
    with pytest.raises(TypeError, match=r"concat: .* got tensors\[1\] on a device and tensors\[0\] as a NumPy array"):
        ts.concat([x, Interface(x)])
    run = network().compile(device="emulator")
    with pytest.raises(TypeError, match=r"small: .* got x on a device and out\[0\] as a NumPy array"):
        run(Interface(np.zeros((1, 3, 4, 6), np.float32)), out=np.zeros((1, 4, 4, 6), np.float32))


def test_outputs_that_cannot_be_written(rng):
    run = network().compile(device="emulator")
    x, zeros = Interface(np.zeros((1, 3, 4, 6), np.float32)), np.zeros((1, 4, 4, 6), np.float32)
    room = ts.to_device(zeros, "emulator")
    with pytest.raises(ValueError, match="to be writable, got a read-only array"):
        run(x, out=Interface(zeros, data=(room.pointer, True)))
    inside = Interface(zeros, shape=(1, 3, 4, 6), data=(room.pointer + 64, False))
    with pytest.raises(ValueError, match="memory of its own"):
        run(inside, out=room)
    with pytest.raises(ValueError, match=r"expected out \(add\) of shape \(1, 4, 4, 6\), got \(1, 4, 4, 5\)"):
        run(x, out=Interface(zeros[..., :5].copy()))


def test_a_network_of_another_device_refuses(rng):
    x = Interface(np.zeros((1, 3, 4, 6), np.float32))
    with pytest.raises(ts.DeviceError, match="compiled for device 'cpu', got arrays on device 'emulator'"):
        network().compile(device="cpu")(x)
    run = network().compile(device="emulator")
    for measure in (run.profile, run.seconds):
        with pytest.raises(TypeError, match="NumPy arrays to measure with"):
            measure(x)


def test_bad_values_on_the_device_are_told(rng):
    x, at = integers(rng, (1, 1, 2, 2)), np.array([[[[0, 3], [9, 99]]]])
    with pytest.raises(ValueError, match=r"index 99 at \(n, c, h, w\) = \(0, 0, 1, 1\)"):
        ts.max_unpool2d(Interface(x), Interface(at), 2)


def test_memory_that_is_not_there(rng, monkeypatch):
    run = network().compile(batch=64, device="emulator")
    x = Interface(np.zeros((64, 3, 4, 6), np.float32))
    monkeypatch.setenv("TESELA_EMULATOR_MEMORY", "1000")
    with pytest.raises(ts.DeviceError, match="is out of memory: 24576 bytes were asked for, 0 of 1000 bytes are free"):
        run(x)
    with pytest.raises(ts.DeviceError, match="is out of memory"):
        ts.to_device(np.zeros(1000, np.float32), "emulator")
    monkeypatch.delenv("TESELA_EMULATOR_MEMORY")
    assert run(x).shape == (64, 4, 4, 6)


def test_memory_that_was_given_back_is_had_again(rng, monkeypatch):
    """Also where the host has not waited since: it is given back in the order of streams."""
    x = integers(rng, 200)
    with pytest.raises(ts.DeviceError, match="out of memory") as refused:
        _core.DeviceMemory("emulator", 1 << 50, 1)  # whose error tells how much is in use
    free, total = map(int, re.search(r"(\d+) of (\d+) bytes are free", str(refused.value)).groups())
    monkeypatch.setenv("TESELA_EMULATOR_MEMORY", str(total - free + x.nbytes))
    for _ in range(3):
        np.testing.assert_array_equal(ts.to_device(x, "emulator").numpy(), x)
        _core.DeviceMemory("emulator", x.nbytes, 1)


def test_memory_waits_for_all_streams_that_use_it(rng):
    """Of two threads either may be the last to say that it has used an array."""
    x = integers(rng, (2, 3))
    y = ts.to_device(x, "emulator")
    s, t = (_core.emulated_stream(blocking=False) for _ in range(2))
    y._before(s)
    y._before(t)
    borrowed = types.SimpleNamespace(__cuda_array_interface__=y.__cuda_array_interface__ | {"stream": s})
    z = ts.relu(borrowed)
    y._used(s)
    y._used(t)
    del y
    finish(1)  # the legacy stream, on which the memory is given back
    np.testing.assert_array_equal(z.numpy(), np.maximum(x, 0))


# ------------------------------------------------------------------------------------------------------------- graphs


def test_a_stream_that_captures_is_refused(rng):
    """What would be captured waits for events from outside; and the next call must not suffer from it."""
    net, x = network(), rng.standard_normal((1, 3, 4, 6), np.float32)
    there, s = ts.to_device(x, "emulator"), _core.emulated_stream(blocking=False)
    expected = net(there).numpy()
    out = ts.to_device(np.zeros_like(expected), "emulator")
    run = net.compile(device="emulator")
    for call in (lambda: net(there), lambda: run(there, out=out)):
        _core.capture_emulated_stream(s, True)
        try:
            with ts.stream(s), pytest.raises(ts.DeviceError, match="one that does not capture a graph"):
                call()
        finally:
            _core.capture_emulated_stream(s, False)
        with ts.stream(s):
            call()
    np.testing.assert_array_equal(out.numpy(), expected)


def counted():
    return np.array([_core.emulated_graphs()[key] for key in ("captured", "launched", "changed")])


def test_a_network_is_captured_once(rng):
    net = network()
    run = net.compile(device="emulator")
    x = rng.standard_normal((1, 3, 4, 6), np.float32)
    expected = run(x)
    before = counted()
    for _ in range(4):
        np.testing.assert_array_equal(run(x), expected)
    np.testing.assert_array_equal(counted() - before, [1, 4, 0])
    run.profile(x, repeats=2)
    np.testing.assert_array_equal(counted() - before, [1, 4, 0])


def test_other_addresses_change_the_graph_only_where_they_occur(rng):
    run = network().compile(device="emulator")
    xs = [rng.standard_normal((1, 3, 4, 6), np.float32) for _ in range(4)]
    expected = [run(x) for x in xs]
    run(xs[0])
    before = counted()
    there = [Interface(x) for x in xs]
    ys = [run(x) for x in there]
    for y, value in zip(ys, expected, strict=True):
        np.testing.assert_array_equal(y.numpy(), value)
    captured, launched, changed = counted() - before
    assert (captured, launched) == (0, 4) and changed == 8  # the kernels that read x and write y
    run(there[3], out=ys[3])
    np.testing.assert_array_equal(counted() - before, [0, 5, 8])


def test_a_launch_keeps_the_addresses_it_had(rng):
    """Changes of the graph are for later launches, even if an earlier one has not begun."""
    run = network().compile(device="emulator")
    xs = [rng.standard_normal((1, 3, 4, 6), np.float32) for _ in range(3)]
    expected = [run(x) for x in xs]
    with ts.stream(_core.emulated_stream(blocking=False)):
        ys = [run(Interface(x)) for x in xs]
        for y, value in zip(ys, expected, strict=True):
            np.testing.assert_array_equal(y.numpy(), value)


def test_notes_of_a_graph_are_read(rng):
    g = ts.Graph("gather")
    x, at = g.input("x", (5, 4)), g.input("at", (3,), "int64", batched=False)
    g.output(g.apply("gather", "y", x, at, axis=1))
    net = ts.Network(g)
    run = net.compile(device="emulator")
    x = rng.standard_normal((1, 5, 4), np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(run(x, np.array([0, 4, -1])), x[:, [0, 4, -1]])
        with pytest.raises(ValueError, match="index 7 at position 1 is outside an axis of 5"):
            run(x, np.array([1, 7, 9]))


def test_a_loaded_network_takes_arrays_of_the_device():
    pytest.importorskip("onnx")
    net = ts.models.lenet5()
    loaded = ts.onnx.load(net.to_onnx().SerializeToString())
    x = np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    y = loaded(ts.to_device(x, "emulator"))
    assert isinstance(y, DeviceArray)
    np.testing.assert_array_equal(y.numpy(), loaded(x))
    layer = loaded.graph.nodes[0].outputs[0]
    assert isinstance(loaded.extract(ts.to_device(x, "emulator"), [layer])[layer], DeviceArray)
    with pytest.raises(TypeError, match="NumPy arrays to measure with"):
        loaded.profile(ts.to_device(x, "emulator"))


def test_values_that_decide_a_plan_are_the_hosts():
    onnx = pytest.importorskip("onnx")
    nodes = [onnx.helper.make_node("Reshape", ["x", "s"], ["y"])]
    values = [("x", onnx.TensorProto.FLOAT, [2, 3]), ("s", onnx.TensorProto.INT64, [2])]
    inputs = [onnx.helper.make_tensor_value_info(*value) for value in values]
    graph = onnx.helper.make_graph(nodes, "shaped", inputs, [onnx.helper.make_empty_tensor_value_info("y")])
    loaded = ts.onnx.load(onnx.helper.make_model(graph).SerializeToString())
    x, s = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([3, 2])
    np.testing.assert_array_equal(loaded(ts.to_device(x, "emulator"), s).numpy(), x.reshape(3, 2))
    with pytest.raises(TypeError, match="s, which decides sizes, as a NumPy array of int64, got DeviceArray"):
        loaded(ts.to_device(x, "emulator"), ts.to_device(s, "emulator"))


# ----------------------------------------------------------------------------------------------------- broken devices


@pytest.fixture
def broken():
    """The host's next wait fails, as after a kernel's fault, and all that follows. GPU 1 is the current one."""
    _core.set_emulated_device(1)
    _core.break_emulator()
    yield
    _core.repair_emulator()
    _core.set_emulated_device(0)


@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
def test_every_run_on_a_broken_device_is_an_error(on_device, rng, request):
    plan = ts.models.lenet5().compile(device="emulator")
    x = integers(rng, (1, 1, 32, 32))
    given = ts.to_device(x, "emulator") if on_device else x
    run = (lambda: plan(given).numpy()) if on_device else (lambda: plan(given))
    expected = run()
    request.getfixturevalue("broken")
    for _ in range(3):
        with pytest.raises(RuntimeError, match=r"CUDA: .*unspecified launch failure"):
            run()
        assert _core.emulated_device() == 1
    _core.repair_emulator()
    np.testing.assert_array_equal(run(), expected)
