"""The cohort's page in headless Chromium: it sorts, its links open, nothing is asked for."""

import pytest
from driving import opened, quiet_and_offline, resize

from mapdiff.report.cohort_run import evaluate_folders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(smoothed_cohort, tiny_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "page"
    low = smoothed_cohort / "low"
    return evaluate_folders(smoothed_cohort / "smoothed", tiny_cohort, output=folder, inputs=low).page


def column(browser, number: int) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#subjects tbody tr')]"
        ".map(row => row.cells[arguments[0]].textContent)",
        number,
    )


def test_the_list_sorts_and_its_names_open_the_subjects_pages(browser, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    quiet_and_offline(browser)
    heads = browser.find_elements(By.CSS_SELECTOR, "#subjects .sort")
    names = [head.text for head in heads]
    for name, value in (("PSNR prediction, dB", float), ("Input dose", lambda text: 1 / float(text[2:]))):
        number = names.index(name)
        browser.execute_script("arguments[0].focus()", heads[number])
        for order, falling in (("ascending", False), ("descending", True)):
            heads[number].send_keys(Keys.ENTER)  # a keyboard sorts too
            values = [value(cell) for cell in column(browser, number)]
            assert values == sorted(values, reverse=falling) and len(values) == 6
            told = browser.execute_script(
                "return document.querySelectorAll('#subjects th')[arguments[0]].getAttribute('aria-sort')",
                number,
            )
            assert told == order
    links = browser.find_elements(By.CSS_SELECTOR, "#subjects tbody a")
    name, target = links[0].text, links[0].get_attribute("href")
    browser.execute_script("arguments[0].click()", links[0])
    assert browser.current_url == target
    assert browser.find_element(By.TAG_NAME, "h1").text == name
    # The pictures are drawn, at both widths nothing but the tables scrolls sideways.
    opened(browser, page)
    loaded = "return [...document.images].map(i => i.complete && i.naturalWidth > 0)"
    assert len(browser.execute_script(loaded)) >= 6 and all(browser.execute_script(loaded))
    for width in (390, 1280):
        resize(browser, width, 800)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
