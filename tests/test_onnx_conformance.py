"""The standard's own suite, run through tesela.onnx.backend.

onnx_passing.txt lists the cases that pass; all others are skipped. REASONS says why, first match first; what it does
not name needs an operator that is not there yet.
"""

import os
import re
import tempfile
import warnings
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("PIL", reason="the suite draws its images with Pillow")
os.environ.setdefault("ONNX_HOME", tempfile.mkdtemp(prefix="tesela-onnx-"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the suite's own making, when it computes what it expects
    import onnx.backend.test
    from tesela.onnx.backend import TeselaBackend

    SUITE = onnx.backend.test.BackendTest(TeselaBackend, __name__)

REASONS = {
    r"_cuda$": "the backend runs on the CPU",
    r"3d": "volumes are not supported",
    r"training": "inference only",
    r"attention|gru|lstm|rnn|string|sequence|optional|loop|scan": "no convolutional network needs it",
    r"operator_add_|addconstant": "doubles beyond the range of float32, in which all is computed",
    r"": "needs an operator that is not there yet",
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
    if onnx.__version__ >= "1.23":
        assert not PASSING - set(NAMES)
    assert len(PASSING) >= 600


def test_the_table_of_the_documentation_is_up_to_date():
    if onnx.__version__ < "1.23":
        pytest.skip("the table was written with another version of onnx")
    import onnx_support

    assert onnx_support.written(onnx_support.DOCUMENT.read_text()) == onnx_support.DOCUMENT.read_text()
