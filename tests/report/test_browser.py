"""The page in a real browser, opened from a file, with everything that it asks of the network recorded."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

import symloss as sl
from symloss.discovery.result import SearchResult
from symloss.report import measured
from symloss.report.page import page
from tests.report.runs import evaluated, make_result

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Chromium and chromedriver: apt-get install chromium chromium-driver"
)

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900",
    "--force-prefers-reduced-motion",  # scrolling at once: the driver does not wait for it
)  # fmt: skip
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'{{7*7}}"


def open_browser(profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(str(DRIVER)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a run with an evaluation, and of one full of hostile texts."""
    top = tmp_path_factory.mktemp("pages")
    result = make_result("multiclass")
    recipe = {"name": HOSTILE, "model": HOSTILE, "seed": 0, "model_options": {}}
    bad = make_result(name=HOSTILE, identity=HOSTILE, recipe=recipe)
    bad = replace(bad, directory=Path(HOSTILE), versions={HOSTILE: HOSTILE})
    told = evaluated(bad, metric_name=HOSTILE)
    told = replace(told, rows=tuple(replace(row, name=f"{HOSTILE}{k}") for k, row in enumerate(told.rows)))
    pages: dict[str, tuple[SearchResult, sl.errors.SymlossError | Any]] = {
        "run": (result, evaluated(result)), "hostile": (bad, told),
    }  # fmt: skip
    for name, (run, evaluation) in pages.items():
        text = page(run, measured.matched(run, evaluation))
        (top / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: top / f"{name}.html" for name in pages}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = open_browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


@pytest.fixture
def browser(started: webdriver.Chrome, files: dict[str, Path]) -> Iterator[webdriver.Chrome]:
    """A browser that shows the run afresh; afterwards it has told of no error and asked for nothing but the file."""
    started.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    started.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    for kind in ("browser", "performance"):
        started.get_log(kind)
    started.get(files["run"].as_uri())
    yield started
    assert started.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in started.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert all(url.startswith(("file:///", "data:")) for url in asked), asked


def shown(browser: webdriver.Chrome) -> list[str]:
    """Ids of the losses that can be seen."""
    return [a.get_attribute("id") or "" for a in browser.find_elements(By.CSS_SELECTOR, ".loss") if a.is_displayed()]


def rows(browser: webdriver.Chrome) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, "#losses tbody tr")


def chosen(browser: webdriver.Chrome) -> list[str]:
    found = browser.find_elements(By.CSS_SELECTOR, '#losses tr[aria-selected="true"]')
    return [row.get_attribute("data-loss") or "" for row in found]


def numbers(browser: webdriver.Chrome, column: int) -> list[float]:
    return [float(row.find_elements(By.TAG_NAME, "td")[column].get_attribute("data-value")) for row in rows(browser)]


def test_it_opens_with_the_pick_shown(browser: webdriver.Chrome) -> None:
    pick = browser.find_element(By.CSS_SELECTOR, "tr.pick").get_attribute("data-loss")
    assert shown(browser) == chosen(browser) == [pick]
    assert browser.find_element(By.ID, "losses").get_attribute("role") == "grid"


def test_the_formula_is_typeset(browser: webdriver.Chrome) -> None:
    """A browser that knows MathML makes a fraction taller than a line, and letters no wider than text."""
    size = browser.execute_script(
        "const m = document.querySelector('.hero math'); const b = m.getBoundingClientRect();"
        "return [b.width, b.height, getComputedStyle(m).display, m.namespaceURI]"
    )
    assert size[0] > 40
    assert size[1] > 20
    assert size[2] == "block math"
    assert size[3] == "http://www.w3.org/1998/Math/MathML"


def test_a_row_is_chosen_with_the_mouse(browser: webdriver.Chrome) -> None:
    row = rows(browser)[2]
    row.click()
    assert shown(browser) == chosen(browser) == [row.get_attribute("data-loss")]
    formula = browser.find_element(By.CSS_SELECTOR, ".loss.chosen code").text
    assert row.find_elements(By.TAG_NAME, "td")[-1].get_attribute("data-value") == formula
    assert "Shown below" in browser.find_element(By.ID, "told").get_attribute("textContent")


def test_rows_are_chosen_with_the_keyboard(browser: webdriver.Chrome) -> None:
    order = [row.get_attribute("data-loss") for row in rows(browser)]
    browser.execute_script("arguments[0].focus()", rows(browser)[0])
    for key, place in (
        (Keys.ARROW_DOWN, 1), (Keys.ARROW_DOWN, 2), (Keys.ARROW_UP, 1), (Keys.END, len(order) - 1), (Keys.HOME, 0),
        (Keys.ARROW_UP, 0), (Keys.ENTER, 0), (Keys.SPACE, 0),
    ):  # fmt: skip
        browser.switch_to.active_element.send_keys(key)
        assert shown(browser) == chosen(browser) == [order[place]]
        assert browser.switch_to.active_element.get_attribute("data-loss") == order[place]
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_one_row_is_a_stop_of_the_tab_key(browser: webdriver.Chrome) -> None:
    assert sorted(row.get_attribute("tabindex") for row in rows(browser)) == ["-1"] * (len(rows(browser)) - 1) + ["0"]


@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_a_column_sorts(browser: webdriver.Chrome, column: int) -> None:
    head = browser.find_elements(By.CSS_SELECTOR, "#losses thead th")[column]
    kept, seen = shown(browser), []
    for _ in range(2):
        head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        values, direction = numbers(browser, column), head.get_attribute("aria-sort")
        assert values == sorted(values, reverse=direction == "descending")
        seen.append(direction)
        others = [h for h in browser.find_elements(By.CSS_SELECTOR, "#losses th[aria-sort]") if h != head]
        assert {other.get_attribute("aria-sort") for other in others} == {"none"}
    assert sorted(seen) == ["ascending", "descending"]
    assert shown(browser) == kept


def test_values_under_the_pointer(browser: webdriver.Chrome) -> None:
    chart = browser.find_element(By.CSS_SELECTOR, ".loss.chosen svg.chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", chart)
    webdriver.ActionChains(browser).move_to_element(chart).perform()
    told = browser.find_element(By.CSS_SELECTOR, ".loss.chosen figure .values")
    assert told.is_displayed()
    assert told.text.startswith("predicted probability f: 0.")
    assert "this loss: " in told.text


@pytest.mark.parametrize("clipboard", [True, False])
def test_copying(browser: webdriver.Chrome, clipboard: bool) -> None:
    if not clipboard:
        browser.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    button = browser.find_element(By.CSS_SELECTOR, 'button[data-copy="exact"]')
    button.send_keys(Keys.ENTER)
    label = WebDriverWait(browser, 5).until(lambda _: button.text != "Copy" and button.text)
    assert label in ("Copied", "Press Ctrl+C")
    if not clipboard:
        text = browser.find_element(By.ID, "exact").text
        assert browser.execute_script("return getSelection().toString()").strip() == text


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_needs_no_sideways_scrolling(browser: webdriver.Chrome, width: int) -> None:
    metrics = {"width": width, "height": 700, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for row in rows(browser):
        browser.execute_script("arguments[0].click()", row)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def contrast(browser: webdriver.Chrome, selector: str) -> float:
    """Ratio of luminances of a text and its page, as the guidelines for accessible content define it."""
    levels = []
    for element, name in ((selector, "color"), ("html", "backgroundColor")):
        script = f"return getComputedStyle(document.querySelector({element!r})).{name}"
        channels = [int(c) / 255 for c in browser.execute_script(script).strip("rgba()").split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(browser: webdriver.Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    assert all(contrast(browser, selector) > 4.5 for selector in ("body", ".note", "h1 em", "a", "figcaption"))
    script = "return getComputedStyle(document.querySelector('svg.drawing')).filter"
    assert (browser.execute_script(script) == "none") == (scheme == "light")


def test_print_shows_everything_and_no_buttons(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert len(shown(browser)) == len(rows(browser))
    assert not any(b.is_displayed() for b in browser.find_elements(By.CSS_SELECTOR, "button.copy, nav"))
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(d.get_attribute("open") for d in browser.find_elements(By.TAG_NAME, "details"))
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not any(d.get_attribute("open") for d in browser.find_elements(By.TAG_NAME, "details"))
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")


def test_without_scripts(browser: webdriver.Chrome, files: dict[str, Path]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(files["run"].as_uri())
        root = browser.execute_cdp_cmd("DOM.getDocument", {"depth": 1})["root"]["nodeId"]

        def heights(selector: str) -> list[float]:
            query = {"nodeId": root, "selector": selector}
            found = browser.execute_cdp_cmd("DOM.querySelectorAll", query)["nodeIds"]
            return [browser.execute_cdp_cmd("DOM.getBoxModel", {"nodeId": node})["model"]["height"] for node in found]

        assert len(heights(".loss")) == 5
        assert all(height > 100 for height in heights(".loss"))
        assert all(height > 40 for height in heights("details"))
        assert all(height > 0 for height in heights("noscript"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_texts_do_nothing(browser: webdriver.Chrome, files: dict[str, Path]) -> None:
    browser.get(files["hostile"].as_uri())
    assert browser.title == f"A loss function for {HOSTILE} · symloss"
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h1").text
    assert browser.find_elements(By.TAG_NAME, "img") == []
    for row in rows(browser):
        row.click()
        assert shown(browser) == [row.get_attribute("data-loss")]


def test_a_script_that_is_not_the_pages_own_is_refused(started: webdriver.Chrome, files: dict[str, Path]) -> None:
    broken = files["run"].with_name("broken.html")
    text = files["run"].read_text(encoding="utf-8")
    broken.write_text(
        text.replace("<footer>", "<script>document.title='owned'</script><img src='http://127.0.0.1:9/'>")
    )
    started.get(broken.as_uri())
    assert "owned" not in started.title
    messages = " ".join(entry["message"] for entry in started.get_log("browser"))
    assert "script" in messages
    assert "Content Security Policy" in messages
    started.get_log("performance")


def test_a_script_that_got_in_could_not_reach_the_network(started: webdriver.Chrome, files: dict[str, Path]) -> None:
    started.get(files["run"].as_uri())
    answer = started.execute_async_script(
        "const done = arguments[0]; fetch('https://example.invalid/').then(() => done('sent'), (e) => done(String(e)));"
    )
    assert answer != "sent"
    assert any("Content Security Policy" in entry["message"] for entry in started.get_log("browser"))
