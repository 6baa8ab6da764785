"""What every operator means: NumPy, float64, one formula each.

The kernels are judged against this package, so it is written to be read. Every function accepts any real dtype,
computes in float64 and returns float64 (indices are int64). Names, parameters and meanings follow
torch.nn.functional, except that padding may differ on every side. It refuses only what would otherwise give a wrong
answer in silence.

Letters: N batch; IC IH IW input; OC OH OW output; KH KW kernel; SH SW stride; DH DW dilation; G groups.
A convolution is a sum over kernel taps, a pooling a running maximum or sum over them: see `rules._taps`.
"""

from .activation import _activate, elu, gelu, hardswish, leaky_relu, prelu, relu, relu6, sigmoid, silu, tanh
from .arithmetic import add, mul
from .convolution import conv2d, conv_transpose2d
from .layout import concat, dropout, flatten, pad, pixel_shuffle, reshape, upsample
from .matrix import gemm, linear
from .normalization import batch_norm, local_response_norm, log_softmax, softmax
from .pooling import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, global_max_pool2d, max_pool2d, max_unpool2d
