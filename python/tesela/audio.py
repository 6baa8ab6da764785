"""Sound as networks take it: waveforms as they are, or as log-mel spectrograms, which look like pictures.

    x = ts.audio.VGGISH(waveform)                   # 16 kHz, one channel -> (N, 1, 96, 64), 0.96 s each
    embeddings = ts.models.vggish()(x)
    short = ts.audio.LogMel(rate=8000, window=200, hop=80, high=3800, frames=50)

Files are read and resampled by other libraries: soundfile.read gives the waveform, soxr.resample another rate.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

BLOCK = 1 << 12  # frames at once: a day of sound fits in memory, its spectrum does not


@dataclass(frozen=True)
class LogMel:
    """From a waveform to spectrograms: frames of `window` samples, every `hop`, of which bands are heard.

    rate       samples a second
    window     samples of a frame, under a periodic Hann window; hop of them from one frame to the next
    fft        length of the Fourier transform, at least window; None is the next power of two
    bands      triangles, evenly spaced in mel from low to high (Hz): mel(f) = 1127 ln(1 + f / 700)
    offset     added to the sums of magnitudes before the logarithm
    frames     of one spectrogram; None gives one spectrogram of all
    """

    rate: int = 16000
    window: int = 400
    hop: int = 160
    fft: int | None = None
    bands: int = 64
    low: float = 125.0
    high: float = 7500.0
    offset: float = 0.01
    frames: int | None = 96

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in ("fft", "frames"):
                continue
            kind, words = (int, "an integer") if "int" in str(field.type) else ((int, float), "a number")
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < 1 << 24:
                raise ValueError(f"audio: expected {field.name} as {words} above 0, got {value!r}")
        if self.fft is not None and self.fft < self.window:
            raise ValueError(f"audio: expected fft of at least window, {self.window}, got {self.fft}")
        if not self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"audio: expected low below high, and high at most half the rate, {self.rate / 2}, "
                f"got {self.low} and {self.high}"
            )

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """(T,) float in -1..1 or int16 -> (N, 1, frames, bands) float32; a rest that fills no spectrogram is left out.

        Computed in float64. Sources: Hershey et al. 2017, and its code, vggish/mel_features.py.
        """
        waveform = self._checked(waveform)
        windows = np.lib.stride_tricks.sliding_window_view(waveform, self.window)[:: self.hop]
        size = self.frames or len(windows)
        windows = windows[: len(windows) // size * size]
        result = np.empty((len(windows), self.bands), np.float32)
        for i in range(0, len(windows), BLOCK):
            spectrum = np.fft.rfft(windows[i : i + BLOCK] * self._hann, self._length)
            result[i : i + BLOCK] = np.log(np.abs(spectrum) @ self.weights + self.offset)
        return result.reshape(-1, 1, size, self.bands)

    @cached_property
    def weights(self) -> np.ndarray:
        """(bins, bands): how much each bin of the Fourier transform counts in a band; bin 0, the mean, in none."""
        edges = np.linspace(_mel(self.low), _mel(self.high), self.bands + 2)
        bins = _mel(np.arange(self._length // 2 + 1) * (self.rate / self._length))[:, None]
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        weights = np.maximum(0, np.minimum(rising, falling))
        weights[0] = 0
        return weights

    @property
    def _length(self) -> int:
        return self.fft or 1 << (self.window - 1).bit_length()

    @property
    def _hann(self) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi / self.window * np.arange(self.window))

    def _checked(self, waveform: np.ndarray) -> np.ndarray:
        if not isinstance(waveform, np.ndarray) or (waveform.dtype.kind != "f" and waveform.dtype != np.int16):
            kind = waveform.dtype if isinstance(waveform, np.ndarray) else type(waveform).__name__
            raise TypeError(f"audio: expected a waveform as a NumPy array of floats or int16, got {kind}")
        least = self.window + ((self.frames or 1) - 1) * self.hop
        if waveform.ndim != 1 or len(waveform) < least:
            raise ValueError(
                f"audio: expected one channel of at least {least} samples, shape (T,), got {waveform.shape}"
            )
        if waveform.dtype == np.int16:
            return waveform / 32768.0
        if not np.isfinite(waveform).all():
            raise ValueError("audio: expected finite values, got NaN or infinity")
        return waveform.astype(np.float64, copy=False)


def _mel(hertz):
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


VGGISH = LogMel()
