"""Search among features: exact on integers, ties in order, and scikit-learn's answer on noise."""

import numpy as np
import pytest
import tesela as ts
from tesela import features

SCIPY = {"l2": "euclidean", "l1": "manhattan", "cosine": "cosine"}


@pytest.mark.parametrize("metric", ["l2", "l1"])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_exact_on_integers_with_ties(rng, metric, k, monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 128)  # three queries at a time
    database = rng.integers(-2, 3, (20, 3)).astype(np.float32)
    database = np.concatenate([database, -database])  # the mean is zero, so that float32 is exact; many ties
    queries = rng.integers(-2, 3, (10, 3)).astype(np.float32)
    difference = np.abs(queries[:, None] - database)
    expected = (difference**2).sum(axis=2) if metric == "l2" else difference.sum(axis=2)
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    indices, distances = ts.features.search(queries, database, metric=metric, k=k)
    np.testing.assert_array_equal(indices, order)
    expected = np.take_along_axis(expected, order, axis=1)
    np.testing.assert_array_equal(distances, np.sqrt(expected) if metric == "l2" else expected)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_a_row_of_the_database_is_at_distance_zero(metric, rng):
    database = 100 + rng.standard_normal((50, 300), np.float32)
    indices, distances = features.search(database[7:8], database, metric=metric, k=2)
    assert indices[0, 0] == 7 and distances[0, 0] == 0 < distances[0, 1]


@pytest.mark.parametrize("metric", features.METRICS)
def test_agrees_with_scikit_learn(rng, metric):
    neighbors = pytest.importorskip("sklearn.neighbors")
    queries, database = (rng.standard_normal((n, 64), np.float32) + 100 for n in (20, 500))
    search = neighbors.NearestNeighbors(metric=SCIPY[metric], algorithm="brute")
    expected, order = search.fit(database.astype(np.float64)).kneighbors(queries.astype(np.float64), 9)
    indices, distances = features.search(queries, database, metric=metric, k=9)
    if metric != "cosine":  # angles this small are below what float32 tells apart
        np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=64 * np.finfo(np.float32).eps)


def test_cosine(rng):
    database = rng.standard_normal((30, 8), np.float32)
    database[4] = 0
    indices, distances = features.search(3 * database, database, metric="cosine", k=1)
    assert [i for i in range(30) if indices[i, 0] != i] == [4]  # all are as far from zero, and the first is taken
    assert np.abs(np.delete(distances, 4)).max() < 8 * np.finfo(np.float32).eps and distances[4, 0] == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"metric": "l3"}, ValueError, "expected metric as one of 'l2', 'l1', 'cosine', got 'l3'"),
        ({"k": 0}, ValueError, "expected k from 1 to the 5 rows of the database, got 0"),
        ({"k": 6}, ValueError, "got 6"),
        ({"k": 1.5}, TypeError, "expected k as an integer"),
        (
            {"database": np.full((5, 3), np.nan, np.float32)},
            ValueError,
            "database of finite numbers up to 5.3e[+]18, got NaN.* in row 0",
        ),
        ({"queries": np.full((2, 3), 3e38, np.float32)}, ValueError, "queries of finite numbers up to .* in row 0"),
        (
            {"queries": np.float32([[0, 0, 0], [0, np.inf, 0]])},
            ValueError,
            "queries of finite numbers up to .* in row 1",
        ),
        ({"queries": np.zeros((2, 4), np.float32)}, ValueError, r"got shapes \(2, 4\) and \(5, 3\)"),
        ({"queries": np.zeros((2, 3))}, TypeError, "queries of dtype float32, got float64"),
    ],
)
def test_refusals_are_sentences(options, error, words):
    given = {"queries": np.zeros((2, 3), np.float32), "database": np.zeros((5, 3), np.float32), "k": 1} | options
    with pytest.raises(error, match=words):
        features.search(given.pop("queries"), given.pop("database"), **given)
