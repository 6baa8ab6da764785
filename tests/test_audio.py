"""Log-mel spectrograms against PyTorch's short-time Fourier transform and a mel scale written out."""

import math

import numpy as np
import pytest
import tesela as ts
from tesela import audio


def mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)  # O'Shaughnessy's form of the same scale


def hertz(m):
    return 700 * (10 ** (m / 2595) - 1)


@pytest.mark.parametrize("transform", [
    audio.VGGISH,
    audio.LogMel(rate=8000, window=200, hop=80, bands=20, high=3800.0, frames=7),
    audio.LogMel(window=300, hop=300, fft=1000, bands=10, frames=None),
])  # fmt: skip
def test_agrees_with_pytorch(transform, rng, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(audio, "BLOCK", 37)
    t = transform
    wave = rng.uniform(-1, 1, 40_000)
    length = t.fft or (512 if t.window == 400 else 256)
    hann = torch.hann_window(t.window, periodic=True, dtype=torch.float64)
    frames = torch.from_numpy(wave).unfold(0, t.window, t.hop) * hann
    magnitude = torch.fft.rfft(frames, length).abs().numpy()

    step = (mel(t.high) - mel(t.low)) / (t.bands + 1)
    triangles = np.zeros((length // 2 + 1, t.bands))
    for i in range(1, length // 2 + 1):
        for band in range(t.bands):
            centre = mel(t.low) + (band + 1) * step
            triangles[i, band] = max(0, 1 - abs(mel(i * t.rate / length) - centre) / step)
    expected = np.log(magnitude @ triangles + t.offset)
    size = t.frames or len(expected)
    expected = expected[: len(expected) // size * size].reshape(-1, 1, size, t.bands)

    actual = t(wave)
    assert actual.shape == expected.shape and actual.dtype == np.float32 and actual.flags.c_contiguous
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)  # the scale's constants have five digits


@pytest.mark.parametrize("band", [3, 20, 63])
def test_a_tone_is_heard_in_its_band(band):
    step = (mel(7500) - mel(125)) / 65
    wave = np.sin(2 * np.pi * hertz(mel(125) + (band + 1) * step) * np.arange(16_000) / 16_000)
    x = audio.VGGISH(wave)
    assert x.shape == (1, 1, 96, 64)
    assert np.abs(x[0, 0].argmax(axis=1) - band).max() <= (1 if band < 10 else 0)  # low bands are narrower than a bin


def test_integers_are_scaled(rng):
    wave = rng.integers(-32768, 32768, 16_000, dtype=np.int16)
    np.testing.assert_array_equal(audio.VGGISH(wave), audio.VGGISH(wave / 32768))


def test_what_fills_no_spectrogram_is_left_out(rng):
    wave = rng.uniform(-1, 1, 400 + 191 * 160).astype(np.float32)
    assert audio.VGGISH(wave).shape == (2, 1, 96, 64)
    assert audio.VGGISH(wave[:-1]).shape == (1, 1, 96, 64)


def test_silence():
    np.testing.assert_allclose(audio.VGGISH(np.zeros(16_000)), math.log(0.01), rtol=1e-6)


def test_networks_take_it(rng):
    embeddings = ts.models.vggish()(audio.VGGISH(rng.uniform(-1, 1, 32_000)))
    assert embeddings.shape == (2, 128) and np.isfinite(embeddings).all()


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: audio.VGGISH([0.0] * 16_000), TypeError, "NumPy array of floats or int16, got list"),
    (lambda: audio.VGGISH(np.zeros(16_000, np.uint8)), TypeError, "got uint8"),
    (lambda: audio.VGGISH(np.zeros((16_000, 2))), ValueError, r"one channel .* got \(16000, 2\)"),
    (lambda: audio.VGGISH(np.zeros(15_599)), ValueError, r"at least 15600 samples, shape \(T,\), got \(15599,\)"),
    (lambda: audio.VGGISH(np.full(16_000, np.nan)), ValueError, "finite"),
    (lambda: audio.LogMel(hop=0), ValueError, "hop as an integer above 0, got 0"),
    (lambda: audio.LogMel(window=0.025), ValueError, "window as an integer above 0, got 0.025"),
    (lambda: audio.LogMel(offset=0.0), ValueError, "offset as a number above 0"),
    (lambda: audio.LogMel(fft=256), ValueError, "fft of at least window, 400, got 256"),
    (lambda: audio.LogMel(rate=8000), ValueError, r"at most half the rate, 4000\.0, got 125\.0 and 7500\.0"),
])  # fmt: skip
def test_refusals_are_sentences(call, error, words):
    with pytest.raises(error, match=words):
        call()
