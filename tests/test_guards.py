"""The last guard before memory is touched: what C++ refuses of a caller that has checked nothing (csrc/python)."""

import numpy as np
import pytest
from tesela import _core

X = (1, 3, 5, 7)


@pytest.fixture(params=[d for d in ("cpu", "emulator") if d in _core.devices()])
def program(request):
    return _core.Program(request.param)


def test_a_run_has_a_thread(program):
    x = program.input(X)
    program.finish([program.activation(x, "relu", 0.0)])
    arrays = [np.ones(X, np.float32)], [np.empty(X, np.float32)]
    for threads in (0, -1):
        for call in (program.run, lambda *a: program.profile(*a, 1), lambda *a: program.seconds(*a, 1)):
            with pytest.raises(ValueError, match=f"expected threads of at least 1, got {threads}"):
                call(*arrays, threads)
    for call in (program.profile, program.seconds):
        with pytest.raises(ValueError, match="expected repeats of at least 1, got 0"):
            call(*arrays, 1, 0)
    for wrong in (([], arrays[1]), (arrays[0], arrays[1] * 2)):
        with pytest.raises(ValueError, match="expected 1 inputs and 1 outputs, got"):
            program.run(*wrong, 1)


def averaging(**changed):
    windows = {"begin_h": [0], "end_h": [5], "count_h": [5], "begin_w": [0, 3], "end_w": [3, 7], "count_w": [3, 4]}
    return [*(windows | changed).values(), 0]


def resampling(**changed):
    tables = {"low_h": [0, 4], "high_h": [1, 4], "low_w": [6], "high_w": [6], "weight_h": [0.5, 0], "weight_w": [0]}
    return [*(tables | changed).values(), 0.0]


def copying(**changed):
    return resampling(**{"high_h": [], "high_w": [], "weight_h": [], "weight_w": []} | changed)


def test_tables_that_fit_are_taken(program):
    x = program.input(X)
    assert program.dims(program.avg_pool2d(x, *averaging())) == [1, 3, 1, 2]
    assert program.dims(program.resample2d(x, *resampling())) == [1, 3, 2, 1]
    assert program.dims(program.resample2d(x, *copying(low_h=[-1, 4, -1]))) == [1, 3, 3, 1]


@pytest.mark.parametrize("changed, complaint", [
    ({"end_h": [6]}, "a window outside of x"),
    ({"begin_w": [-1, 3]}, "a window outside of x"),
    ({"count_w": [3]}, "tables of different sizes"),
    ({"end_h": []}, "tables of different sizes"),
])  # fmt: skip
def test_windows_lie_inside(program, changed, complaint):
    with pytest.raises(ValueError, match=f"avg_pool2d: {complaint}"):
        program.avg_pool2d(program.input(X), *averaging(**changed))


@pytest.mark.parametrize("tables", [
    resampling(low_h=[0, 5]), resampling(high_h=[-1, 4]), resampling(low_w=[7]), resampling(high_w=[-1]),
    resampling(low_h=[-1, 4]), copying(low_h=[5]), copying(low_w=[-2]),
])  # fmt: skip
def test_places_lie_inside(program, tables):
    with pytest.raises(ValueError, match="resample2d: a place outside of x"):
        program.resample2d(program.input(X), *tables)


@pytest.mark.parametrize("tables", [
    resampling(high_h=[1]), resampling(weight_h=[0.5]), resampling(weight_w=[]), resampling(high_w=[]),
    copying(high_h=[0, 4]), copying(weight_w=[0.5]),
])  # fmt: skip
def test_tables_fit_together(program, tables):
    with pytest.raises(ValueError, match="resample2d: tables of different sizes"):
        program.resample2d(program.input(X), *tables)


CONV = ((1, 1), (0, 0, 0, 0))
FLOATS = {
    "conv2d": lambda p, x: p.conv2d(x, np.ones((2, 3, 1, 1), np.float32), None, *CONV, (1, 1), 1, -1, -1, "", 0.0),
    "conv_transpose2d": lambda p, x: p.conv_transpose2d(
        x, np.ones((3, 2, 1, 1), np.float32), None, *CONV, (0, 0), (1, 1), 1, -1, "", 0.0
    ),
    "linear": lambda p, x: p.linear(x, np.ones((2, 7), np.float32), None, "", 0.0),
    "max_pool2d": lambda p, x: p.max_pool2d(x, (1, 1), *CONV, (1, 1), False, False),
    "global_max_pool2d": lambda p, x: p.global_max_pool2d(x),
    "avg_pool2d": lambda p, x: p.avg_pool2d(x, *averaging()),
    "max_unpool2d": lambda p, x: p.max_unpool2d(x, p.input(X, "int64"), X),
    "activation": lambda p, x: p.activation(x, "relu", 0.0),
    "prelu": lambda p, x: p.prelu(x, np.ones(1, np.float32)),
    "batch_norm": lambda p, x: p.channel_affine(x, *[np.ones(3, np.float32)] * 2, "", 0.0),
    "add": lambda p, x: p.binary("add", x, p.input(X), "", 0.0),
    "local_response_norm": lambda p, x: p.local_response_norm(x, 1, 1, 1.0, 0.5, 1.0),
    "softmax": lambda p, x: p.softmax(x, 1, False),
    "resample2d": lambda p, x: p.resample2d(x, *resampling()),
    "pixel_shuffle": lambda p, x: p.pixel_shuffle(x, 1),
}


@pytest.mark.parametrize("op", FLOATS)
def test_kernels_of_float32_read_nothing_else(program, op):
    FLOATS[op](program, program.input(X))
    with pytest.raises(ValueError, match=f"{op}: expected x of dtype float32, got uint8 of shape"):
        FLOATS[op](program, program.input(X, "uint8"))


@pytest.mark.parametrize(
    "op", sorted(FLOATS.keys() - {"linear", "activation", "prelu", "batch_norm", "add", "softmax"})
)
def test_images_have_four_dimensions(program, op):
    with pytest.raises(ValueError, match=f"{op}: expected"):
        FLOATS[op](program, program.input(X[1:]))


def test_channels_are_the_second_dimension(program):
    with pytest.raises(ValueError, match=r"batch_norm: expected x as \(N, C, ...\), got shape \(3,?\)"):
        FLOATS["batch_norm"](program, program.input((3,)))


def test_operands_have_their_dtypes(program):
    x, i = program.input(X), program.input(X, "int32")
    weight = np.ones((3, 3, 1, 1), np.float32)
    with pytest.raises(ValueError, match="conv2d: expected residual of dtype float32, got int32"):
        program.conv2d(x, weight, None, *CONV, (1, 1), 1, i, -1, "", 0.0)
    with pytest.raises(ValueError, match="conv2d: expected gate of dtype float32, got int32"):
        program.conv2d(x, weight, None, *CONV, (1, 1), 1, -1, i, "", 0.0)
    with pytest.raises(ValueError, match="max_unpool2d: expected indices of dtype int64, got int32"):
        program.max_unpool2d(x, i, (1, 3, 10, 14))
    with pytest.raises(ValueError, match="max_unpool2d: expected an output with images and channels of"):
        program.max_unpool2d(x, program.input(X, "int64"), (1, 4, 10, 14))
    with pytest.raises(ValueError, match="gemm: expected x of dtype float32, got int64"):
        a = program.input((2, 2))
        program.gemm(a, program.input((2, 2), "int64"), -1, 1.0, 1.0, False, False, "", 0.0)


def test_a_binary_operator_is_known(program):
    x = program.input(X)
    with pytest.raises(ValueError, match="binary: expected 'add' or 'mul', got 'sub'"):
        program.binary("sub", x, x, "", 0.0)


def test_detectors_get_their_shapes():
    program = _core.Program("cpu")
    scores, boxes = program.input((2, 3, 8)), program.input((2, 8, 4))
    rule = 5, 0.5, None, False
    program.non_max_suppression(boxes, scores, *rule)
    for wrong in ((boxes, program.input((2, 8))), (boxes, program.input((2, 3, 9))), (program.input((2, 8, 3)), scores),
                  (boxes, program.input((2, 3, 8), "float64"))):  # fmt: skip
        with pytest.raises(ValueError, match=r"non_max_suppression: expected (scores|boxes)"):
            program.non_max_suppression(*wrong, *rule)
    with pytest.raises(ValueError, match="non_max_suppression: expected a number of boxes, got -1"):
        program.non_max_suppression(boxes, scores, -1, *rule[1:])

    x, regions, images = program.input(X), program.input((6, 4)), program.input((6,), "int64")
    how = (2, 2), 0, 1.0, False, False
    program.roi_align(x, regions, images, *how)
    for wrong in ((program.input(X[1:]), regions, images), (x, program.input((6, 5)), images),
                  (x, regions, program.input((5,), "int64")), (x, regions, program.input((6,), "int32"))):  # fmt: skip
        with pytest.raises(ValueError, match=r"roi_align: expected (x|regions|images)"):
            program.roi_align(*wrong, *how)
    for wrong in (((0, 2), 0), ((2, 2), -1)):
        with pytest.raises(ValueError, match="roi_align: expected bins of at least 1 and samples of at least 0"):
            program.roi_align(x, regions, images, *wrong, *how[2:])


def test_the_host_is_no_device_to_copy_to():
    x = np.ones(3, np.float32)
    for copy in (lambda: _core.upload("cpu", x.ctypes.data, x, 1), lambda: _core.download("cpu", x, x.ctypes.data, 1)):
        with pytest.raises(_core.DeviceError, match="device 'cpu': its memory is the host's"):
            copy()
