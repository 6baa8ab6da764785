"""What every operator means: NumPy, float64, one formula each.

The kernels are judged against this package, so it is written to be read. Every function accepts any real dtype,
computes in float64 and returns float64 (indices are int64); array operators keep any dtype but float32. Names,
parameters and meanings follow torch.nn.functional, except that padding may differ on every side. It refuses only what
would otherwise give a wrong answer in silence.

Letters: N batch; IC IH IW input; OC OH OW output; KH KW kernel; SH SW stride; DH DW dilation; G groups.
A convolution is a sum over kernel taps, a pooling a running maximum or sum over them: see `rules._taps`.
"""

from .activation import _activate, elu, gelu, hardswish, leaky_relu, prelu, relu, relu6, sigmoid, silu, tanh
from .arithmetic import add, mul
from .array import (
    depth_to_space,
    expand,
    flip,
    gather,
    pad_axes,
    reshape,
    slice,
    space_to_depth,
    split,
    tile,
    transpose,
)
from .convolution import conv2d, conv_transpose2d, pointwise_depthwise_conv2d
from .detection import non_max_suppression, roi_align, top_k
from .layout import concat, dropout, flatten, pad, pixel_shuffle, upsample
from .map import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cast,
    ceil,
    cos,
    cosh,
    div,
    equal,
    erf,
    exp,
    floor,
    fmod,
    greater,
    greater_equal,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    mish,
    mod,
    neg,
    pow,
    reciprocal,
    round,
    sign,
    sin,
    sinh,
    softplus,
    softsign,
    sqrt,
    sub,
    tan,
    where,
)
from .matrix import gemm, linear
from .normalization import batch_norm, local_response_norm, log_softmax, softmax
from .pooling import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, global_max_pool2d, max_pool2d, max_unpool2d
from .reduce import (
    argmax,
    argmin,
    matmul,
    reduce_l1,
    reduce_l2,
    reduce_log_sum,
    reduce_log_sum_exp,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_sum,
    reduce_sum_square,
)
from .statistics import group_norm, instance_norm, layer_norm
