"""Labelled image sets as manifests, and the noise of untrimmed videos made of images."""

from sublabel_image.demo.datasets import (
    LabelledImages,
    draw_splits,
    load_cifar10,
    load_cifar100,
    load_digits,
    write_manifest,
)
from sublabel_image.demo.pages import co_occurrence, draw_queries, page_queries, page_sources
from sublabel_image.demo.sub_concepts import (
    SubConceptOptions,
    query_probabilities,
    share_out,
    sub_concept_queries,
)

__all__ = [
    "LabelledImages",
    "SubConceptOptions",
    "co_occurrence",
    "draw_queries",
    "draw_splits",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "page_queries",
    "page_sources",
    "query_probabilities",
    "share_out",
    "sub_concept_queries",
    "write_manifest",
]
