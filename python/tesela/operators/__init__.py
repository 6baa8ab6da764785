"""The table of operators: for each, its attributes, the sizes of its result, and its lowering to planned steps.

An operator's meaning is the function of the same name in reference/. Operands are told apart by name: those listed
in `tensors` are computed by other nodes or given by the caller, those in `parameters` are constants known when a
program is planned. Attributes are kept in one canonical form (arguments.py), which both `reference` and the functions
here take.

Adding an operator: a function in the reference, a class in the same family here, kernels behind Backend, cases in
tests/cases.py.
"""

from . import (
    activation,
    arithmetic,
    array,
    convolution,
    detection,
    layout,
    map,
    matrix,
    normalization,
    pooling,
    reduce,
    statistics,
)
from .activation import Activation
from .normalization import BatchNorm
from .table import ANY, FLOAT, TABLE, Dims, Operator
