"""Labelled image sets as manifests, and the noise of untrimmed videos made of images."""

from sublabel_image.demo.datasets import LabelledImages, load_cifar10, load_digits, write_manifest
from sublabel_image.demo.pages import co_occurrence, page_queries, page_sources

__all__ = [
    "LabelledImages",
    "co_occurrence",
    "load_cifar10",
    "load_digits",
    "page_queries",
    "page_sources",
    "write_manifest",
]
