"""What is refused, and in which words: one sentence that names the operator or the layer, what was expected, what came.

Huge sizes are asked of functions that only compute sizes, or of arrays without memory behind them: nothing large is
ever allocated.
"""

from __future__ import annotations

import functools
import inspect
import re

import numpy as np
import pytest
import tesela
from tesela import _core, reference
from tesela.operators import TABLE


def zeros(*shape: int, dtype=np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


X, W = zeros(1, 4, 8, 8), zeros(6, 4, 3, 3)
INDICES = zeros(1, 4, 8, 8, dtype=np.int64)
HUGE = 2**40


def one_sentence(error: BaseException, kind: type, words: list[str]) -> None:
    text = str(error)
    assert type(error) is kind, f"{type(error).__name__}: {text}"
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    assert "\n" not in text and 10 < len(text) < 400, text
    # Neither a second sentence nor a message from below: pybind11's, NumPy's, Python's.
    assert not re.search(
        r"\. [A-Z]|incompatible function|unpack|positional|__|could not convert|not supported", text
    ), text


# (operator, operands and arguments, exception, words of the sentence)
REFUSED = [
    # what is no array of float32
    ("conv2d", dict(x=[[1.0]], weight=W), TypeError, ["conv2d", "expected x as a NumPy array of float32", "list"]),
    ("conv2d", dict(x=None, weight=W), TypeError, ["conv2d", "expected x", "None"]),
    ("conv2d", dict(x=X, weight=None), TypeError, ["conv2d", "expected weight", "None"]),
    ("conv2d", dict(x=X.astype(float), weight=W), TypeError, ["conv2d", "x of dtype float32", "float64", "astype"]),
    ("conv2d", dict(x=X, weight=W.astype(np.float16)), TypeError, ["conv2d", "weight of dtype float32", "float16"]),
    ("conv2d", dict(x=X, weight=W, bias=[0] * 6), TypeError, ["conv2d", "expected bias as a NumPy array", "list"]),
    ("conv2d", dict(x=X, weight=W, bias=zeros(6, dtype=int)), TypeError, ["conv2d", "bias of dtype float32", "int64"]),
    ("conv2d", dict(x=X, weight=W, residual=zeros(1, 6, 6, 6, dtype=float)),
     TypeError, ["conv2d", "residual", "float64"]),
    ("relu", dict(x=X.astype(int)), TypeError, ["relu", "x of dtype float32", "int64"]),
    ("relu", dict(x=X.astype(">f4")), TypeError, ["relu", "x of dtype float32", ">f4"]),
    ("relu", dict(x=X.astype(complex)), TypeError, ["relu", "x of dtype float32", "complex128"]),
    ("relu", dict(x=1.0), TypeError, ["relu", "expected x as a NumPy array", "float"]),
    ("add", dict(x=X, y=1.0), TypeError, ["add", "expected y as a NumPy array", "float"]),
    ("add", dict(x=[1.0], y=X), TypeError, ["add", "expected x as a NumPy array", "list"]),
    ("gemm", dict(a=[[1.0]], b=zeros(1, 2)), TypeError, ["gemm", "expected a as a NumPy array", "list"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), c=[1.0]), TypeError, ["gemm", "expected c", "[1.0]"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), c="1"), TypeError, ["gemm", "expected c", "'1'"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), c=zeros(4, dtype=float)), TypeError, ["gemm", "c of dtype", "float64"]),
    ("gemm", dict(a=[[1, 2], [3]], b=zeros(1, 2), c=1), TypeError, ["gemm", "expected a as a NumPy array", "list"]),
    ("concat", dict(tensors=5), TypeError, ["concat", "expected tensors as a sequence of arrays", "int"]),
    ("concat", dict(tensors=X), TypeError, ["concat", "expected tensors as a sequence of arrays", "ndarray"]),
    ("concat", dict(tensors=[X, None]), TypeError, ["concat", "tensors[1]", "NoneType"]),
    ("concat", dict(tensors=[X, X.astype(float)]), TypeError, ["concat", "tensors[1]", "float64"]),
    ("max_unpool2d", dict(x=X, indices=INDICES.astype(np.int32), kernel_size=2),
     TypeError, ["max_unpool2d", "int64", "int32"]),
    ("max_unpool2d", dict(x=X, indices=X, kernel_size=2),
     TypeError, ["max_unpool2d", "indices of dtype int64", "float32"]),
    ("batch_norm", dict(x=X, running_mean=None, running_var=zeros(4)),
     TypeError, ["batch_norm", "running_mean", "None"]),
    # what does not lie in memory as kernels read it
    ("relu", dict(x=X.transpose(0, 1, 3, 2)), ValueError, ["relu", "x to be C-contiguous", "(1024, 256, 4, 32)"]),
    ("relu", dict(x=X[:, :, ::-1]), ValueError, ["relu", "x to be C-contiguous", "(1024, 256, -32, 4)"]),
    ("relu", dict(x=X[..., ::2]), ValueError, ["relu", "x to be C-contiguous", "got shape (1, 4, 8, 4)"]),
    ("relu", dict(x=np.asfortranarray(zeros(3, 4))), ValueError, ["relu", "x to be C-contiguous"]),
    ("relu", dict(x=zeros(9, dtype=np.uint8)[1:].view(np.float32)), ValueError, ["relu", "x aligned", "float32"]),
    ("relu", dict(x=np.broadcast_to(np.float32(1), (2**20, 2**20, 2**20))),
     ValueError, ["relu", "x to be C-contiguous"]),
    ("conv2d", dict(x=X, weight=W.transpose(1, 0, 2, 3)), ValueError, ["conv2d", "weight to be C-contiguous"]),
    ("linear", dict(x=zeros(2, 3), weight=zeros(3, 5).T), ValueError, ["linear", "weight to be C-contiguous"]),
    # what is empty
    ("relu", dict(x=zeros(0, 3, 4, 4)), ValueError, ["relu", "x with at least one element", "(0, 3, 4, 4)"]),
    ("conv2d", dict(x=zeros(0, 4, 8, 8), weight=W),
     ValueError, ["conv2d", "x with at least one element", "(0, 4, 8, 8)"]),
    ("conv2d", dict(x=X, weight=zeros(6, 4, 0, 3)), ValueError, ["conv2d", "weight with at least one", "(6, 4, 0, 3)"]),
    ("linear", dict(x=zeros(2, 0), weight=zeros(3, 0)),
     ValueError, ["linear", "x with at least one element", "(2, 0)"]),
    ("concat", dict(tensors=[]), ValueError, ["concat", "at least one tensor", "none"]),
    # rank and channels
    ("conv2d", dict(x=zeros(4, 8, 8), weight=W), ValueError, ["conv2d", "x of shape (N, C, H, W)", "(4, 8, 8)"]),
    ("conv2d", dict(x=X, weight=zeros(6, 4, 3)),
     ValueError, ["conv2d", "weight of shape (OC, C/groups, KH, KW)", "(6, 4, 3)"]),
    ("conv2d", dict(x=X, weight=zeros(6, 3, 3, 3)),
     ValueError, ["conv2d", "(6, 3, 3, 3)", "3 input channels", "has 4"]),
    ("conv2d", dict(x=X, weight=zeros(6, 4, 3, 3), groups=2),
     ValueError, ["conv2d", "groups=2", "8 input channels", "has 4"]),
    ("conv2d", dict(x=X, weight=W, bias=zeros(5)), ValueError, ["conv2d", "bias of shape (6,)", "(5,)"]),
    ("conv2d", dict(x=X, weight=W, bias=zeros(6, 1)), ValueError, ["conv2d", "bias of shape (6,)", "(6, 1)"]),
    ("conv2d", dict(x=X, weight=W, gate=zeros(1, 6)), ValueError, ["conv2d", "gate of shape (1, 6, 1, 1)", "(1, 6)"]),
    ("conv2d", dict(x=X, weight=W, residual=zeros(1, 6, 6, 5)),
     ValueError, ["conv2d", "residual of shape (1, 6, 6, 6)", "(1, 6, 6, 5)"]),
    ("conv_transpose2d", dict(x=X, weight=W), ValueError, ["conv_transpose2d", "(6, 4, 3, 3)", "takes 6", "has 4"]),
    ("conv_transpose2d", dict(x=zeros(4, 8, 8), weight=W),
     ValueError, ["conv_transpose2d", "(N, C, H, W)", "(4, 8, 8)"]),
    ("linear", dict(x=zeros(2, 3), weight=zeros(4, 5)), ValueError, ["linear", "takes 5 features", "has 3"]),
    ("linear", dict(x=zeros(), weight=zeros(4, 5)), ValueError, ["linear", "takes 5 features", "none"]),
    ("linear", dict(x=zeros(2, 3), weight=zeros(4, 5, 3)),
     ValueError, ["linear", "weight of shape (OUT, IN)", "(4, 5, 3)"]),
    ("linear", dict(x=zeros(2, 3), weight=zeros(4, 3), bias=zeros(3)),
     ValueError, ["linear", "bias of shape (4,)", "(3,)"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(4, 5)), ValueError, ["gemm", "3 columns", "4 rows", "(2, 3)", "(4, 5)"]),
    ("gemm", dict(a=zeros(3), b=zeros(3, 5)), ValueError, ["gemm", "a of shape (M, K)", "(3,)"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), c=zeros(3)), ValueError, ["gemm", "c to broadcast to (2, 4)", "(3,)"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), c=zeros(1, 2, 4)),
     ValueError, ["gemm", "c to broadcast to (2, 4)", "(1, 2, 4)"]),
    ("max_pool2d", dict(x=zeros(4, 8, 8), kernel_size=2), ValueError, ["max_pool2d", "(N, C, H, W)", "(4, 8, 8)"]),
    ("global_avg_pool2d", dict(x=zeros(2, 3)), ValueError, ["global_avg_pool2d", "(N, C, H, W)", "(2, 3)"]),
    ("global_max_pool2d", dict(x=zeros(2, 3)), ValueError, ["global_max_pool2d", "(N, C, H, W)", "(2, 3)"]),
    ("local_response_norm", dict(x=zeros(2, 3), size=5), ValueError, ["local_response_norm", "(N, C, H, W)", "(2, 3)"]),
    ("batch_norm", dict(x=zeros(4), running_mean=zeros(4), running_var=zeros(4)),
     ValueError, ["batch_norm", "(N, C, ...)", "(4,)"]),
    ("batch_norm", dict(x=X, running_mean=zeros(3), running_var=zeros(4)),
     ValueError, ["batch_norm", "running_mean of shape (4,)", "(3,)"]),
    ("prelu", dict(x=X, weight=zeros(3)), ValueError, ["prelu", "one value or one per channel", "(3,)"]),
    ("prelu", dict(x=X, weight=zeros(1, 4)), ValueError, ["prelu", "one value or one per channel", "(1, 4)"]),
    ("add", dict(x=X, y=zeros(3)), ValueError, ["add", "(1, 4, 8, 8) and (3,)", "broadcast"]),
    ("mul", dict(x=X, y=zeros(2, 4, 8)), ValueError, ["mul", "(1, 4, 8, 8) and (2, 4, 8)", "broadcast"]),
    ("concat", dict(tensors=[X, zeros(1, 4, 8, 7)]), ValueError, ["concat", "(1, 4, 8, 8)", "(1, 4, 8, 7)"]),
    ("concat", dict(tensors=[X, zeros(4, 8, 8)]), ValueError, ["concat", "(1, 4, 8, 8)", "(4, 8, 8)"]),
    ("concat", dict(tensors=[X, X], dim=4), ValueError, ["concat", "dim 4", "4 dimensions"]),
    ("softmax", dict(x=X, dim=4), ValueError, ["softmax", "dim 4", "4 dimensions"]),
    ("log_softmax", dict(x=X, dim=-5), ValueError, ["log_softmax", "dim -5", "4 dimensions"]),
    ("softmax", dict(x=zeros()), ValueError, ["softmax", "dim -1", "0 dimensions"]),
    ("softmax", dict(x=X, dim=1.0), TypeError, ["softmax", "dim as an integer", "1.0"]),
    ("flatten", dict(x=X, start_dim=3, end_dim=1), ValueError, ["flatten", "start_dim 3", "end_dim 1"]),
    ("flatten", dict(x=X, start_dim=4), ValueError, ["flatten", "dim 4", "4 dimensions"]),
    ("pixel_shuffle", dict(x=X, upscale_factor=3), ValueError, ["pixel_shuffle", "(9)", "4 channels"]),
    ("pixel_shuffle", dict(x=X, upscale_factor=0), ValueError, ["pixel_shuffle", "upscale_factor", "got 0"]),
    ("pixel_shuffle", dict(x=X, upscale_factor=-2), ValueError, ["pixel_shuffle", "upscale_factor", "got -2"]),
    # what is true or false
    ("max_pool2d", dict(x=X, kernel_size=2, ceil_mode="no"), TypeError, ["max_pool2d", "ceil_mode as True", "'no'"]),
    ("max_pool2d", dict(x=X, kernel_size=2, return_indices=1), TypeError, ["max_pool2d", "return_indices", "got 1"]),
    ("avg_pool2d", dict(x=X, kernel_size=2, ceil_mode=None), TypeError, ["avg_pool2d", "ceil_mode", "None"]),
    ("avg_pool2d", dict(x=X, kernel_size=2, count_include_pad="no"),
     TypeError, ["avg_pool2d", "count_include_pad as True or False", "'no'"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), trans_a="N"), TypeError, ["gemm", "trans_a as True or False", "'N'"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), c=1.0, trans_b=0), TypeError, ["gemm", "trans_b", "got 0"]),
    ("upsample", dict(x=X, size=4, mode="bilinear", align_corners="false"),
     TypeError, ["upsample", "align_corners", "'false'"]),
    # stride, padding, dilation, groups, kernel
    ("conv2d", dict(x=X, weight=W, padding="same", dilation=2**62), ValueError, ["conv2d", "dilation", "2^62"]),
    ("conv2d", dict(x=X, weight=W, padding="same", dilation=2**61), ValueError, ["conv2d", "dilation", "2^62"]),
    ("conv2d", dict(x=X, weight=W, padding="same", dilation=2**60), ValueError, ["conv2d", "at most 2147483648"]),
    ("conv2d", dict(x=X, weight=W, padding=np.ones(3, int)),
     ValueError, ["conv2d", "(top, bottom)", "array([1, 1, 1])"]),
    ("conv2d", dict(x=X, weight=W, padding=np.array(1.5)), TypeError, ["conv2d", "padding as an integer", "1.5"]),
    ("conv2d", dict(x=X, weight=W, stride=0), ValueError, ["conv2d", "stride of at least 1", "(0, 0)"]),
    ("conv2d", dict(x=X, weight=W, stride=(1, -1)), ValueError, ["conv2d", "stride of at least 1", "(1, -1)"]),
    ("conv2d", dict(x=X, weight=W, stride=(1, 2, 3)),
     ValueError, ["conv2d", "stride as an int or (h, w)", "(1, 2, 3)"]),
    ("conv2d", dict(x=X, weight=W, stride=1.5), TypeError, ["conv2d", "stride as an integer", "1.5"]),
    ("conv2d", dict(x=X, weight=W, stride="1"), TypeError, ["conv2d", "stride as an integer", "'1'"]),
    ("conv2d", dict(x=X, weight=W, stride=None), TypeError, ["conv2d", "stride as an integer", "None"]),
    ("conv2d", dict(x=X, weight=W, stride=True), TypeError, ["conv2d", "stride as an integer", "True"]),
    ("conv2d", dict(x=X, weight=W, dilation=0), ValueError, ["conv2d", "dilation of at least 1", "(0, 0)"]),
    ("conv2d", dict(x=X, weight=W, padding=-1),
     ValueError, ["conv2d", "padding of at least 0", "((-1, -1), (-1, -1))"]),
    ("conv2d", dict(x=X, weight=W, padding=((0, 0), (0, -2))),
     ValueError, ["conv2d", "padding of at least 0", "(0, -2)"]),
    ("conv2d", dict(x=X, weight=W, padding=(1, 2, 3)),
     ValueError, ["conv2d", "((top, bottom), (left, right))", "(1, 2, 3)"]),
    ("conv2d", dict(x=X, weight=W, padding=((1, 2), (3,))),
     ValueError, ["conv2d", "((top, bottom), (left, right))", "(3,)"]),
    ("conv2d", dict(x=X, weight=W, padding=0.5), TypeError, ["conv2d", "padding as an integer", "0.5"]),
    ("conv2d", dict(x=X, weight=W, padding="full"), ValueError, ["conv2d", "'same' or 'valid'", "'full'"]),
    ("conv2d", dict(x=X, weight=W, padding="same", stride=2), ValueError, ["conv2d", "'same'", "stride 1", "(2, 2)"]),
    ("conv2d", dict(x=X, weight=W, groups=0), ValueError, ["conv2d", "groups of at least 1", "got 0"]),
    ("conv2d", dict(x=X, weight=W, groups=-2), ValueError, ["conv2d", "groups of at least 1", "got -2"]),
    ("conv2d", dict(x=X, weight=W, groups=3), ValueError, ["conv2d", "groups", "4 channels", "3 groups"]),
    ("conv2d", dict(x=X, weight=zeros(5, 2, 3, 3), groups=2),
     ValueError, ["conv2d", "groups", "5 channels", "2 groups"]),
    ("conv2d", dict(x=X, weight=W, groups=1.0), TypeError, ["conv2d", "groups as an integer", "1.0"]),
    ("conv2d", dict(x=X, weight=zeros(6, 4, 9, 9)), ValueError, ["conv2d", "0 x 0", "(9, 9)"]),
    ("conv2d", dict(x=X, weight=W, dilation=4), ValueError, ["conv2d", "0 x 0", "dilation (4, 4)"]),
    ("conv_transpose2d", dict(x=X, weight=zeros(4, 2, 3, 3), stride=0),
     ValueError, ["conv_transpose2d", "stride", "(0, 0)"]),
    ("conv_transpose2d", dict(x=X, weight=zeros(4, 2, 3, 3), padding=9),
     ValueError, ["conv_transpose2d", "-8 x -8", "padding"]),
    ("conv_transpose2d", dict(x=X, weight=zeros(4, 2, 3, 3), groups=3),
     ValueError, ["conv_transpose2d", "4 channels", "3 groups"]),
    ("conv_transpose2d", dict(x=X, weight=zeros(4, 2, 3, 3), output_padding=1),
     ValueError, ["conv_transpose2d", "output_padding", "(1, 1)"]),
    ("conv_transpose2d", dict(x=X, weight=zeros(4, 2, 3, 3), output_padding=-1),
     ValueError, ["conv_transpose2d", "output_padding", "(-1, -1)"]),
    ("max_pool2d", dict(x=X, kernel_size=0), ValueError, ["max_pool2d", "kernel_size of at least 1", "(0, 0)"]),
    ("max_pool2d", dict(x=X, kernel_size="2"), TypeError, ["max_pool2d", "kernel_size as an integer", "'2'"]),
    ("max_pool2d", dict(x=X, kernel_size=2, stride=0), ValueError, ["max_pool2d", "stride of at least 1", "(0, 0)"]),
    ("max_pool2d", dict(x=X, kernel_size=2, padding=2),
     ValueError, ["max_pool2d", "padding", "smaller than", "(2, 2)"]),
    ("max_pool2d", dict(x=X, kernel_size=2, padding=((0, 2), (0, 0))),
     ValueError, ["max_pool2d", "padding ((0, 2), (0, 0))"]),
    ("max_pool2d", dict(x=X, kernel_size=2, dilation=0),
     ValueError, ["max_pool2d", "dilation of at least 1", "(0, 0)"]),
    ("max_pool2d", dict(x=X, kernel_size=9), ValueError, ["max_pool2d", "0 x 0", "(9, 9)"]),
    ("avg_pool2d", dict(x=X, kernel_size=3, padding=3),
     ValueError, ["avg_pool2d", "padding", "smaller than", "(3, 3)"]),
    ("avg_pool2d", dict(x=X, kernel_size=3, padding=-1), ValueError, ["avg_pool2d", "padding of at least 0", "-1"]),
    ("avg_pool2d", dict(x=X, kernel_size=3, divisor_override=0),
     ValueError, ["avg_pool2d", "divisor_override", "got 0"]),
    ("avg_pool2d", dict(x=X, kernel_size=3, divisor_override=1.5),
     TypeError, ["avg_pool2d", "divisor_override", "1.5"]),
    ("adaptive_avg_pool2d", dict(x=X, output_size=0),
     ValueError, ["adaptive_avg_pool2d", "output_size of at least 1", "(0, 0)"]),
    ("adaptive_avg_pool2d", dict(x=X, output_size=(1, 2, 3)),
     ValueError, ["adaptive_avg_pool2d", "(h, w)", "(1, 2, 3)"]),
    ("adaptive_avg_pool2d", dict(x=X, output_size=2.0), TypeError, ["adaptive_avg_pool2d", "output_size", "2.0"]),
    ("max_unpool2d", dict(x=X, indices=zeros(1, 4, 8, 7, dtype=int), kernel_size=2),
     ValueError, ["max_unpool2d", "indices of shape (1, 4, 8, 8)", "(1, 4, 8, 7)"]),
    ("max_unpool2d", dict(x=X, indices=INDICES, kernel_size=2, output_size=5),
     TypeError, ["max_unpool2d", "output_size", "5"]),
    ("max_unpool2d", dict(x=X, indices=INDICES, kernel_size=2, output_size=(1, 2, 3)),
     ValueError, ["max_unpool2d", "output_size", "(1, 2, 3)"]),
    ("max_unpool2d", dict(x=X, indices=INDICES, kernel_size=2, output_size=(16, 0)),
     ValueError, ["max_unpool2d", "output_size", "(16, 0)"]),
    ("max_unpool2d", dict(x=X, indices=INDICES + 256, kernel_size=2),
     ValueError, ["max_unpool2d", "index 256", "(0, 0, 0, 0)", "16 x 16"]),
    ("max_unpool2d", dict(x=X, indices=INDICES - 1, kernel_size=2),
     ValueError, ["max_unpool2d", "index -1", "16 x 16"]),
    ("max_unpool2d", dict(x=X, indices=INDICES + 63, kernel_size=2, output_size=(7, 9)),
     ValueError, ["max_unpool2d", "index 63", "7 x 9"]),
    # other parameters
    ("conv2d", dict(x=X, weight=W, activation="swish"), ValueError, ["conv2d", "unknown activation 'swish'", "silu"]),
    ("conv2d", dict(x=X, weight=W, activation=("relu", 1.0)),
     ValueError, ["conv2d", "'relu' takes no parameter", "1.0"]),
    ("conv2d", dict(x=X, weight=W, activation=("relu",)), TypeError, ["conv2d", "(name, parameter)", "('relu',)"]),
    ("conv2d", dict(x=X, weight=W, activation=5), TypeError, ["conv2d", "(name, parameter)", "5"]),
    ("conv2d", dict(x=X, weight=W, activation=(["relu"], 1)), TypeError, ["conv2d", "(name, parameter)"]),
    ("linear", dict(x=zeros(2, 3), weight=zeros(4, 3), activation=("elu", "x")), TypeError, ["linear", "'elu'", "'x'"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), alpha="x"), TypeError, ["gemm", "alpha as a number", "'x'"]),
    ("gemm", dict(a=zeros(2, 3), b=zeros(3, 4), beta=None), TypeError, ["gemm", "beta as a number", "None"]),
    ("batch_norm", dict(x=X, running_mean=zeros(4), running_var=zeros(4), eps="x"),
     TypeError, ["batch_norm", "eps as a number", "'x'"]),
    ("local_response_norm", dict(x=X, size=0), ValueError, ["local_response_norm", "size of at least 1", "got 0"]),
    ("local_response_norm", dict(x=X, size=2.5), TypeError, ["local_response_norm", "size as an integer", "2.5"]),
    ("local_response_norm", dict(x=X, size=5, alpha="x"),
     TypeError, ["local_response_norm", "alpha as a number", "'x'"]),
    ("leaky_relu", dict(x=X, negative_slope=None), TypeError, ["leaky_relu", "negative_slope as a number", "None"]),
    ("elu", dict(x=X, alpha="x"), TypeError, ["elu", "alpha as a number", "'x'"]),
    ("gelu", dict(x=X, approximate="erf"), ValueError, ["gelu", "'none' or 'tanh'", "'erf'"]),
    ("dropout", dict(x=X, p=2), ValueError, ["dropout", "p between 0 and 1", "2"]),
    ("dropout", dict(x=X, p="x"), TypeError, ["dropout", "p as a number", "'x'"]),
    ("pad", dict(x=X, padding=-1), ValueError, ["pad", "padding of at least 0", "-1"]),
    ("pad", dict(x=X, padding=1, mode="mirror"), ValueError, ["pad", "'reflect'", "'mirror'"]),
    ("pad", dict(x=X, padding=1, mode=5), TypeError, ["pad", "mode as a string", "5"]),
    ("pad", dict(x=X, padding=1, value="x"), TypeError, ["pad", "value as a number", "'x'"]),
    ("pad", dict(x=X, padding=8, mode="reflect"), ValueError, ["pad", "too large", "'reflect'", "(1, 4, 8, 8)"]),
    ("pad", dict(x=X, padding=9, mode="circular"), ValueError, ["pad", "too large", "'circular'", "(1, 4, 8, 8)"]),
    ("pad", dict(x=zeros(4, 8, 8), padding=1), ValueError, ["pad", "(N, C, H, W)", "(4, 8, 8)"]),
    ("upsample", dict(x=X), ValueError, ["upsample", "either size or scale_factor"]),
    ("upsample", dict(x=X, size=4, scale_factor=2), ValueError, ["upsample", "either size or scale_factor"]),
    ("upsample", dict(x=X, size=0), ValueError, ["upsample", "size of at least 1", "(0, 0)"]),
    ("upsample", dict(x=X, scale_factor=0.01), ValueError, ["upsample", "size of at least 1", "(0, 0)"]),
    ("upsample", dict(x=X, scale_factor=-1), ValueError, ["upsample", "positive scale_factor", "-1.0"]),
    ("upsample", dict(x=X, scale_factor=float("nan")), ValueError, ["upsample", "positive scale_factor", "nan"]),
    ("upsample", dict(x=X, scale_factor="2"), TypeError, ["upsample", "scale_factor as a number", "'2'"]),
    ("upsample", dict(x=X, size=4, mode="bicubic"), ValueError, ["upsample", "'nearest' or 'bilinear'", "'bicubic'"]),
    ("upsample", dict(x=X, size=4, align_corners=True), ValueError, ["upsample", "align_corners", "'bilinear' only"]),
    ("upsample", dict(x=zeros(4, 8, 8), size=4), ValueError, ["upsample", "(N, C, H, W)", "(4, 8, 8)"]),
    # numbers beyond what sizes may be: 2^31, and 64 bits
    ("conv2d", dict(x=X, weight=W, stride=HUGE), ValueError, ["conv2d", "stride of at most 2147483648", str(HUGE)]),
    ("conv2d", dict(x=X, weight=W, padding=HUGE), ValueError, ["conv2d", "padding of at most 2147483648", str(HUGE)]),
    ("conv2d", dict(x=X, weight=W, dilation=HUGE), ValueError, ["conv2d", "dilation of at most 2147483648", str(HUGE)]),
    ("conv2d", dict(x=X, weight=W, dilation=2**31), ValueError, ["conv2d", "too large an extent"]),
    ("conv2d", dict(x=X, weight=W, padding=2**31), ValueError, ["conv2d", "too large"]),
    ("conv2d", dict(x=X, weight=W, stride=2**70),
     ValueError, ["conv2d", "stride as an integer of 64 bits", str(2**70)]),
    ("conv2d", dict(x=X, weight=W, groups=-(2**70)), ValueError, ["conv2d", "groups as an integer of 64 bits"]),
    ("max_pool2d", dict(x=X, kernel_size=HUGE), ValueError, ["max_pool2d", "kernel_size of at most", str(HUGE)]),
    ("avg_pool2d", dict(x=X, kernel_size=3, divisor_override=2**70),
     ValueError, ["avg_pool2d", "divisor_override", "64 bits"]),
    ("local_response_norm", dict(x=X, size=2**70),
     ValueError, ["local_response_norm", "size as an integer of 64 bits"]),
    ("softmax", dict(x=X, dim=2**70), ValueError, ["softmax", "dim as an integer of 64 bits"]),
    ("pixel_shuffle", dict(x=X, upscale_factor=HUGE), ValueError, ["pixel_shuffle", "from 1 to 65535", str(HUGE)]),
    ("adaptive_avg_pool2d", dict(x=X, output_size=HUGE),
     ValueError, ["adaptive_avg_pool2d", "output_size of at most", str(HUGE)]),
    ("upsample", dict(x=X, size=HUGE), ValueError, ["upsample", "size of at most", str(HUGE)]),
    ("upsample", dict(x=X, scale_factor=1e30), ValueError, ["upsample", "size of at most"]),
    ("max_unpool2d", dict(x=X, indices=INDICES, kernel_size=2, output_size=(HUGE, HUGE)),
     ValueError, ["max_unpool2d", "overflows 64 bits"]),
    ("pad", dict(x=X, padding=2**31 - 4), ValueError, ["pad", "too large"]),
]  # fmt: skip


def test_numbers_from_arrays_are_numbers():
    one, pair, flag = np.array(1), np.array([1, 1]), np.bool_(True)
    expected = tesela.conv2d(X, W, padding=1, stride=1)
    for padding in (one, np.int32(1), pair, np.array([[1, 1], [1, 1]]), [one, one]):
        np.testing.assert_array_equal(tesela.conv2d(X, W, padding=padding, stride=one), expected)
    y = tesela.max_pool2d(X, one, stride=pair, ceil_mode=flag)
    np.testing.assert_array_equal(y, tesela.max_pool2d(X, 1, stride=1, ceil_mode=True))


@pytest.mark.parametrize("op, operands, kind, words", REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refused(op, operands, kind, words):
    with pytest.raises((TypeError, ValueError, ArithmeticError, LookupError, AttributeError, MemoryError)) as caught:
        getattr(tesela, op)(**operands)
    one_sentence(caught.value, kind, words)
    assert str(caught.value).startswith(op)


# Sizes whose product does not fit: from the functions that know nothing but sizes.
OVERFLOWING = [
    ("conv2d_dims", ((2**31, 1, 2**31, 1), (2**31, 1, 1, 1), (1, 1), (0,) * 4, (1, 1), 1), "conv2d output"),
    ("conv2d_dims", ((1, 1, HUGE, 1), (1, 1, 1, 1), (1, 1), (0,) * 4, (1, 1), 1), "out of range"),
    ("conv2d_dims", ((1, -4, 8, 8), (6, -4, 3, 3), (1, 1), (0,) * 4, (1, 1), 1), "out of range"),
    ("conv_transpose2d_dims", ((1, 1, 2**31, 1), (1, 1, 1, 1), (2**31, 1), (0,) * 4, (0, 0), (1, 1), 1), "too large"),
    ("conv_transpose2d_dims", ((2**31, 1, 1, 1), (1, 2**31, 1, 2), (1, 2), (0,) * 4, (0, 0), (1, 1), 1), "output"),
    ("pool2d_dims", ("max_pool2d", (2**31, 2**31, 4, 4), (2, 2), (2, 2), (0,) * 4, (1, 1), False), "max_pool2d output"),
    ("max_unpool2d_dims", ((2**31, 2**31, 4, 4), (2, 2), (2, 2), (0,) * 4), "max_unpool2d output"),
    ("adaptive_pool2d_dims", ((2**31, 2**31, 4, 4), (2, 2)), "adaptive_avg_pool2d output"),
    ("gemm_dims", ((2**31, 1), (1, 2**31), False, False), "gemm output"),
    ("linear_dims", ((2**31, 1), (2**31, 1)), "linear output"),
    ("linear_dims", ((2, 3), (0, 3)), "linear"),
    ("broadcast_dims", ("add", (HUGE, 1), (1, HUGE)), "add output"),
    ("concat_dims", ([(2**62,), (2**62,)], 0), "concat"),
    ("pad2d_dims", ((2**31, 2**31, 1, 1), (1, 1, 1, 1), "constant"), "pad output"),
    ("upsample_dims", ((2**31, 2**31, 1, 1), (2, 2)), "upsample output"),
    ("flatten_dims", ((HUGE, HUGE), 0, 1), "flatten"),
    ("element_count", ((2**21,) * 3, "tensor"), "tensor"),
]  # fmt: skip


@pytest.mark.parametrize("function, arguments, words", OVERFLOWING, ids=lambda v: v if isinstance(v, str) else "")
def test_sizes_that_cannot_be(function, arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        getattr(_core, function)(*arguments)
    one_sentence(caught.value, ValueError, [])


def test_extremes_are_computed_where_they_need_no_memory():
    """Strides and dilations of 2^30 that reach one or two pixels: sizes fit, so the answer must."""
    x, w = np.ones((1, 16, 2, 2), np.float32), np.ones((1, 16, 2, 2), np.float32)
    y = tesela.conv2d(x[:, :, :1, :1].copy(), w, stride=2**30, padding=2**30)
    np.testing.assert_array_equal(y, [[[[0, 0], [0, 16]]]])
    y = tesela.conv2d(x, w, dilation=2**30, padding=2**29)
    assert y.shape == (1, 1, 2, 2) and (y == 0).all()
    y = tesela.max_pool2d(x, 2**20, padding=2**19, stride=2**18)
    assert y.shape == (1, 16, 1, 1) and (y == 1).all()


@pytest.mark.parametrize("stride", [2**20, 2**30, 2**31 - 2])
def test_extremes_of_few_channels(stride, python):
    """The same for the kernel that copies a band of rows; in a process of its own, which must survive."""
    script = f"""
import numpy as np, tesela
x, w = np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1, 2, 2), np.float32)
y = tesela.conv2d(x, w, stride={stride}, padding={stride})
assert y.shape == (1, 1, 2, 2) and y.ravel().tolist() == [0, 0, 0, 1], y
"""
    python(script)


# ------------------------------------------------------------------------------------------------------- networks


def graph() -> tuple[tesela.Graph, str]:
    g = tesela.Graph("tiny")
    return g, g.input("image", (3, 8, 8))


@functools.lru_cache
def network() -> tesela.Network:
    g, x = graph()
    x = g.relu("relu1", g.conv2d("conv1", x, 4, 3, padding=1))
    g.output(g.linear("fc", g.flatten("flat", x), 5))
    return tesela.Network(g)


def pool_with_indices(g: tesela.Graph, x: str) -> tuple[str, str]:
    return g.max_pool2d("pool", x, kernel_size=2, return_indices=True)


GRAPHS = [
    (lambda g, x: g.relu("image", x), ValueError, ["layer 'image'", "taken"]),
    (lambda g, x: g.relu("r", "nothing"), ValueError, ["layer 'r'", "unknown value 'nothing'", "image"]),
    (lambda g, x: g.conv2d("c", "nothing", 4, 3), ValueError, ["layer 'c'", "unknown value 'nothing'"]),
    (lambda g, x: g.apply("convolve", "c", x), ValueError, ["layer 'c'", "unknown operator 'convolve'"]),
    (lambda g, x: g.relu("r", x, x), TypeError, ["layer 'r'", "relu", "at most 1 inputs"]),
    (lambda g, x: g.relu("r"), TypeError, ["layer 'r'", "relu", "expected x"]),
    (lambda g, x: g.add("a", x), TypeError, ["layer 'a'", "add", "expected y"]),
    (lambda g, x: g.relu("r", [x, x]), TypeError, ["layer 'r'", "relu", "x as one value"]),
    (lambda g, x: g.concat("c", x), TypeError, ["layer 'c'", "concat", "a list of values", "'image'"]),
    (lambda g, x: g.concat("c", []), ValueError, ["layer 'c'", "concat", "at least one tensor"]),
    (lambda g, x: g.conv2d("c", x, 4, "3"), TypeError, ["layer 'c'", "conv2d", "kernel_size", "'3'"]),
    (lambda g, x: g.conv2d("c", x, 4.0, 3), TypeError, ["layer 'c'", "conv2d", "out_channels", "4.0"]),
    (lambda g, x: g.conv2d("c", x, 0, 3), ValueError, ["layer 'c'", "conv2d", "at least one channel"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, groups=0), ValueError, ["layer 'c'", "conv2d", "groups of at least 1"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, groups=2), ValueError, ["layer 'c'", "conv2d", "3 channels, 2 groups"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, groups="a"), TypeError, ["layer 'c'", "conv2d", "groups", "'a'"]),
    (lambda g, x: g.conv2d("c", x, 4, 9), ValueError, ["layer 'c'", "conv2d", "0 x 0", "(1, 3, 8, 8)"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, stride=0), ValueError, ["layer 'c'", "conv2d", "stride of at least 1"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, activation="swish"), ValueError, ["layer 'c'", "conv2d", "'swish'"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, padding="full"), ValueError, ["layer 'c'", "conv2d", "'full'"]),
    (lambda g, x: g.conv_transpose2d("c", x, 4, 3, stride=0), ValueError, ["layer 'c'", "conv_transpose2d", "stride"]),
    (lambda g, x: g.conv_transpose2d("c", x, 4, 3, groups=3),
     ValueError, ["layer 'c'", "conv_transpose2d", "output channels"]),
    (lambda g, x: g.linear("l", x, 0), ValueError, ["layer 'l'", "linear", "at least one"]),
    (lambda g, x: g.linear("l", x, "5"), TypeError, ["layer 'l'", "linear", "out_features", "'5'"]),
    (lambda g, x: g.max_pool2d("p", x, kernel_size=9), ValueError, ["layer 'p'", "max_pool2d", "0 x 0"]),
    (lambda g, x: g.add("a", x, g.conv2d("c", x, 4, 1)), ValueError, ["layer 'a'", "add", "broadcast"]),
    (lambda g, x: g.softmax("s", x, dim=9), ValueError, ["layer 's'", "softmax", "dim 9"]),
    (lambda g, x: g.output("nothing"), ValueError, ["unknown value 'nothing'"]),
    (lambda g, x: tesela.Network(g), ValueError, ["tiny", "no output"]),
    (lambda g, x: g.input("y", (3, 0, 4)), ValueError, ["input 'y'", "at least 1", "(3, 0, 4)"]),
    (lambda g, x: g.input("y", (-3, 4)), ValueError, ["input 'y'", "at least 1", "(-3, 4)"]),
    (lambda g, x: g.input("y", 3), TypeError, ["input 'y'", "sequence of integers", "3"]),
    (lambda g, x: g.input("y", (3.0, 4)), TypeError, ["input 'y'", "3.0"]),
    (lambda g, x: g.input("y", (HUGE, HUGE)), ValueError, ["input 'y'", "overflows 64 bits"]),
    # positions are no numbers, and numbers no positions: their elements are of different sizes
    (lambda g, x: g.relu("r", pool_with_indices(g, x)[1]), TypeError, ["layer 'r'", "relu", "'pool:1'"]),
    (lambda g, x: g.conv2d("c", pool_with_indices(g, x)[1], 4, 1), TypeError, ["layer 'c'", "conv2d", "'pool:1'"]),
    (lambda g, x: g.concat("c", list(pool_with_indices(g, x))), TypeError, ["layer 'c'", "concat", "'pool:1'"]),
    (lambda g, x: g.add("a", *pool_with_indices(g, x)), TypeError, ["layer 'a'", "add", "'pool:1'"]),
    (lambda g, x: g.relu(x), ValueError, ["layer 'image'", "the name is taken", "comes before its inputs"]),
    (lambda g, x: g.conv2d("c", x, 4, 3, pad=1), TypeError, ["layer 'c'", "keywords among stride, padding", "'pad'"]),
    (lambda g, x: g.elu("e", x, beta=1), TypeError, ["layer 'e'", "elu", "alpha", "'beta'"]),
    (lambda g, x: g.relu("r", x, alpha=1), TypeError, ["layer 'r'", "relu", "no keywords", "'alpha'"]),
    (lambda g, x: g.max_pool2d("p", x, 2), TypeError, ["layer 'p'", "max_pool2d", "kernel_size", "by name", "2"]),
    (lambda g, x: g.max_unpool2d("u", x, x, kernel_size=2),
     TypeError, ["layer 'u'", "max_unpool2d", "indices", "'image'"]),
]  # fmt: skip


@pytest.mark.parametrize("build, kind, words", GRAPHS, ids=[" ".join(words) for _, _, words in GRAPHS])
def test_graph_refuses(build, kind, words):
    with pytest.raises((TypeError, ValueError, ArithmeticError, LookupError)) as caught:
        build(*graph())
    one_sentence(caught.value, kind, words)


def test_a_refused_layer_leaves_no_name_behind():
    g, x = graph()
    with pytest.raises(ValueError, match="layer 'r'"):
        g.relu("r", "nothing")
    g.output(g.relu("r", x))
    assert [node.name for node in g.nodes] == ["r"]


@pytest.mark.parametrize("op", sorted(TABLE))
def test_operators_name_their_keywords(op):
    """Those of its function, but for the operands."""
    given = inspect.signature(getattr(reference, op)).parameters
    operands = {*(tensor.rstrip("*") for tensor in TABLE[op].tensors), *TABLE[op].parameters}
    assert set(TABLE[op].keywords()) == set(given) - operands


def test_a_network_has_a_graph_of_its_own():
    g, x = graph()
    a = g.relu("a", x)
    g.output(a)
    net, x = tesela.Network(g), zeros(1, *g.inputs[x])
    net(x)
    g.output(g.conv2d("c", a, 4, 3))
    assert net(x).shape == net(np.concatenate([x, x]))[:1].shape == x.shape
    assert net.compile() and net.graph.outputs == ["a"] and not net.graph.parameters
    other = tesela.Network(g)
    assert other.graph.nodes == g.nodes and other.graph.nodes is not g.nodes and other(x).shape != x.shape


IMAGE = zeros(1, 3, 8, 8)

NETWORKS = [
    (lambda n: n([1.0]), TypeError, ["tiny", "image as a NumPy array", "list"]),
    (lambda n: n(), ValueError, ["tiny", "expected 1 inputs", "0"]),
    (lambda n: n(IMAGE, IMAGE), ValueError, ["tiny", "expected 1 inputs", "2"]),
    (lambda n: n(IMAGE.astype(float)), TypeError, ["tiny", "image of dtype float32", "float64"]),
    (lambda n: n(IMAGE.astype(np.uint8)), TypeError, ["tiny", "image of dtype float32", "uint8"]),
    (lambda n: n(IMAGE[0]), ValueError, ["tiny", "image of shape (N, 3, 8, 8)", "(3, 8, 8)"]),
    (lambda n: n(zeros(1, 1, 8, 8)), ValueError, ["tiny", "image of shape (N, 3, 8, 8)", "(1, 1, 8, 8)"]),
    (lambda n: n(zeros(1, 3, 9, 9)), ValueError, ["tiny", "image of shape (1, 3, 9, 9) does not fit", "(N, 3, 8, 8)",
                                                  "layer 'fc'", "takes 256 features", "324"]),
    (lambda n: n(zeros(0, 3, 8, 8)), ValueError, ["tiny", "at least one element", "(0, 3, 8, 8)"]),
    (lambda n: n(IMAGE.transpose(0, 1, 3, 2)), ValueError, ["tiny", "C-contiguous"]),
    (lambda n: n.extract(IMAGE, ["fc7"]), ValueError, ["tiny", "unknown layer 'fc7'", "fc"]),
    (lambda n: n.extract(IMAGE, "fc"), TypeError, ["tiny", "list of layers", "'fc'"]),
    (lambda n: n.extract(IMAGE, None), TypeError, ["tiny", "list of layers", "None"]),
    (lambda n: n.extract(IMAGE), TypeError, ["tiny", "list of layers", "None"]),
    (lambda n: n.extract(IMAGE, IMAGE, ["fc"]), ValueError, ["tiny", "expected 1 inputs", "2"]),
    (lambda n: n.reference(), ValueError, ["tiny", "expected 1 inputs", "0"]),
    (lambda n: n.reference(IMAGE, outputs=["fc7"]), ValueError, ["tiny", "unknown layer 'fc7'", "fc"]),
    (lambda n: n.profile(IMAGE, IMAGE), ValueError, ["tiny", "expected 1 inputs", "2"]),
    (lambda n: n.profile(IMAGE, repeats=0), ValueError, ["profile", "repeats of at least 1", "0"]),
    (lambda n: n.profile(IMAGE, repeats=2.0), TypeError, ["profile", "repeats as an integer", "2.0"]),
    (lambda n: n.compile().profile(IMAGE, repeats=-5), ValueError, ["profile", "repeats of at least 1", "-5"]),
    (lambda n: n.compile().seconds(IMAGE, repeats=0), ValueError, ["seconds", "repeats of at least 1", "0"]),
    (lambda n: n.profile(IMAGE, accuracy="best"), ValueError, ["accuracy", "'strict'", "'best'"]),
    (lambda n: n.extract(IMAGE, [1]), ValueError, ["tiny", "unknown layer 1"]),
    (lambda n: n.compile(batch=0), ValueError, ["compile", "batch", "at least 1", "0"]),
    (lambda n: n.compile(batch=1.5), TypeError, ["compile", "batch as an integer", "1.5"]),
    (lambda n: n.compile(batch=True), TypeError, ["compile", "batch as an integer", "True"]),
    (lambda n: n.compile(batch="3"), TypeError, ["compile", "batch as an integer", "'3'"]),
    (lambda n: n.compile(batch=2**62), ValueError, ["layer 'conv1'", "out of range", str(2**62)]),
    (lambda n: n.compile(threads=0), ValueError, ["compile", "threads", "0"]),
    (lambda n: n.compile(threads=-1), ValueError, ["compile", "threads", "-1"]),
    (lambda n: n.compile(threads=1.5), TypeError, ["compile", "threads as an integer", "1.5"]),
    (lambda n: n.compile(threads="2"), TypeError, ["compile", "threads as an integer", "'2'"]),
    (lambda n: n.compile(threads=HUGE), ValueError, ["compile", "threads", str(HUGE)]),
    (lambda n: n.compile(precision="int4"), ValueError, ["compile", "precision", "'float32'", "'int4'"]),
    (lambda n: n.compile(precision="tf32"), ValueError, ["precision", "'float32'", "device 'cpu'", "'tf32'"]),
    (lambda n: n.compile(precision="bfloat16", accuracy="strict"), ValueError, ["precision", "'strict'", "'bfloat16'"]),
    (lambda n: n.compile(accuracy="best"), ValueError, ["compile", "accuracy", "'strict'", "'best'"]),
    (lambda n: n.compile(device="tpu"), ValueError, ["compile", "device", "'cpu'", "'tpu'"]),
    (lambda n: n.compile(image_size=(8.0, 8)), TypeError, ["compile", "image_size", "8.0"]),
    (lambda n: n.compile(image_size=(1, 2, 3)), ValueError, ["compile", "image_size", "(1, 2, 3)"]),
    (lambda n: n.compile(image_size=(9, 9)), ValueError, ["tiny", "(1, 3, 9, 9)", "layer 'fc'", "takes 256 features"]),
    (lambda n: n.compile(image_size=0), ValueError, ["layer 'conv1'", "0 x 0"]),
    (lambda n: n.compile(outputs=["fc7"]), ValueError, ["compile", "outputs", "'fc7'"]),
    (lambda n: n.compile(outputs=[]), ValueError, ["compile", "outputs", "[]"]),
    (lambda n: n.compile(outputs="fc"), ValueError, ["compile", "outputs", "'fc'"]),
    (lambda n: n.compile(outputs=["fc", "fc"]), ValueError, ["compile", "different layers", "'fc'"]),
    (lambda n: n.compile()(zeros(2, 3, 8, 8)), ValueError, ["tiny", "image of shape (1, 3, 8, 8)", "(2, 3, 8, 8)"]),
    (lambda n: n(IMAGE, out=zeros(1, 4)), ValueError, ["tiny", "out (fc) of shape (1, 5)", "(1, 4)"]),
    (lambda n: n(IMAGE, out=zeros(1, 5, dtype=float)), TypeError, ["tiny", "out (fc)", "float32", "float64"]),
    (lambda n: n(IMAGE, out=[[0.0] * 5]), TypeError, ["tiny", "out (fc) as a NumPy array", "list"]),
    (lambda n: n(IMAGE, out=5), TypeError, ["tiny", "out (fc) as a NumPy array", "int"]),
    (lambda n: n(IMAGE, out=zeros(1, 10)[:, ::2]), ValueError, ["tiny", "out (fc) to be C-contiguous"]),
    (lambda n: n(IMAGE, out=(zeros(1, 5), zeros(1, 5))), ValueError, ["tiny", "expected 1 arrays in out", "2"]),
    (lambda n: n(IMAGE, out=np.broadcast_to(np.float32(0), (1, 5))), ValueError, ["tiny", "out (fc)"]),
]  # fmt: skip


@pytest.mark.parametrize("use, kind, words", NETWORKS, ids=[" ".join(words) for _, _, words in NETWORKS])
def test_network_refuses(use, kind, words):
    with pytest.raises((TypeError, ValueError, ArithmeticError, LookupError, AttributeError)) as caught:
        use(network())
    one_sentence(caught.value, kind, words)


def test_results_have_memory_of_their_own():
    run = network().compile(outputs=["fc", "relu1"])
    memory = zeros(600)
    image, fc, relu1 = (
        memory[:192].reshape(1, 3, 8, 8),
        memory[200:205].reshape(1, 5),
        memory[300:556].reshape(1, 4, 8, 8),
    )
    run(image, out=[fc, relu1])
    for outs in ([memory[190:195].reshape(1, 5), relu1], [memory[555:560].reshape(1, 5), relu1]):
        with pytest.raises(ValueError) as caught:
            run(image, out=outs)
        one_sentence(caught.value, ValueError, ["tiny", "memory of its own"])
    fc.flags.writeable = False
    with pytest.raises(ValueError) as caught:
        run(image, out=[fc, relu1])
    one_sentence(caught.value, ValueError, ["tiny", "out (fc) to be writable", "read-only"])


def test_max_unpool2d_in_a_network_names_the_bad_index():
    g, x = graph()
    small, indices = pool_with_indices(g, x)
    g.output(g.max_unpool2d("unpool", small, indices, kernel_size=2, stride=1))  # a plane too small for them
    with pytest.raises(ValueError) as caught:
        tesela.Network(g)(np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32))
    one_sentence(caught.value, ValueError, ["max_unpool2d", "outside the 5 x 5 output plane"])


@pytest.mark.skipif("cuda" in tesela.show_runtime()["devices"], reason="this machine has a CUDA device")
def test_cuda_is_never_replaced_by_something_else():
    assert issubclass(tesela.DeviceError, RuntimeError)
    with pytest.raises(tesela.DeviceError) as caught:
        network().compile(device="cuda")
    one_sentence(caught.value, tesela.DeviceError, ["device 'cuda'"])
    assert network().compile(device="auto").device == "cpu"


RUNTIME = [
    (lambda: tesela.set_num_threads(-1), ValueError, ["set_num_threads", "-1"]),
    (lambda: tesela.set_num_threads(1.0), TypeError, ["set_num_threads", "1.0"]),
    (lambda: tesela.set_num_threads(HUGE), ValueError, ["set_num_threads", str(HUGE)]),
    (lambda: tesela.max_isa("sse9").__enter__(), ValueError, ["max_isa", "'avx2'", "'sse9'"]),
    (lambda: tesela.max_isa(5).__enter__(), TypeError, ["max_isa", "5"]),
]


@pytest.mark.parametrize("use, kind, words", RUNTIME, ids=[" ".join(words) for _, _, words in RUNTIME])
def test_runtime_refuses(use, kind, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        use()
    one_sentence(caught.value, kind, words)


def test_image_size_is_for_images():
    """(C, H, W) of a batch: not what is given whole, nor rows."""
    g = tesela.Graph("mixed")
    scale = g.input("scale", (4, 1, 1), batched=False)
    x = g.mul("scaled", g.input("image", (4, 6, 6)), scale)
    g.output(g.add("sum", g.global_avg_pool2d("pool", x), g.reshape("row", g.input("code", (4,)), shape=(-1, 4, 1, 1))))
    run = tesela.Network(g).compile(2, image_size=(3, 5))
    assert run.input_dims == {"scale": (4, 1, 1), "image": (2, 4, 3, 5), "code": (2, 4)}
    g = tesela.Graph("rows")
    g.output(g.relu("y", g.input("x", (4,))))
    with pytest.raises(ValueError) as caught:
        tesela.Network(g).compile(image_size=5)
    one_sentence(caught.value, ValueError, ["rows", "no image_size", "(N, C, H, W)"])


def test_several_inputs():
    """What takes one array takes as many as the network does."""
    g = tesela.Graph("pair")
    g.output(g.add("sum", g.relu("left", g.input("a", (2, 3, 3))), g.relu("right", g.input("b", (2, 3, 3)))))
    net = tesela.Network(g)
    a, b = np.random.default_rng(0).standard_normal((2, 1, 2, 3, 3), np.float32)
    for features in (net.extract(a, b, ["right", "sum"]), net.extract(a, b, names=["right", "sum"])):
        np.testing.assert_array_equal(features["right"], np.maximum(b, 0))
        np.testing.assert_array_equal(features["sum"], net(a, b))
    profile = net.profile(a, b, repeats=1, accuracy="strict", weight_storage="bfloat16", device="cpu")
    assert "sum" in str(profile)
    with pytest.raises(ValueError, match="pair: expected 2 inputs, got 1"):
        net.reference(a)


def test_refused_layer_leaves_nothing_behind():
    g, x = graph()
    with pytest.raises(ValueError, match="layer 'bad'"):
        g.conv2d("bad", x, 4, 99)
    assert not g.parameters and not g.nodes
