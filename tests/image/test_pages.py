from __future__ import annotations

import numpy as np
import pytest

from sublabel.errors import ConfigError
from sublabel_image.demo import co_occurrence, page_queries, page_sources


def test_a_crop_shows_what_its_page_says():
    labels = np.repeat(np.arange(10), 20_000)
    matrix = co_occurrence(10)
    queries = page_queries(labels, matrix, shown=0.45, co_occurring=0.35)
    shown = np.zeros((10, 10))
    np.add.at(shown, (queries, labels), 1)
    shown /= shown.sum(1, keepdims=True)
    assert shown == pytest.approx(0.45 * np.eye(10) + 0.35 * matrix + 0.2 / 10, abs=0.01)
    assert (queries == labels).mean() == pytest.approx(0.47, abs=0.005)


def test_no_noise_gives_the_labels():
    labels = np.arange(10).repeat(5)
    assert (page_queries(labels, co_occurrence(10), shown=1.0, co_occurring=0.0) == labels).all()


def test_a_page_has_one_query_and_few_crops():
    queries = np.random.default_rng(0).integers(0, 4, 203)
    sources = page_sources(queries, crops_per_page=8)
    for page in set(sources):
        members = queries[np.array(sources) == page]
        assert len(set(members)) == 1
        assert len(members) <= 8
    assert len(set(sources)) <= 203 / 8 + 4


@pytest.mark.parametrize("options", [{"shown": 1.2}, {"shown": 0.8, "co_occurring": 0.3}])
def test_bad_probabilities_are_refused(options):
    with pytest.raises(ConfigError, match="sum to at most 1"):
        page_queries(np.arange(3), co_occurrence(3, partners=(1.0,)), **options)


@pytest.mark.parametrize("partners", [(0.5,), (0.5, 0.25, 0.25)])
def test_bad_partners_are_refused(partners):
    with pytest.raises(ConfigError, match="partners that sum to 1"):
        co_occurrence(3, partners=partners)
