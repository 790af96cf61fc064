from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from markupsafe import escape

import sublabel.report.page as page_module
from sublabel.report import collect, render, write_report
from tests.report.conftest import NAMES, REASON, sample_id

SECTIONS = [
    "Results",
    "What was run",
    "Clips per video",
    "Confusion matrix",
    "Label spaces",
    "Class sizes",
    "Kept and dropped",
    "Sub-concepts of raw SPL",
    "What classes look at",
    "Failures",
    "All classes of raw SPL",
]


class Outline(HTMLParser):
    """Elements, headings and texts of a page, as a browser would see them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.headings, self.texts, self.ids = [], [], [], []
        self._open = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append([int(tag[1]), ""])
        self._open = [*self._open, tag]

    def handle_endtag(self, tag):
        if tag in self._open:
            self._open = self._open[: len(self._open) - 1 - self._open[::-1].index(tag)]

    def handle_data(self, text):
        if not {"script", "style"} & {*self._open}:
            self.texts.append(text)
        if any(re.fullmatch("h[1-6]", tag) for tag in self._open):
            self.headings[-1][1] += text


@pytest.fixture(scope="module")
def data(study):
    return collect(study)


@pytest.fixture(scope="module")
def page(data):
    return render(data)


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def block(page):
    packed = re.search(r'id="block">([^<]*)</script>', page).group(1)
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_every_section_is_there_and_headings_step_down_one_by_one(outline):
    assert [text for level, text in outline.headings if level == 2] == SECTIONS
    levels = [level for level, _ in outline.headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_link_of_the_page_leads_somewhere_in_it(outline):
    targets = [attributes["href"] for tag, attributes in outline.elements if tag == "a"]
    assert targets
    assert all(target[1:] in outline.ids for target in targets)
    assert len(outline.ids) == len(set(outline.ids))


def test_nothing_is_loaded_from_anywhere(outline, page):
    for tag, attributes in outline.elements:
        for name in ("src", "href", "action", "data"):
            assert attributes.get(name, "#")[:5] in {"#", "data:"} or attributes[name].startswith("#"), tag
    assert "default-src 'none'" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_names_are_text(outline, page):
    text = "".join(outline.texts)
    assert REASON in text
    assert sample_id(0).partition("/")[0] in text
    for name in NAMES:
        assert any(name in heading for _, heading in outline.headings), name
    scripts = [attributes for tag, attributes in outline.elements if tag == "script"]
    assert len(scripts) == 3
    assert not any(name.startswith("on") for _, attributes in outline.elements for name in attributes)
    assert not any(attributes.get("src") == "x" for _, attributes in outline.elements)
    assert page.count("<script>window.broken") == 0


def test_every_picture_says_in_words_what_it_is(outline):
    for tag, attributes in outline.elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "canvas" or attributes.get("role") == "img":
            assert attributes["aria-label"]


def test_the_list_holds_every_cell_and_the_table_every_class(page, data):
    found = block(page)
    cells = found["matrix"]["cells"]
    listed = dict(zip(zip(cells["weak"], cells["teacher"], strict=True), cells["count"], strict=True))
    assert listed == {
        (weak, teacher): count
        for weak, row in enumerate(data.confusion.counts.toarray().tolist())
        for teacher, count in enumerate(row)
        if count
    }
    assert sorted(found["classes"]["name"]) == sorted(data.chosen_space.space.names)
    assert found["classes"]["size"] == sorted(data.classes.size.tolist(), reverse=True)


def test_long_lists_are_cut_at_the_largest_and_say_so(data, monkeypatch):
    monkeypatch.setattr(page_module, "LISTED_CELLS", 3)
    monkeypatch.setattr(page_module, "LISTED_CLASSES", 2)
    page = render(data)
    assert block(page)["matrix"]["cells"]["count"] == sorted(data.cells.count.tolist(), reverse=True)[:3]
    assert len(block(page)["classes"]["name"]) == 2
    assert "Listed are the 3 largest cells" in page
    assert re.search(r"Listed are the 2 largest of \d+ classes", page)


def test_what_cannot_be_drawn_or_is_counted_otherwise_is_said(refined):
    page = " ".join("".join(Outline(render(collect(refined, pictures=0))).texts).split())
    assert (
        "Not drawn, as a cell has no class of its own: matched control (classes are drawn by chance), "
        in page
    )
    assert "two heads (a sample is in a weak" in page
    assert "“Sure samples”: the matrix shows what becomes of the samples whose prediction reaches" in page
    assert page.count("In top-k a sample has several classes; it counts in the heaviest of them.") == 2
    assert "A sample is in two classes of two heads." in page


@pytest.mark.parametrize(
    ("strategy", "of", "said"),
    [
        ("raw SPL", "row", "Each with its share of the samples of its weak label (its row), and"),
        ("teacher-only", "all", "Each with its share of all samples, and"),
        ("two heads", "either", "(its row), or of all samples where it is not of one row, and"),
    ],
)
def test_shares_say_what_they_are_of(refined, strategy, of, said):
    page = render(collect(refined, pictures=0, strategy=strategy))
    assert block(page)["classes"]["sharesOf"] == of
    assert said in page


def test_losses_name_the_weak_classes_that_lost_most(data):
    dropped = {lost.strategy: lost for lost in page_module.dropped_samples(data)}
    assert dropped["weak-only"].samples == 0
    dense = data.confusion.counts.toarray()
    lost = dense.sum(axis=1) - dense.diagonal()
    assert dropped["agreement"].samples == lost.sum()
    name, count, share = dropped["agreement"].weak_classes[0]
    worst = int(lost.argmax())
    assert (name, count) == (data.confusion.weak_vocabulary[worst], lost.max())
    assert share == pytest.approx(lost.max() / dense[worst].sum())


def test_every_strategy_says_what_became_of_all_samples(refined):
    data = collect(refined, pictures=0)
    table = page_module.status_table(data)
    assert table.headings == ("status", *(entry.name for entry in data.spaces))
    assert [row[0] for row in table.rows] == ["kept", f"no prediction: {REASON}", "dropped by the strategy"]
    assert [sum(map(int, column)) for column in list(zip(*table.rows, strict=True))[1:]] == [300] * 9
    shown = Outline(render(data))
    assert [3, "All weak samples"] in shown.headings
    assert {text for row in table.rows for text in row} <= {*shown.texts}


def test_a_rare_reason_follows_a_frequent_one_of_its_kind(data):
    weak_only, raw = data.space("weak-only"), data.space("raw SPL")
    statuses = {"dropped by the strategy": 9, "no prediction: b": 1, "no prediction: a": 2, "kept": 1}
    two = (replace(weak_only, statuses={"no weak label": 1}), replace(raw, statuses=statuses))
    assert page_module.status_table(replace(data, spaces=two)).rows == (
        ("kept", "0", "1"),
        ("no weak label", "1", "0"),
        ("no prediction: a", "0", "2"),
        ("no prediction: b", "0", "1"),
        ("dropped by the strategy", "0", "9"),
    )


def test_the_same_run_makes_the_same_page(data, page, study):
    assert render(collect(study)) == page


def test_the_page_is_small(data, tmp_path):
    assert write_report(data, tmp_path / "r.html").stat().st_size < 2e6


def test_explained_samples_say_what_could_not_be_read_and_where_they_move(data):
    shown = " ".join("".join(Outline(render(data)).texts).split())
    assert f"{sample_id(0)}, one of 1,234 samples of weak, 3 that were looked at could not be read" in shown
    assert "0.mp4, 0.webp beside the picture" in shown
    assert f"{NAMES[1]} of seed0/weak_only/pretrained, probability 10.0%; nothing speaks for it" in shown


def test_a_report_of_counts_alone_leaves_out_what_it_does_not_know(data):
    from sublabel.report import from_confusion

    outline = Outline(render(from_confusion(data.confusion)))
    assert "All weak samples" not in outline.texts
    missing = {*SECTIONS[:3], "Sub-concepts of raw SPL", "What classes look at"}
    assert [text for level, text in outline.headings if level == 2] == [
        section for section in SECTIONS if section not in missing
    ]


def test_the_page_opens_with_the_verdict(data, page):
    verdict = data.comparison.verdict()
    main = page[page.index("<main") :]
    assert main.index(escape(verdict.sentence)) < main.index("<table")
    assert all(escape(remark) in main for remark in verdict.remarks)
