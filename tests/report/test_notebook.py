from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

from sublabel.html import shaded_grid
from sublabel.labels import ConfusionMatrix, Pairs, RawSPL, count
from tests.report.conftest import NAMES, comparison


def parsed(html):
    """(tags, text) as a browser would see them."""
    tags, text = [], []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append(tag)

        def handle_data(self, data):
            text.append(data)

    Parser().feed(html)
    return tags, "\n".join(text)


def confusion():
    return count(Pairs([0, 0, 0, 1, 2, 3], [0, 0, 1, 1, 3, 3], weak_vocabulary=NAMES))


def test_a_confusion_matrix_shows_its_largest_cells_by_name():
    tags, text = parsed(confusion()._repr_html_())
    assert text.index(NAMES[0]) < text.index(NAMES[1])
    assert tags.count("rect") == 5
    assert "script" not in tags


def test_a_label_space_shows_its_classes_by_name():
    space = RawSPL().fit(confusion())
    tags, text = parsed(space._repr_html_())
    assert all(name in text for name in space.names)
    assert "script" not in tags


def test_a_comparison_shows_table_curve_and_notes():
    found = comparison(("weak-only", "raw SPL", "<script>"))
    tags, text = parsed(found._repr_html_())
    assert tags.count("table") == 2
    assert "script" not in tags
    for shown in (found.table(), found.curve()):
        assert all(value in text for row in (shown.headings, *shown.rows) for value in row)
    assert all(note in text for note in found.notes())


def test_a_large_matrix_stays_small():
    generator = np.random.default_rng(0)
    large = count(Pairs(*generator.integers(0, 3000, (2, 50_000)), weak_vocabulary=3000))
    assert len(large._repr_html_()) < 500_000


def test_an_empty_matrix_is_shown():
    assert "rect" not in parsed(ConfusionMatrix(["a"])._repr_html_())[0]
    assert "svg" in parsed(shaded_grid(ConfusionMatrix(["a"]).counts, "nothing"))[0]
