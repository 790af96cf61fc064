"""Weak labels with sub-concepts: other concepts than the target classes, that come with queries (ours).

Who searches for "baking cookies" also finds "whisking eggs", which no class of the target set is. Here some
classes of a labelled image set are the target classes, each also a query, and all others are sub-concepts:
each belongs to a few queries, and most of its images carry one of those.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy.optimize import linear_sum_assignment

from sublabel.errors import ConfigError
from sublabel_image.demo.pages import draw_queries


class SubConceptOptions(BaseModel):
    """Which classes are sub-concepts, and how often they come with their queries; all defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_member: int = Field(
        1, ge=0, description="which class of each superclass is a target class, in alphabetical order from 0"
    )
    share: float = Field(0.55, ge=0, le=1, description="share of the weak images that show a sub-concept")
    queries_each: PositiveInt = Field(2, description="queries that each sub-concept belongs to")
    own_query: float = Field(
        0.85,
        ge=0,
        le=1,
        description="probability that an image of a target class carries its own query; else any query",
    )
    concept_query: float = Field(
        0.9,
        ge=0,
        le=1,
        description="probability that an image of a sub-concept carries one of its queries; else any query",
    )


def share_out(concepts: int, queries: int, each: int, generator: np.random.Generator) -> np.ndarray:
    """Give every sub-concept some queries at random, and every query as many sub-concepts.

    The first queries of all sub-concepts are a random partition of them into equal rows, and so are the
    second ones, of those partitions that repeat no query of a sub-concept.

    Args:
        concepts: Number of sub-concepts S. Where the queries do not divide it, some rows are shorter by one.
        queries: Number of queries Q.
        each: Queries of each sub-concept, at most Q.
        generator: Makes the draws.

    Returns:
        int64 (S, each), in 0..Q-1, each row without repetition.

    Raises:
        ConfigError: There are fewer queries than each sub-concept is to have.

    Example:
        >>> share_out(4, 2, 2, np.random.default_rng(0)).sum(1)
        array([1, 1, 1, 1])
    """
    if each > queries:
        raise ConfigError(f"each sub-concept is to have {each} queries, and there are {queries}: take fewer")
    # slots[j]: the query of the j-th place, of which each query has as many
    slots = np.arange(-(-concepts // queries) * queries) % queries
    given = np.empty((concepts, 0), dtype=np.int64)
    for _ in range(each):
        costs = generator.random((concepts, len(slots)))
        # No sub-concept gets a query twice: a cost that no choice of others makes good.
        costs[(given[:, :, None] == slots).any(axis=1)] = 1 + len(slots)
        given = np.column_stack([given, slots[linear_sum_assignment(costs)[1]]])
    return given


def query_probabilities(
    is_target: np.ndarray, options: SubConceptOptions, generator: np.random.Generator
) -> np.ndarray:
    """How often the images of each class carry each query.

    Args:
        is_target: Which of the C classes are target classes, bool (C,); the others are sub-concepts.
        options: Of these probabilities.
        generator: Draws which queries a sub-concept belongs to.

    Returns:
        float64 (C, Q), rows sum to one; the queries are the target classes in their order.

    Raises:
        ConfigError: There are fewer queries than each sub-concept is to have.
    """
    queries = int(is_target.sum())
    belongs = share_out(int((~is_target).sum()), queries, options.queries_each, generator)
    probabilities = np.empty((len(is_target), queries))
    probabilities[is_target] = options.own_query * np.eye(queries) + (1 - options.own_query) / queries
    comes_with = np.eye(queries)[belongs].mean(axis=1)
    probabilities[~is_target] = options.concept_query * comes_with + (1 - options.concept_query) / queries
    return probabilities


def sub_concept_queries(
    labels: np.ndarray,
    candidates: np.ndarray,
    is_target: np.ndarray,
    weak_images: int,
    options: SubConceptOptions | None = None,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Choose the images of a weak set with sub-concepts, and draw the query of each.

    A smaller weak set of the same share and seed is a part of a larger one, with the same queries.

    Args:
        labels: The class that each image shows, int (N,), in 0..C-1.
        candidates: Which images may be weak ones, bool (N,).
        is_target: Which of the C classes are target classes, bool (C,); the others are sub-concepts.
        weak_images: How many images to choose, the share of sub-concepts among them as the options say.
        options: Of the draws; None takes the defaults.
        seed: Of all draws.

    Returns:
        int64 (N,), the place of the query among the target classes; -1 where an image is not chosen.

    Raises:
        ConfigError: There are too few candidates, or too few queries.
    """
    options = options or SubConceptOptions()
    # A stream of its own for each draw, so that one does not move the others.
    for_belonging, for_targets, for_concepts, for_queries = (
        np.random.default_rng([seed, stream]) for stream in range(1, 5)
    )
    shows_target = is_target[labels]
    concepts = round(options.share * weak_images)
    chosen = np.zeros(len(labels), dtype=bool)
    for what, pool, number, generator in (
        ("sub-concepts", candidates & ~shows_target, concepts, for_concepts),
        ("target classes", candidates & shows_target, weak_images - concepts, for_targets),
    ):
        members = np.flatnonzero(pool)
        if number > len(members):
            raise ConfigError(
                f"{weak_images} weak images with a share of {options.share} of sub-concepts need {number} of "
                f"{what}, and there are {len(members)}: choose fewer weak images, or another share"
            )
        chosen[generator.permutation(members)[:number]] = True
    probabilities = query_probabilities(is_target, options, for_belonging)
    return np.where(chosen, draw_queries(labels, probabilities, for_queries), -1)
