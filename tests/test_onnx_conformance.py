"""The standard's own suite, run through tesela.onnx.backend.

onnx_passing.txt lists the cases that pass; all others are skipped, and REASONS says why, first match first. A case that
is in neither fails the collection of this file.
"""

import os
import re
import tempfile
import warnings
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("PIL", reason="the suite draws its images with Pillow")
_home = tempfile.TemporaryDirectory(prefix="tesela-onnx-")  # where the suite unpacks its models, until the process ends
os.environ.setdefault("ONNX_HOME", _home.name)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the suite's own making, when it computes what it expects
    import onnx.backend.test
    from tesela.onnx.backend import TeselaBackend

    SUITE = onnx.backend.test.BackendTest(TeselaBackend, __name__)

NOT_YET = "a convolutional network may have it, but the operator is not there yet"
REASONS = {
    r"_cuda$": "the backend runs on the CPU",
    r"attention|rotary|swiglu|causal_conv_with_state|tensorscatter": "of transformers",
    r"gru|lstm|rnn|reversesequence": "of recurrent networks",
    r"string|strnorm|regex|tfidf|ai_onnx_ml": "strings and decision trees",
    r"loop|scan|seq|optional|if_opt|identity_opt|range_.*_expanded": "loops, sequences and optional values are refused",
    r"training|adagrad|adam|momentum|gradient|nllloss|sce_|bernoulli": "inference only",
    r"FLOAT[48]|U?INT[24](_|$)|e4m3|e5m2|e2m1|_u?int[24]_": "numbers of fewer than 8 bits, or 8 bits of floating point",
    r"(averagepool|convtranspose|lppool|maxpool|affine_grid)_3d|volumetric|col2im_5d|(Conv|Pool)3d": "no volumes",
    r"u?int16|uint32|uint64|_ui64_|_i16_|bitwise_not_3d": "integers are int8, uint8, int32 or int64",
    r"unique|nonzero|compress": "the size of the result is known only when the network has run",
    r"dft|stft|window|melweight": "signals; tesela.audio makes spectrograms",
    r"image_decoder": "tesela.image opens pictures",
    r"bitshift|bitcast|cumprod|det_|einsum|eyelike": "no convolutional network needs it",
    r"gridsample|affine_grid|deform_conv|col2im|cumsum": NOT_YET,
    r"qlinear|integer|dynamicquantize|quantizelinear_blocked|dequantizelinear_blocked": NOT_YET,
    r"scatter.*(add|mul|max|min|duplicate)": "scattering adds nothing up: the last of several at one place counts",
    r"zero|empty|start_greater_than_end|allowzero_reordered": "a result without elements",
    r"maxunpool_export_with_output_shape": "places count in output_shape, as in PyTorch and ONNX Runtime",
    r"operator_add_|addconstant": "doubles beyond the range of float32, in which all is computed",
    r"test_not_": "written for an opset below 6",
}
PASSING = set((Path(__file__).parent / "onnx_passing.txt").read_text().split())
NAMES = [name for items in SUITE._test_items.values() for name in items]

for _name in NAMES:
    if _name not in PASSING:
        _reason = next(reason for pattern, reason in REASONS.items() if re.search(pattern, _name))
        for _items in SUITE._test_items.values():
            if _name in _items:
                _items[_name].func = pytest.mark.skip(reason=_reason)(_items[_name].func)
globals().update(SUITE.test_cases)


def test_the_list_names_cases_of_the_suite():
    assert not PASSING - set(NAMES)
    assert len(PASSING) >= 1100


def test_the_table_of_the_documentation_is_up_to_date():
    import onnx_support

    assert onnx_support.written(onnx_support.DOCUMENT.read_text()) == onnx_support.DOCUMENT.read_text()
