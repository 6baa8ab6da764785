"""Pictures: every mode and orientation to the same array, sizes as in torchvision, refusals in sentences."""

import importlib
import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tesela
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


def png(colour, bits, pixels):
    """A PNG of any colour type and depth, which Pillow cannot write: PNG 3rd edition, 5."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_files(colour, channels, tmp_path):
    """Grey, RGB, grey with alpha, RGB with alpha. Multiples of 257 are exact 8-bit values."""
    pixels = np.dstack([RGB, RGB[:, :, 0]])[:, :, [0, 1, 2, 3] if channels > 2 else [0, 3]][:, :, :channels]
    (tmp_path / "deep.png").write_bytes(png(colour, 16, pixels.astype(np.uint16) * 257))
    expected = RGB if channels > 2 else RGB[:, :, :1].repeat(3, axis=2)
    np.testing.assert_array_equal(to_pixels(image.load(tmp_path / "deep.png")), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_any_colour(mode, tmp_path):
    """CMYK as print shops send it: Adobe's marker says that it is stored inverted."""
    smooth = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)
    picture = Image.fromarray(smooth).convert(mode)
    picture.save(tmp_path / "photo.jpg", quality=95, subsampling=0)
    with Image.open(tmp_path / "photo.jpg") as stored:
        assert stored.mode == mode and (mode != "CMYK" or b"Adobe" in (tmp_path / "photo.jpg").read_bytes()[:200])
    difference = to_pixels(image.load(tmp_path / "photo.jpg")).astype(int) - np.asarray(picture.convert("RGB"))
    assert np.abs(difference).max() <= 6  # a step of quantisation at this quality


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(RGB[..., c]).convert("P") for c in (0, 1)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(to_pixels(image.load(tmp_path / "moving.gif"))[..., 0], RGB[..., 0])


def test_alpha_is_dropped_not_blended():
    clear = Image.fromarray(np.dstack([RGB, np.zeros_like(RGB[:, :, 0])]))
    np.testing.assert_array_equal(to_pixels(image.load(clear)), RGB)


def test_grey():
    x = image.load(RGB, channels="L", mean=0.5, std=(0.25,))
    grey = np.asarray(Image.fromarray(RGB).convert("L"))
    assert x.shape == (1, 1, 40, 60) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_array_equal(to_pixels(x * np.float32(0.25) + np.float32(0.5))[:, :, 0], grey)
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - luma).max() <= 1


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


@pytest.mark.parametrize("interpolation", image.INTERPOLATIONS)
def test_resize_is_that_of_pillow(interpolation):
    expected = np.asarray(Image.fromarray(RGB).resize((33, 22), Image.Resampling[interpolation.upper()]))
    np.testing.assert_array_equal(to_pixels(image.load(RGB, resize=22, interpolation=interpolation)), expected)


def test_resize_of_both_sides_distorts():
    expected = np.asarray(Image.fromarray(RGB).resize((16, 48), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(to_pixels(image.load(RGB, resize=(48, 16))), expected)


PRESETS = {name: value for name, value in vars(image).items() if isinstance(value, image.Transform)}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(300, 400), (401, 299), (20, 30)])
def test_presets_take_any_picture(name, size):
    preset = PRESETS[name]
    x = preset(np.full(size, 255, np.uint8))
    crop = preset.crop or (size[0] * preset.resize // min(size), size[1] * preset.resize // min(size))
    assert x.shape == (1, 1 if preset.channels == "L" else 3, *np.broadcast_to(crop, 2))
    white = (255 * preset.scale - np.array(preset.mean)) / np.array(preset.std)
    np.testing.assert_allclose(x, np.broadcast_to(white.reshape(-1, 1, 1), x.shape), rtol=1e-5)


def test_caffe_sees_blue_first():
    blue = np.zeros((300, 400, 3), np.uint8)
    blue[:, :, 2] = 255
    np.testing.assert_array_equal(image.CAFFE(blue)[0, :, 5, 7], np.float32([255 - 104, -117, -123]))


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


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<!doctype html><title>404</title>", bytes(range(256)) * 9])
def test_what_is_no_picture_is_refused(content, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(content)
    for source in (tmp_path / "photo.jpg", tmp_path):
        with pytest.raises(ValueError, match=f"image: {source} cannot be read"):
            image.load(source)


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "photo.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        x = image.load(tmp_path / "photo.png")
    np.testing.assert_array_equal(to_pixels(x), RGB)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path):
    honest = png(2, 8, RGB)
    header = honest[12:16] + struct.pack(">II", 50_000, 50_000) + honest[24:29]
    (tmp_path / "bomb.png").write_bytes(honest[:12] + header + struct.pack(">I", zlib.crc32(header)) + honest[33:])
    with pytest.raises(ValueError, match="bomb"):
        image.load(tmp_path / "bomb.png")


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
        (lambda: image.load(RGB, channels="GBR"), ValueError, "one of 'RGB', 'BGR', 'L', got 'GBR'"),
        (lambda: image.load(RGB, mean=(1, 2)), ValueError, "mean as one number or three"),
        (lambda: image.load(RGB, mean=(1, 2, 3), channels="L"), ValueError, "mean as one number, got"),
        (lambda: image.load(RGB, resize=(2, 0)), ValueError, "resize of at least 1"),
        (lambda: image.load(RGB, interpolation="cubic"), ValueError, "'bicubic', 'lanczos', got 'cubic'"),
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
    monkeypatch.setattr(tesela, "image", image)  # to be put back: the import binds another
    without = importlib.import_module("tesela.image")
    assert without.IMAGENET.crop == 224
    with pytest.raises(ImportError, match=r"pip install 'tesela\[image\]'"):
        without.IMAGENET(np.zeros((300, 300), np.uint8))


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


@pytest.mark.parametrize("option", ["columns", "zoom"])
def test_save_refuses_none_of_a_row(option, tmp_path):
    with pytest.raises(ValueError, match=f"image: expected {option} of at least 1, got 0"):
        image.save(np.zeros((1, 1, 2, 2)), tmp_path / "none.png", **{option: 0})


def test_save_clips(tmp_path):
    image.save(np.array([[[[-1.0, 0.5, 2.0]]]]), tmp_path / "clipped.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "clipped.png")), [[0, 128, 255]])
