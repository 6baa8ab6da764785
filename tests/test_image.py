"""Pictures: every mode and orientation to the same array, sizes as in torchvision, refusals in sentences."""

import io
import sys

import numpy as np
import pytest
from PIL import Image
from tesela import image

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)  # height 40, width 60


def to_pixels(x):
    """(1, 3, H, W) in 0..1 -> (H, W, 3) in 0..255"""
    return np.rint(x[0].transpose(1, 2, 0) * 255).astype(np.uint8)


def encoded(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------------- values


def test_result_is_what_a_network_takes():
    x = image.load(RGB)
    assert x.shape == (1, 3, 40, 60) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_array_equal(to_pixels(x), RGB)


def test_sources_agree(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    for source in (tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(RGB)):
        np.testing.assert_array_equal(image.load(source), image.load(RGB))


def test_scale_mean_and_std_follow_the_order_of_channels():
    mean, std = (104.0, 117.0, 123.0), (1.0, 2.0, 4.0)
    x = image.load(RGB, scale=1, mean=mean, std=std, channels="BGR")
    expected = (RGB[:, :, ::-1].astype(np.float32) - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(x[0], expected.transpose(2, 0, 1))


def test_imagenet():
    x = image.IMAGENET(np.full((300, 400, 3), 255, np.uint8))
    assert x.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(
        x[0, :, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-6
    )


# -------------------------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_any_mode(mode):
    picture = Image.fromarray(RGB).convert("L").convert("P") if mode == "PA" else Image.fromarray(RGB)
    picture = picture.convert(mode) if mode != "LAB" else Image.new("LAB", (60, 40), (128, 128, 128))
    assert picture.mode == mode
    x = image.load(picture)
    assert x.shape == (1, 3, 40, 60)
    if mode in ("RGB", "RGBA", "RGBX", "CMYK"):
        np.testing.assert_array_equal(to_pixels(x), RGB)
    if mode in ("1", "L", "LA"):
        np.testing.assert_array_equal(x[:, :1], x[:, 1:2])
        np.testing.assert_array_equal(to_pixels(x)[:, :, 0], np.asarray(picture.convert("L")))


def test_palette_with_transparency():
    picture = Image.fromarray(RGB).quantize(16)
    x = image.load(Image.open(io.BytesIO(encoded(picture, format="PNG", transparency=bytes([0, 128, 255])))))
    np.testing.assert_array_equal(to_pixels(x), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    picture = Image.open(io.BytesIO(encoded(Image.fromarray(values), format=format)))
    assert picture.mode.startswith("I")
    np.testing.assert_array_equal(to_pixels(image.load(picture))[0, :, 1], [0, 0, 1, 1, 128, 255])
    np.testing.assert_array_equal(image.load(values), image.load(picture))


def test_arrays():
    for array in (RGB[:, :, 0], RGB[:, :, :1], np.dstack([RGB, RGB[:, :, 0]]), RGB.astype(np.uint16) * 257):
        assert image.load(array).shape == (1, 3, 40, 60)
    np.testing.assert_array_equal(image.load(RGB.astype(np.uint16) * 257), image.load(RGB))
    np.testing.assert_array_equal(image.load(RGB[::2, ::-1]), image.load(RGB[::2, ::-1].copy()))


# ---------------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, tmp_path):
    # What each value of the tag says must be done to the stored pixels; EXIF 2.3, tag 0x0112.
    upright = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1], 8: lambda a: a.transpose(1, 0, 2)[::-1],
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(to_pixels(image.load(tmp_path / "turned.png")), upright[orientation](RGB))


@pytest.mark.parametrize(("height", "width", "expected"), [(40, 60, (20, 30)), (60, 40, (30, 20)), (40, 61, (20, 30))])
def test_resize_sets_the_shorter_side(height, width, expected):
    x = image.load(np.zeros((height, width), np.uint8), resize=20)
    assert x.shape[2:] == expected


def test_resize_is_antialiased():
    # Columns of 0 and 255 in turn: a filter without antialiasing keeps some of them, a wide one sees their mean.
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    inner = image.load(stripes, resize=8)[..., 1:-1]
    assert abs(inner - 0.5).max() < 0.02


def test_crop_is_central():
    x = image.load(RGB, crop=(20, 31))
    np.testing.assert_array_equal(to_pixels(x), RGB[10:30, 14:45])


def test_size_resizes_and_crops():
    assert image.load(RGB, 32).shape == (1, 3, 32, 32)
    assert image.load(RGB, (24, 48)).shape == (1, 3, 24, 48)
    assert image.load(RGB.transpose(1, 0, 2), (24, 48)).shape == (1, 3, 24, 48)
    np.testing.assert_array_equal(image.load(RGB, 32, resize=36), image.Transform(resize=36, crop=32)(RGB))


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_truncation_is_refused_or_read(format, tmp_path):
    data = encoded(Image.fromarray(RGB), format=format)
    path = tmp_path / "cut"
    for end in range(0, len(data) - 1, max(1, len(data) // 50)):
        path.write_bytes(data[:end])
        try:
            assert image.load(path).shape == (1, 3, 40, 60)  # only an ending that holds no pixels may be missing
        except ValueError as error:
            assert str(path) in str(error)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        image.load(path)


def test_a_truncated_pillow_image_is_refused():
    data = encoded(Image.fromarray(RGB), format="PNG")
    with pytest.raises(ValueError, match="the picture cannot be read"):  # Pillow decodes on first use
        image.load(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize("limit", [2399, 1199])  # Pillow warns from its limit on and refuses from twice that on
def test_decompression_bomb(limit, tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2400)
    assert image.load(tmp_path / "bomb.png").shape == (1, 3, 40, 60)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for source in (tmp_path / "bomb.png", Image.fromarray(RGB)):
        with pytest.raises(ValueError, match="bomb"):
            image.load(source)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: image.load("missing.png"), FileNotFoundError, "no such file: missing.png"),
        (lambda: image.load(3), TypeError, "expected a path"),
        (lambda: image.load(RGB.astype(np.float32)), TypeError, "uint8 or uint16, got float32"),
        (lambda: image.load(RGB[:, :, :2]), ValueError, r"got \(40, 60, 2\)"),
        (lambda: image.load(RGB[:0]), ValueError, r"got \(0, 60, 3\)"),
        (lambda: image.load(Image.fromarray(np.zeros((2, 2), np.float32))), ValueError, "no known range"),
        (lambda: image.load(RGB, crop=41), ValueError, "40 x 60 holds no crop of 41 x 41"),
        (lambda: image.load(RGB, resize=0), ValueError, "resize of at least 1"),
        (lambda: image.load(RGB, channels="GBR"), ValueError, "'RGB' or 'BGR', got 'GBR'"),
        (lambda: image.load(RGB, mean=(1, 2)), ValueError, "mean as one number or three"),
        (lambda: image.save(np.zeros((1, 2, 4, 4)), "x.png"), ValueError, "1 or 3"),
        (lambda: image.save(np.full((1, 1, 4, 4), np.nan), "x.png"), ValueError, "finite"),
    ],
)
def test_refusals_are_sentences(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "tesela.image")
    with pytest.raises(ImportError, match=r"pip install 'tesela\[image\]'"):
        import tesela.image  # noqa: F401


# -------------------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize("channels", [1, 3])
def test_save_puts_pictures_in_rows(channels, tmp_path):
    pictures = rng.integers(0, 256, (5, channels, 4, 6), dtype=np.uint8)
    image.save(pictures[:, :, ::2, ::2] / 255, tmp_path / "grid.png", columns=3, zoom=2)
    pictures = pictures[:, :, ::2, ::2].repeat(2, axis=2).repeat(2, axis=3)
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == ((10, 22) if channels == 1 else (10, 22, 3))
    grid = grid.reshape(10, 22, channels)
    np.testing.assert_array_equal(grid[6:, 8:14].transpose(2, 0, 1), pictures[4])
    assert (grid[4:6] == 255).all() and (grid[6:, 16:] == 255).all()


def test_save_clips(tmp_path):
    image.save(np.array([[[[-1.0, 0.5, 2.0]]]]), tmp_path / "clipped.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "clipped.png")), [[0, 128, 255]])
