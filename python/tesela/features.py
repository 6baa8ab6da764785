"""Search among deep features: which images of a database are nearest to a query.

features = net.extract(x, ["fc7"])["fc7"]
indices, distances = ts.features.search(features[:1], features, metric="cosine", k=5)
"""

from __future__ import annotations

import numpy as np

from .arguments import integer
from .calls import check_array
from .ops import gemm

METRICS = ("l2", "l1", "cosine")
BLOCK = 1 << 22  # values of a block of distances, 16 MB


def search(
    queries: np.ndarray, database: np.ndarray, *, metric: str = "l2", k: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of the database for each query, the nearest first; of equal distances the earlier row.

    queries (Q, D), database (N, D), float32. metric: "l2" Euclidean distance, "l1" sum of differences, "cosine" 1 less
    the cosine of the angle (1 where a vector is zero).

    Returns indices (Q, k) int64 and distances (Q, k) float32. All rows are compared: the result is exact but for
    float32 rounding. "l2" and "cosine" find the rows by one matrix product, about the mean of the database; the
    distances of those that are found are then computed directly.
    """
    check_array("search", "queries", queries)
    check_array("search", "database", database)
    if queries.ndim != 2 or database.ndim != 2 or queries.shape[1] != database.shape[1]:
        raise ValueError(
            f"search: expected queries (Q, D) and database (N, D), got shapes {queries.shape} and {database.shape}"
        )
    if metric not in METRICS:
        raise ValueError(f"search: expected metric as one of {', '.join(map(repr, METRICS))}, got {metric!r}")
    if not 1 <= integer("search", "k", k) <= len(database):
        raise ValueError(f"search: expected k from 1 to the {len(database)} rows of the database, got {k}")
    # Squares of differences are summed in float32; vectors of unit length are what cosine compares.
    most = np.finfo(np.float32).max
    most = most if metric == "cosine" else np.sqrt(most / (4 * queries.shape[1]))
    for name, rows in (("queries", queries), ("database", database)):
        fits = np.maximum(-rows.min(axis=1), rows.max(axis=1)) <= most  # a NaN is neither
        if not fits.all():
            raise ValueError(f"search: expected {name} of finite numbers up to {most:.2g}, got NaN, infinity or more "
                             f"in row {int(fits.argmin())}")  # fmt: skip
    if metric == "cosine":
        queries, database = _unit(queries), _unit(database)
    elif metric == "l2":
        mean = database.mean(axis=0, dtype=np.float64).astype(np.float32)  # distances to far origins would cancel
        queries, database = queries - mean, database - mean

    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    step = max(1, BLOCK // len(database))
    for begin in range(0, len(queries), step):
        block = np.ascontiguousarray(queries[begin : begin + step])
        d = _distances(block, database, metric)
        for i, row in enumerate(d, begin):
            # partition finds the k-th value; a stable sort of what is not above it keeps ties in order.
            near = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1]) if k < len(row) else np.arange(len(row))
            found = np.sort(near[np.argsort(row[near], kind="stable")][:k])
            direct = _direct(queries[i].astype(np.float64), database[found], metric)
            order = np.argsort(direct, kind="stable")
            indices[i], distances[i] = found[order], direct[order]
    return indices, distances


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
    return (x / np.where(norm == 0, 1, norm)[:, None]).astype(np.float32)


def _direct(query: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """(k,) in float64."""
    if metric == "cosine":
        return 1 - rows @ query
    difference = rows - query
    return np.abs(difference).sum(axis=1) if metric == "l1" else np.sqrt(np.square(difference).sum(axis=1))


def _distances(queries: np.ndarray, database: np.ndarray, metric: str) -> np.ndarray:
    """(Q, N), squared for "l2"."""
    if metric == "l1":
        d = np.empty((len(queries), len(database)), np.float32)
        for i, query in enumerate(queries):
            d[i] = np.abs(database - query).sum(axis=1)
        return d
    products = gemm(queries, database, trans_b=True)
    if metric == "cosine":
        return 1 - products
    squares = np.einsum("ij,ij->i", database, database)
    return np.maximum(np.einsum("ij,ij->i", queries, queries)[:, None] + squares - 2 * products, 0)
