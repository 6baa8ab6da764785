"""What the tests of kernels for tensor cores share: problems, precisions, and how far from exact each may be."""

import numpy as np
from tesela import _core, reference
from tesela.runtime import current_device

# Integers this small are exact in every format, and so are their sums and, rounded once, the results.
PRECISIONS = {"float32": 2.0**-24, "tf32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}

CASES = {  # x, weight, keyword arguments of conv2d
    "3x3": ((2, 16, 7, 6), (16, 16, 3, 3), {"padding": 1}),
    "odd-channels": ((1, 5, 6, 5), (13, 5, 3, 2), {"padding": ((2, 0), (1, 1))}),
    "1x1": ((3, 24, 5, 5), (40, 24, 1, 1), {}),
    "stride": ((1, 8, 11, 13), (8, 8, 3, 3), {"stride": (2, 3), "padding": (1, 2)}),
    "dilation": ((2, 8, 12, 11), (8, 8, 3, 2), {"dilation": (3, 4), "padding": (3, 2)}),
    "groups": ((2, 32, 5, 5), (16, 16, 3, 3), {"groups": 2, "padding": 1}),
    "deep": ((1, 150, 3, 3), (9, 150, 2, 2), {"padding": 1}),
    "many-tiles": ((5, 8, 9, 9), (200, 8, 1, 1), {}),
}


def integers(rng, shape, size=3):
    return rng.integers(-size, size + 1, shape).astype(np.float32)


def planned(precision, x, weight, bias=None, residual=None, activation="", op="conv2d", gate=None, **keywords):
    """conv2d or conv_transpose2d, and the algorithms that ran."""
    program = _core.Program(current_device(), "default", precision)
    pair = lambda value: (value, value) if isinstance(value, int) else tuple(value)  # noqa: E731
    (top, bottom), (left, right) = (pair(side) for side in pair(keywords.get("padding", 0)))
    tensor = {name: program.input(a.shape) for name, a in (("x", x), ("residual", residual), ("gate", gate))
              if a is not None}  # fmt: skip
    own = {"gate": tensor.get("gate", -1)} if op == "conv2d" else {}
    own |= {} if op == "conv2d" else {"output_padding": pair(keywords.get("output_padding", 0))}
    y = getattr(program, op)(
        x=tensor["x"], weight=weight, bias=bias, stride=pair(keywords.get("stride", 1)),
        padding=(top, bottom, left, right), dilation=pair(keywords.get("dilation", 1)),
        groups=keywords.get("groups", 1), residual=tensor.get("residual", -1), activation=activation,
        parameter=0.0, **own,
    )  # fmt: skip
    result = np.empty(program.dims(y), np.float32)
    program.finish([y])
    program.run([a for a in (x, residual, gate) if a is not None], [result], 1)
    return result, [step.algorithm for step in program.steps()]


def rounded_to(precision, y):
    """float64 as a program of that precision stores it."""
    y = y.astype(np.float32)
    if precision == "float16":
        return y.astype(np.float16).astype(np.float32)
    if precision == "bfloat16":
        bits = y.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return y


# What tensor cores add at once: products of 16 bits, of tf32, and the bits of each that they keep below float32's.
ADDERS = {"mma": (8, 4, 1), "wgmma": (16, 8, 2)}  # of an A100 and an H100
LARGE = {"mma": 3, "wgmma": 1}  # of float32's three products, those that are added to sums as large as the result's
# Of two operands that are rounded, in parts of their product. wgmma cuts activations to tf32.
ROUNDED = {"float32": 3 * 2.0**-22, "tf32": 2.0**-10, "bfloat16": 2.0**-8, "float16": 2.0**-10}


def allowed(rung, precision, magnitude, terms):
    """How far a sum of so many products may be from the exact one, magnitude being that of their absolute values.

    Every block cuts its terms and its sum; float32's in stretches of 32, which are added to the nearest. Five more
    units are of parts and of what follows the sum.
    """
    of_16_bits, of_tf32, extra = ADDERS[rung]
    block = of_tf32 if precision in ("float32", "tf32") else of_16_bits
    of_block = (block + 1) / 2**extra + 1
    sums = LARGE[rung] * 32 / block * of_block + 1 + terms / 64 if precision == "float32" else terms / block * of_block
    operands = ROUNDED[precision] + (2.0**-11 if (rung, precision) == ("wgmma", "tf32") else 0)
    return (operands + (sums + 5) * 2.0**-23) * magnitude


def expect_errors_of(rung, precision, positive, rng):
    """A convolution of real numbers is as near the exact one as that rung ("mma", "wgmma") promises, and not nearer."""
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 96, 5, 5), (16, 96, 3, 3)))
    if positive:  # what is cut has one direction then
        x, weight = np.abs(x), np.abs(weight)
    residual = rng.standard_normal((1, 16, 3, 3)).astype(np.float32)
    y, algorithms = planned(precision, x, weight, None, residual, "leaky_relu")
    assert any(algorithm.startswith(rung) for algorithm in algorithms), algorithms
    expected = reference.add(reference.conv2d(x, weight), residual, activation=("leaky_relu", 0.0))
    magnitude = reference.conv2d(np.abs(x), np.abs(weight)) + np.abs(residual)
    bound = allowed(rung, precision, magnitude, 96 * 9) + np.abs(expected) * PRECISIONS[precision]
    assert (np.abs(y - expected) <= bound).all()
    assert np.abs(y - expected).max() > 0
