"""The page of a run in a real browser, opened from the disk."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import symloss as sl
from symloss.discovery.result import SearchResult
from tests.report.runs import make_result

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="needs Chromium and chromedriver: apt-get install chromium chromium-driver",
)
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1200,900",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion",
)  # fmt: skip
HOSTILE = "</script></title><img src=x onerror=\"alert(1)\"><svg onload='alert(2)'>&lt;{{ 7 * 7 }}\u2028]]>--><style>"


def result(name: str = "digits") -> SearchResult:
    """Three losses on the front."""
    return make_result("binary", ("y*f", "abs(y - f)", "abs(log(1.2*y*f))"), name=name)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sl.report(result(), tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def opened(browser: Chrome, place: Path) -> Iterator[Chrome]:
    """The page, newly opened; afterwards nothing was complained of, and nothing but the file was asked for."""
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(place.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    messages = [str(entry["message"]) for entry in browser.get_log("performance")]
    asked = [m for m in messages if '"Network.requestWillBeSent"' in m]
    assert all(place.as_uri() in message for message in asked)


def rows(browser: Chrome) -> list[WebElement]:
    return browser.find_elements("css selector", "#losses tbody tr")


def chosen(browser: Chrome) -> str:
    """The heading of the one loss that is shown, whose row is the one that is selected."""
    shown = [a for a in browser.find_elements("css selector", "article.loss") if a.is_displayed()]
    selected = browser.find_elements("css selector", '#losses tr[aria-selected="true"]')
    assert len(shown) == len(selected) == 1
    assert selected[0].get_attribute("data-loss") == shown[0].get_attribute("id")
    return shown[0].find_element("tag name", "h3").text


def test_the_pick_is_shown_with_its_formula_set(opened: Chrome) -> None:
    assert chosen(opened).startswith("The pick")
    math = opened.find_element("css selector", ".hero math")
    assert math.size["height"] > 10
    family = opened.execute_script("return getComputedStyle(arguments[0]).display", math)
    assert "math" in family  # set as mathematics, not as a row of letters


def test_mouse(opened: Chrome) -> None:
    before = chosen(opened)
    rows(opened)[1].click()
    assert chosen(opened) != before
    assert opened.switch_to.active_element == rows(opened)[1]


def test_keyboard(opened: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    seen = [chosen(opened)]
    first = opened.find_element("css selector", '#losses tr[aria-selected="true"]')
    opened.execute_script("arguments[0].focus()", first)
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.HOME, Keys.END):
        opened.switch_to.active_element.send_keys(key)
        seen.append(chosen(opened))
    assert seen[0] == seen[4]
    assert seen[1] == seen[3]
    assert seen[2] == seen[5]
    assert len(set(seen)) == 3
    outline = opened.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    for key in (Keys.ENTER, Keys.SPACE):
        row = rows(opened)[0]
        opened.execute_script("arguments[0].focus()", row)
        row.send_keys(key)
        assert chosen(opened) == seen[0]


@pytest.mark.parametrize("column", [0, 1, 3])
def test_sorting(opened: Chrome, column: int) -> None:
    def values() -> list[str]:
        return [str(row.find_elements("tag name", "td")[column].get_attribute("data-value")) for row in rows(opened)]

    heads = opened.find_elements("css selector", "#losses thead th")
    kind = float if column < 3 else str
    orders = {}
    for _ in range(2):
        heads[column].find_element("tag name", "button").click()
        orders[str(heads[column].get_attribute("aria-sort"))] = [kind(value) for value in values()]
    assert orders["ascending"] == sorted(orders["ascending"])
    assert orders["descending"] == orders["ascending"][::-1]
    assert [h.get_attribute("aria-sort") for h in heads].count("none") == len(heads) - 1
    assert chosen(opened).startswith("The pick")


def test_copying_by_keyboard(opened: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    button = opened.find_element("css selector", "button.copy")
    button.send_keys(Keys.ENTER)
    for _ in range(50):
        if button.text != "Copy":
            break
        time.sleep(0.02)
    assert button.text in ("Copied", "Press Ctrl+C")


def test_copying_without_a_clipboard_selects_the_text(opened: Chrome) -> None:
    opened.execute_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined }); document.execCommand = () => false;"
    )
    button = opened.find_element("css selector", "button.copy")
    button.click()
    text = opened.find_element("id", str(button.get_attribute("data-copy"))).get_attribute("textContent")
    assert opened.execute_script("return String(getSelection())").strip() == str(text).strip()
    assert button.text == "Press Ctrl+C"


def emulate(browser: Chrome, command: str, **values: Any) -> Any:
    return browser.execute_cdp_cmd(f"Emulation.{command}", values)


@pytest.mark.parametrize("width", [320, 375, 768])
def test_no_scrolling_sideways(opened: Chrome, width: int) -> None:
    emulate(opened, "setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=2, mobile=True)
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        emulate(opened, "clearDeviceMetricsOverride")


def test_print_has_everything_and_no_buttons(opened: Chrome) -> None:
    emulate(opened, "setEmulatedMedia", media="print")
    try:
        assert all(article.is_displayed() for article in opened.find_elements("css selector", "article.loss"))
        assert not any(button.is_displayed() for button in opened.find_elements("css selector", "button.copy"))
    finally:
        emulate(opened, "setEmulatedMedia", media="")
    pdf = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")


def test_dark(opened: Chrome) -> None:
    def brightness() -> int:
        colour = opened.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(","))

    light = brightness()
    emulate(opened, "setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        assert brightness() < 150 < 600 < light
    finally:
        emulate(opened, "setEmulatedMedia", features=[])


def test_without_scripts(browser: Chrome, place: Path) -> None:
    emulate(browser, "setScriptExecutionDisabled", value=True)
    try:
        browser.get(place.as_uri())
        assert all(article.is_displayed() for article in browser.find_elements("css selector", "article.loss"))
        assert not any(button.is_displayed() for button in browser.find_elements("css selector", "button.copy"))
    finally:
        emulate(browser, "setScriptExecutionDisabled", value=False)


def test_a_hostile_run(browser: Chrome, tmp_path: Path) -> None:
    browser.get(sl.report(result(HOSTILE), tmp_path / "page.html").as_uri())
    assert browser.get_log("browser") == []
    assert browser.find_elements("css selector", "img, [onload], [onerror]") == []
    assert chosen(browser).startswith("The pick")
    assert "<img src=x" in browser.find_element("tag name", "h1").text


def test_a_hostile_page_could_not_reach_the_network(opened: Chrome) -> None:
    blocked = opened.execute_async_script(
        "const done = arguments[0]; fetch('https://example.invalid/').then(() => done('sent'), (e) => done(String(e)));"
    )
    assert blocked != "sent"
    complaints = [entry["message"] for entry in opened.get_log("browser")]
    assert any("Content Security Policy" in message for message in complaints)
