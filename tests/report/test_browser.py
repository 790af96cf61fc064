"""The page in a real browser, offline. Skipped where Chromium, its driver or Selenium is missing."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from sublabel.labels import ConfusionMatrix, Pairs, count
from sublabel.report import collect, from_confusion, write_report
from tests.report.conftest import NAMES
from tests.report.test_page import SECTIONS

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver"),
]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--window-size=1400,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


def resize(browser, width):
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def show(browser, page):
    """Open a page from disk; seconds until everything on it is drawn."""
    browser.get_log("performance")
    browser.get_log("browser")
    started = time.perf_counter()
    browser.get(page.as_uri())
    while browser.execute_script("return document.documentElement.dataset.ready") != "yes":
        assert time.perf_counter() - started < 20, browser.get_log("browser")
        time.sleep(0.02)
    return time.perf_counter() - started


def centre(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return write_report(
        collect(study), tmp_path_factory.mktemp("page") / "a name's <i>report</i>.html".replace("/", "_")
    )


@pytest.fixture
def shown(browser, page):
    resize(browser, 1400)
    show(browser, page)
    return browser


def requests(browser):
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_it_opens_from_disk_without_a_request_a_warning_or_a_script_of_a_name(shown):
    assert [url for url in requests(shown) if not url.startswith(("file:", "data:", "blob:"))] == []
    assert shown.get_log("browser") == []
    assert shown.execute_script("return window.broken") is None


def test_every_section_and_every_chart_is_drawn(shown):
    assert [heading.text for heading in shown.find_elements(By.TAG_NAME, "h2")] == SECTIONS
    charts = shown.find_elements(By.CSS_SELECTOR, "[data-chart]")
    assert len(charts) == 12
    for chart in charts:
        svg = chart.find_element(By.TAG_NAME, "svg")
        assert svg.size["width"] > 150, chart.get_attribute("id")
        assert svg.find_elements(By.CSS_SELECTOR, ".mark-group path, .mark-rect path, .mark-symbol path")


def test_hostile_names_are_shown_as_they_are(shown):
    headings = [heading.text for heading in shown.find_elements(By.TAG_NAME, "h4")]
    for name in NAMES:
        assert any(name in heading for heading in headings), name


def test_pointing_at_a_cell_names_it_with_count_and_share(shown):
    canvas = shown.find_element(By.ID, "matrix-canvas")
    centre(shown, canvas)
    ActionChains(shown).move_to_element_with_offset(canvas, 40, 60).perform()
    tip = shown.find_element(By.ID, "matrix-tip")
    assert tip.is_displayed()
    lines = tip.text.split("\n")
    assert lines[0].removeprefix("weak label: ") in NAMES
    assert lines[1].removeprefix("teacher: ").removesuffix(" (agrees)") in NAMES
    assert "samples" in lines[2]
    assert "of the row" in lines[2]


def test_pointing_at_a_mark_of_a_chart_shows_its_values(shown):
    chart = shown.find_element(By.ID, "chart-results")
    centre(shown, chart)
    mark = chart.find_elements(By.CSS_SELECTOR, ".mark-symbol path")[-1]
    ActionChains(shown).move_to_element(mark).perform()
    time.sleep(0.1)
    assert "95% interval" in shown.find_element(By.ID, "vg-tooltip-element").text


def test_the_matrix_can_be_walked_with_the_keyboard(shown, study):
    confusion = collect(study, pictures=0).confusion
    canvas = shown.find_element(By.ID, "matrix-canvas")
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ENTER)
    said = shown.find_element(By.ID, "matrix-readout").text
    assert said.endswith("Listed below; Escape lists all cells again.")
    rows = shown.find_elements(By.CSS_SELECTOR, "#cells-table tbody tr")
    assert len(rows) == 1
    weak, teacher, samples = [cell.text for cell in rows[0].find_elements(By.TAG_NAME, "td")][:3]
    vocabulary = confusion.weak_vocabulary
    assert int(samples) == confusion.counts.toarray()[vocabulary.index(weak), vocabulary.index(teacher)]
    assert f"weak label: {weak}" in said


@pytest.mark.parametrize("way", ["button", "escape on the matrix", "escape in the list"])
def test_the_list_of_one_cell_leads_back_to_all_cells(shown, way):
    before = len(column(shown, "cells-table", 1))
    back = shown.find_element(By.XPATH, "//button[.='Show all cells']")
    assert not back.is_displayed()
    canvas = shown.find_element(By.ID, "matrix-canvas")
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ENTER)
    assert len(column(shown, "cells-table", 1)) <= 1
    assert back.is_displayed()
    if way == "button":
        centre(shown, back)
        back.click()
    else:
        (canvas if way == "escape on the matrix" else back).send_keys(Keys.ESCAPE)
    assert len(column(shown, "cells-table", 1)) == before
    assert not back.is_displayed()
    assert "Listed below" not in shown.find_element(By.ID, "matrix-readout").text


def test_a_chart_is_a_picture_with_words_and_its_menu_stands_visibly_beside_it(shown):
    for chart in shown.find_elements(By.CSS_SELECTOR, "[data-chart]"):
        picture = chart.find_element(By.CSS_SELECTOR, "svg[role=img]")
        assert len(picture.get_attribute("aria-label")) > 20
        assert not chart.find_elements(By.CSS_SELECTOR, "[role=img] details, [role=img] summary")
        menu = chart.find_element(By.TAG_NAME, "summary")
        assert menu.value_of_css_property("opacity") == "1"
        assert menu.get_attribute("aria-label") == "Save this chart"
    assert not shown.find_elements(By.CSS_SELECTOR, "[role=img] [role=img]")


def test_what_only_a_pointer_can_do_is_not_printed(shown):
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not shown.find_element(By.ID, "matrix-readout").is_displayed()
    finally:
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_long_reason_stays_in_its_own_column(browser, tmp_path):
    confusion = count(Pairs([0, 1], [0, 0], weak_vocabulary=2))
    reason = "unreadable: " + "the container says that it ends before it begins, " * 4
    page = write_report(from_confusion(confusion, statuses={"ok": 2, reason: 3}), tmp_path / "reason.html")
    for width in (1400, 400):
        resize(browser, width)
        show(browser, page)
        name = browser.find_element(By.CSS_SELECTOR, "#failures tbody th")
        assert name.text == reason.strip()
        assert browser.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", name)


def test_a_few_rows_of_many_columns_are_high_enough_to_point_at(browser, tmp_path):
    labels = np.random.default_rng(0).integers(0, 1200, 5000)
    confusion = count(Pairs(labels % 3, labels, weak_vocabulary=3, teacher_vocabulary=1200))
    page = write_report(from_confusion(confusion), tmp_path / "wide.html")
    resize(browser, 1400)
    show(browser, page)
    assert browser.find_element(By.ID, "matrix-canvas").size["height"] >= 26 + 3 * 12


def test_a_matrix_without_samples_is_a_sentence(browser, tmp_path):
    page = write_report(from_confusion(ConfusionMatrix(["a", "b", "c"])), tmp_path / "empty.html")
    resize(browser, 1400)
    show(browser, page)
    for section in ("matrix", "spaces", "sizes", "dropped"):
        found = browser.find_element(By.ID, section)
        assert "there is nothing to draw" in found.text
        assert not found.find_elements(By.CSS_SELECTOR, "svg, canvas")
    assert browser.get_log("browser") == []


def column(browser, table, number):
    cells = browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody td:nth-child({number})")
    return [cell.text for cell in cells]


@pytest.mark.parametrize(("table", "text"), [("cells-table", "DRUMS"), ("classes-table", "<script>")])
def test_search_finds_what_it_is_asked_for_and_nothing_else(shown, table, text):
    before = len(column(shown, table, 1))
    search = shown.find_element(By.CSS_SELECTOR, f"#{table} input[type=search]")
    search.send_keys(text)
    time.sleep(0.3)
    rows = [row.text for row in shown.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")]
    assert 0 < len(rows) < before
    assert all(text.lower() in row.lower() for row in rows)


def sort_by(browser, number):
    button = browser.find_element(By.CSS_SELECTOR, f"#classes-table th:nth-child({number}) button")
    centre(browser, button)
    button.click()


def test_a_table_sorts_by_each_of_its_columns(shown):
    sort_by(shown, 3)
    sizes = [int(text) for text in column(shown, "classes-table", 3)]
    assert sizes == sorted(sizes)
    sort_by(shown, 3)
    sizes = [int(text) for text in column(shown, "classes-table", 3)]
    assert sizes == sorted(sizes, reverse=True)
    sort_by(shown, 2)
    kinds = column(shown, "classes-table", 2)
    assert kinds == sorted(kinds)
    head = shown.find_element(By.CSS_SELECTOR, "#classes-table th:nth-child(2)")
    assert head.get_attribute("aria-sort") == "ascending"


def test_a_table_filters_by_kind(shown):
    shown.find_element(By.CSS_SELECTOR, "#classes-table option[value=agreed]").click()
    assert set(column(shown, "classes-table", 2)) == {"agreed"}


def test_another_order_and_another_colour_draw_another_matrix(shown):
    pixels = "return document.getElementById('matrix-canvas').toDataURL()"
    pictures = {shown.execute_script(pixels)}
    for option in ("agreement", "vocabulary"):
        shown.find_element(By.CSS_SELECTOR, f"#matrix-order option[value={option}]").click()
        pictures.add(shown.execute_script(pixels))
    shown.find_element(By.CSS_SELECTOR, "#matrix-scale option[value=share]").click()
    pictures.add(shown.execute_script(pixels))
    assert len(pictures) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(browser, page, scheme):
    resize(browser, 400)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    show(browser, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 23, 29)"}[scheme]
    assert browser.get_log("browser") == []


def test_it_prints(shown):
    pdf = shown.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert pdf.startswith("JVBER")
    assert len(pdf) > 50_000


def test_five_thousand_classes_a_side_open_at_once(browser, tmp_path):
    generator = np.random.default_rng(0)
    weak = generator.integers(0, 5000, 2_000_000)
    near = (weak + generator.integers(0, 60, len(weak))) % 5000
    teacher = np.where(generator.random(len(weak)) < 0.5, weak, near)
    names = [f"<i>{number}</i>" for number in range(5000)]
    confusion = count(Pairs(weak, teacher, weak_vocabulary=names))
    page = write_report(from_confusion(confusion), tmp_path / "large.html")
    assert page.stat().st_size < 10e6
    resize(browser, 1400)
    assert show(browser, page) < 3
    search = browser.find_element(By.CSS_SELECTOR, "#cells-table input[type=search]")
    search.send_keys("<i>4321</i>")
    time.sleep(0.5)
    assert "<i>4321</i>" in browser.find_element(By.CSS_SELECTOR, "#cells-table tbody tr").text
    browser.find_element(By.ID, "matrix-canvas").send_keys(Keys.ARROW_RIGHT)
    assert "classes)" in browser.find_element(By.ID, "matrix-readout").text
    assert browser.get_log("browser") == []


RUNS = [Path(page) for page in os.environ.get("SUBLABEL_REPORTS", "").split(os.pathsep) if page]


@pytest.mark.skipif(not RUNS, reason="SUBLABEL_REPORTS names no pages of real runs")
@pytest.mark.parametrize("run", RUNS)
def test_the_page_of_a_real_run_works(browser, run):
    resize(browser, 1400)
    show(browser, run.absolute())
    headings = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    # A run may be without a curve, and nothing may have been explained.
    optional = {"Clips per video", "What classes look at"} - {*headings}
    assert headings == [name for name in SECTIONS if name not in optional]
    canvas = browser.find_element(By.ID, "matrix-canvas")
    centre(browser, canvas)
    ActionChains(browser).move_to_element_with_offset(canvas, 40, 60).perform()
    weak = browser.find_element(By.ID, "matrix-tip").text.split("\n")[0].removeprefix("weak label: ")
    browser.find_element(By.CSS_SELECTOR, "#cells-table input[type=search]").send_keys(weak)
    time.sleep(0.3)
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#cells-table tbody tr")]
    assert rows
    assert all(weak in row for row in rows)
    assert [url for url in requests(browser) if not url.startswith(("file:", "data:", "blob:"))] == []
    assert browser.get_log("browser") == []
