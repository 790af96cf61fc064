"""Image data with the noise of untrimmed videos: crops of a page inherit the query that found it (ours).

An untrimmed video that was found by a query shows the query's action in a part of its clips, actions that
co-occur with it in others, and anything at all in the rest; every clip inherits the query as its weak label.
A page of images does the same: it was found by a query, and each of its crops shows some class.
`page_queries` gives every image of a labelled set the query of a page that it could have been cut from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sublabel.errors import ConfigError


def co_occurrence(num_classes: int, *, partners: Sequence[float] = (0.6, 0.4)) -> np.ndarray:
    """Make a matrix of classes on a ring: class q co-occurs with q + 1, q + 2, …, with the given weights.

    Args:
        num_classes: Number of classes K, more than the number of partners.
        partners: Weights of the partners; they must sum to one.

    Returns:
        float64 (K, K), rows are queries and sum to one.

    Raises:
        ConfigError: There are too many partners, or they do not sum to one.

    Example:
        >>> co_occurrence(3, partners=(1.0,))
        array([[0., 1., 0.],
               [0., 0., 1.],
               [1., 0., 0.]])
    """
    if len(partners) >= num_classes or not np.isclose(sum(partners), 1):
        raise ConfigError(
            f"got {num_classes} classes with partners {tuple(partners)}; expected {len(partners) + 1} "
            "classes or more, and partners that sum to 1"
        )
    matrix = np.zeros((num_classes, num_classes))
    for step, weight in enumerate(partners, start=1):
        matrix[np.arange(num_classes), (np.arange(num_classes) + step) % num_classes] = weight
    return matrix


def page_queries(
    labels: np.ndarray, matrix: np.ndarray, *, shown: float = 0.45, co_occurring: float = 0.35, seed: int = 0
) -> np.ndarray:
    """Draw for each image the query of the page that it is a crop of.

    Given its query q, a crop shows q with probability `shown`, a class that co-occurs with q (row q of the
    matrix) with probability `co_occurring`, and otherwise any of the K classes alike, q included. The classes
    of the images are given, so the query is drawn from its posterior, under equally frequent queries.

    Args:
        labels: The class that each image shows, int (N,), in 0..K-1.
        matrix: Co-occurrence, (K, K), rows are queries and sum to one.
        shown: Probability in [0, 1] that a crop shows the query.
        co_occurring: Probability in [0, 1 - shown] that it shows a class that co-occurs with the query.
        seed: Seed of the draw.

    Returns:
        Queries, int64 (N,).

    Raises:
        ConfigError: A probability or the matrix is out of range.
    """
    num_classes = len(matrix)
    if not (0 <= shown <= 1 and 0 <= co_occurring <= 1 - shown):
        raise ConfigError(
            f"shown is {shown} and co_occurring {co_occurring}; expected probabilities that sum to at most 1"
        )
    if matrix.shape != (num_classes, num_classes) or not np.allclose(matrix.sum(1), 1):
        raise ConfigError(
            f"the co-occurrence matrix has shape {matrix.shape} and row sums {matrix.sum(-1)}; expected "
            "(K, K) with rows that sum to 1"
        )
    given_query = (
        shown * np.eye(num_classes) + co_occurring * matrix + (1 - shown - co_occurring) / num_classes
    )
    posterior = given_query / given_query.sum(0)
    return draw_queries(labels, posterior.T, np.random.default_rng(seed))


def draw_queries(labels: np.ndarray, probabilities: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw for each image a query by the class that it shows.

    Args:
        labels: The class that each image shows, int (N,), in 0..C-1.
        probabilities: Of the Q queries by class, (C, Q), rows sum to one.
        generator: Makes one draw an image.

    Returns:
        Queries, int64 (N,).
    """
    cumulative = probabilities.T.cumsum(0)
    draws = generator.random(len(labels))
    # The sum of a row may fall short of one by a rounding error.
    last = probabilities.shape[1] - 1
    queries: np.ndarray = np.minimum((draws[None, :] > cumulative[:, labels]).sum(0), last)
    return queries


def page_sources(queries: np.ndarray, *, crops_per_page: int = 8, seed: int = 0) -> list[str]:
    """Group images of the same query into pages at random.

    Args:
        queries: The query of each image, int (N,).
        crops_per_page: Images of a page; the last page of a query may have fewer.
        seed: Seed of the draw.

    Returns:
        The id of each image's page, (N,).
    """
    sources = [""] * len(queries)
    seen = Counter[int]()
    for index in np.random.default_rng(seed).permutation(len(queries)):
        query = int(queries[index])
        sources[index] = f"page-{query}-{seen[query] // crops_per_page}"
        seen[query] += 1
    return sources
