"""What the README and examples/ show, run as printed."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tesela as ts
from tesela import features

image = pytest.importorskip("tesela.image")
pytest.importorskip("onnx")
from PIL import Image, ImageEnhance  # noqa: E402

ROOT = Path(__file__).parents[1]


def snippet(containing):
    """The README's block of Python with these words."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return found


def test_the_readme_classifies_a_photograph(data, tmp_path, monkeypatch, capsys):
    shutil.copy(data("squeezenet1_1/squeezenet1_1_fp16.onnx"), tmp_path / "squeezenet1_1.onnx")
    shutil.copy(data("squeezenet1_1/kitten_224.png"), tmp_path / "kitten.png")
    monkeypatch.chdir(tmp_path)
    code = snippet("ts.onnx.load")
    assert len([line for line in code.splitlines() if line]) == 5
    exec(code, {})
    label, score = capsys.readouterr().out.split()
    assert f"# {label} is" in code and float(score) > 0.5


def test_ten_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(snippet("net.extract"), values := {})
    assert values["features"].shape == (1, 4096) and values["scores"].shape == (1, 1000)
    assert (tmp_path / "alexnet.onnx").is_file() and "fc7" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------ product search


@pytest.fixture
def product_search(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import product_search

    yield product_search
    del sys.modules["product_search"]


@pytest.fixture
def folder(tmp_path):
    """Nine pictures, three of them copies that a search must find first, and three files that are none."""
    rng, path = np.random.default_rng(3), tmp_path / "photos"
    (path / "more").mkdir(parents=True)
    for i in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((90, 70))
        picture.save(path / f"{i}.png")
        if i < 3:
            picture.save(path / "more" / f"{i}.webp", lossless=True)
    (path / "7.png").write_bytes(b"no picture")
    (path / "notes.txt").write_text("no picture either")
    return path


@pytest.fixture
def model(tmp_path):
    ts.models.squeezenet1_1(num_classes=3).to_onnx(tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_product_search(product_search, folder, model, tmp_path, capsys, monkeypatch):
    call = [str(folder), "--query", str(folder / "1.png"), "--onnx", str(model), "--k", "3",
            "--index", str(tmp_path / "index.npz"), "--sheet", str(tmp_path / "sheet.png")]  # fmt: skip
    found = product_search.main(call)
    printed, errors = capsys.readouterr()
    assert "9 pictures, 512 features of features.12" in printed and "left out: image: " in errors and "7.png" in errors
    assert list(found) == list(features.METRICS)
    for metric, rows in found.items():
        assert [name for name, _ in rows][:2] == ["1.png", "more/1.webp"], metric
        distances = [distance for _, distance in rows]
        assert distances[1] < 1e-2 * distances[2] and f"\n{metric}\n" in printed
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.size == (4 * 128 + 3 * 2, 3 * 128 + 2 * 2)

    # The index is used again, until a picture changes.
    described = []
    monkeypatch.setattr(product_search, "features_of", lambda *args: described.append(args) or np.ones(512, np.float32))
    product_search.main(call)
    assert len(described) == 1
    shutil.copy(folder / "2.png", folder / "8.png")
    product_search.main(call)
    assert len(described) == 1 + 1 + 10


def test_product_search_refuses_what_it_does_not_know(product_search, folder, model):
    query = ["--query", str(folder / "1.png"), "--onnx", str(model)]
    with pytest.raises(SystemExit, match=r"name in tesela\.image, got 'load'"):
        product_search.main([str(folder), *query, "--preset", "load"])
    (folder / "empty").mkdir()
    with pytest.raises(SystemExit, match="no picture that can be read"):
        product_search.main([str(folder / "empty"), *query])
    with pytest.raises(ValueError, match="unknown layer 'fc9'"):
        product_search.main([str(folder), *query, "--layer", "fc9"])


@pytest.mark.parametrize("metric", features.METRICS)
def test_altered_product_photos_are_found(product_search, data, metric, found_among_products):
    """A photo cut and darkened is nearest to itself among 300; there are articles that differ in a seam."""
    assert found_among_products[metric] >= 0.95


@pytest.fixture(scope="module")
def found_among_products(data):
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from product_search import features_of, penultimate
    finally:
        sys.path.pop(0)
    net = ts.onnx.load(data("squeezenet1_1/squeezenet1_1_fp16.onnx"))
    transform = image.Transform(resize=256, crop=224, mean=(104, 117, 123), scale=1, channels="BGR")
    photos = [Image.open(path).convert("RGB") for path in sorted(data("product_photos").glob("*.jpg"))[:300]]
    photos = [photo for photo in photos if min(photo.size) > 100]

    def altered(photo):
        w, h = photo.size
        return ImageEnhance.Brightness(photo.crop((w // 20, h // 20, w - w // 20, h - h // 20))).enhance(0.9)

    layer = penultimate(net)
    database = np.stack([features_of(net, layer, transform, photo) for photo in photos])
    queries = np.stack([features_of(net, layer, transform, altered(photo)) for photo in photos[::5]])
    expected = np.arange(len(photos))[::5]
    return {
        metric: np.mean(features.search(queries, database, metric=metric, k=1)[0][:, 0] == expected)
        for metric in features.METRICS
    }
