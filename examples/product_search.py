"""Which pictures of a folder look like this one? Search over deep features, by three distances.

    python examples/product_search.py photos/ --query photos/shirt.jpg --weights resnet18.tv_in1k
    python examples/product_search.py photos/ --query mine.jpg --onnx net.onnx --preset CAFFE --sheet found.png

A picture becomes the values of one layer, planes averaged: by default what the last layer with weights reads, which a
network trained on ImageNet has learned to tell things apart by. `tesela.features.search` compares the query with all of
them, by the sum of differences (l1), the Euclidean distance (l2) and the angle (cosine). Features are kept in --index
and used again while folder, network, layer and preset stay the same. --sheet draws one row for each distance.

Needs Pillow; pooch for --weights, onnx for --onnx.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import tesela as ts

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def penultimate(net: ts.Network) -> str:
    """What the last layer with parameters reads."""
    node = [node for node in net.graph.nodes if node.parameters][-1]
    return next(node.values())


def features_of(net: ts.Network, layer: str, transform: ts.image.Transform, picture: object) -> np.ndarray:
    """(D,) of one picture: a vector as it is, a plane by its means."""
    values = net.extract(transform(picture), [layer])[layer][0]
    return values.reshape(len(values), -1).mean(axis=1)


def index_of(folder: Path, describe, key: str, store: Path | None) -> tuple[list[str], np.ndarray]:
    """The folder's pictures that can be read, by name, and their features (N, D); `store` remembers them."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in KINDS)
    stamp = json.dumps([key, [[name, (folder / name).stat().st_mtime_ns] for name in names]])
    if store is not None and store.is_file():
        with np.load(store, allow_pickle=False) as file:
            if str(file["stamp"]) == stamp:
                return file["names"].tolist(), file["features"]
    kept, features = [], []
    for name in names:
        try:
            picture = ts.image.read(folder / name)
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        kept.append(name)
        features.append(describe(picture))
    if not kept:
        raise SystemExit(f"{folder}: no picture that can be read")
    if store is not None:
        np.savez(store, stamp=stamp, names=kept, features=np.stack(features))
    return kept, np.stack(features)


def sheet(rows: list[list[Path]], path: Path, side: int = 128) -> None:
    """The query and what was found, left to right, one row for each distance."""
    thumbnail = ts.image.Transform(resize=(side, side))
    columns = len(rows[0])
    ts.image.save(np.concatenate([thumbnail(file) for row in rows for file in row]), path, columns)


def main(arguments: list[str] | None = None) -> dict[str, list[tuple[str, float]]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="pictures to search in, and in folders below")
    parser.add_argument("--query", type=Path, required=True, help="a picture, of the folder or not")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--weights", choices=ts.published.ENTRIES, metavar="NAME", help="a name in tesela.published")
    which.add_argument("--onnx", type=Path, help="an ONNX model that takes one picture")
    parser.add_argument("--preset", default="IMAGENET", help="of tesela.image, for --onnx (default: IMAGENET)")
    parser.add_argument("--layer", help="whose values describe a picture (default: what the last layer reads)")
    parser.add_argument("--k", type=int, default=5, help="how many to find (default: 5)")
    parser.add_argument("--index", type=Path, help="an .npz file that keeps the features")
    parser.add_argument("--sheet", type=Path, help="a picture of what was found")
    given = parser.parse_args(arguments)

    if given.weights:
        net, transform = ts.published.load(given.weights), ts.published.ENTRIES[given.weights].transform
    else:
        net, transform = ts.onnx.load(given.onnx), getattr(ts.image, given.preset, None)
        if not isinstance(transform, ts.image.Transform):
            raise SystemExit(f"expected --preset as a name in tesela.image, got {given.preset!r}")
        size = net.model.inputs[next(iter(net.model.inputs))].dims[2:]
        if all(isinstance(extent, int) for extent in size):
            transform = dataclasses.replace(transform, crop=tuple(size))
    layer = given.layer or penultimate(net)

    def describe(picture: object) -> np.ndarray:
        return features_of(net, layer, transform, picture)

    key = f"{given.weights or given.onnx} {layer} {transform}"
    query = describe(given.query)[None]
    names, features = index_of(given.folder, describe, key, given.index)
    print(f"{len(names)} pictures, {features.shape[1]} features of {layer}")
    found = {}
    for metric in ts.features.METRICS:
        indices, distances = ts.features.search(query, features, metric=metric, k=min(given.k, len(names)))
        found[metric] = [(names[i], float(d)) for i, d in zip(indices[0], distances[0], strict=True)]
        print(f"\n{metric}")
        for name, distance in found[metric]:
            print(f"  {distance:10.4f}  {name}")
    if given.sheet:
        sheet([[given.query, *(given.folder / name for name, _ in rows)] for rows in found.values()], given.sheet)
    return found


if __name__ == "__main__":
    main()
