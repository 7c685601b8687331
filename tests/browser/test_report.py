"""The report in a real browser, at the widths of a desk and of a phone, and printed. Needs Chromium, as of Debian."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilum.report.page import write_report
from report.made_run import made_films, made_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'hilum[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"desk": 1280, "phone": 390}

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything that could be too wide: long names, many classes, sources and notes, an audit."""
    folder = tmp_path_factory.mktemp("run")
    classes = ("covid-19", "pneumonia/bacterial/streptococcus-pneumoniae", "normal", "w" * 40, "tuberculosis")
    films = made_films(folder / "films", classes, each=16)
    films["source"] = films["source"] + "-of-a-name-that-does-not-end-" + "x" * 60
    run = made_run(folder / "made", films, classes, notes=["This split leaks: " + "/".join(["patient"] * 40)])
    return write_report(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:  # type: ignore[name-defined]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_the_report_fits_asks_for_nothing_and_complains_of_nothing(
    browser: sync_api.Browser,  # type: ignore[name-defined]
    report: Path,
    width: int,
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert complaints == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} pixels wide in a window of {width}"
    # Nothing is cut off beyond the edge either, but in the tables that scroll on their own.
    beyond = page.evaluate(
        """width => [...document.querySelectorAll("main *")]
            .filter(each => !each.closest(".wide, svg") && each.getBoundingClientRect().right > width + 1)
            .map(each => each.outerHTML.slice(0, 90))""",
        width,
    )
    assert beyond == []
    broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.alt)")
    assert broken == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_the_contrast_that_wcag_aa_asks_for(
    browser: sync_api.Browser,  # type: ignore[name-defined]
    report: Path,
    scheme: str,
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page.goto(report.as_uri())
    faint = page.evaluate(
        """() => {
        const parse = text => text.match(/[\\d.]+/g).map(Number);
        const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
        const behind = each => {
            for (; each; each = each.parentElement) {
                const colour = parse(getComputedStyle(each).backgroundColor);
                if (colour.length < 4 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
        };
        return [...document.querySelectorAll("body *")].filter(each => !each.closest("svg")
            && [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).filter(each => {
            const [a, b] = [light(parse(getComputedStyle(each).color)), light(behind(each))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
        }).map(each => each.outerHTML.slice(0, 90)); }"""
    )
    assert faint == []
    page.close()


def test_a_print_carries_the_warning_on_every_page(browser: sync_api.Browser, report: Path, tmp_path: Path) -> None:  # type: ignore[name-defined]
    if not shutil.which("pdftotext"):
        pytest.skip("pdftotext is not installed: apt-get install poppler-utils")
    page = browser.new_page()
    page.goto(report.as_uri())
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    page.close()
    text = subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"], capture_output=True, text=True, check=True
    ).stdout
    pages = text.split("\f")[:-1]
    assert len(pages) > 3
    assert all("For research only. Not a medical device." in each for each in pages)
    assert "recipe.toml" in text
    assert "side_px = 224" in text  # the folded recipe is unfolded on paper
