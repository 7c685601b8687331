"""The pages in a real browser, at the widths of a desk and of a phone. Needs Chromium, as of Debian.

HILUM_AXE: the path of axe.min.js, where its rules shall be asked too. HILUM_PICTURES: a folder for screenshots.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.serving import png

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'hilum[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WIDTHS = {"desk": 1280, "phone": 390}
AXE = os.environ.get("HILUM_AXE")
PICTURES = os.environ.get("HILUM_PICTURES")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS.keys())
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """A page of the server; it must not complain, ask anybody else, or be wider than its window."""
    page = browser.new_page(viewport={"width": request.param, "height": 900}, base_url=address)
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    asked: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert complaints == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    page.close()


def until(page: Any, expression: str) -> None:
    """Wait for it; Playwright's own waiting runs scripts from text, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not so: {expression}")


def look(page: Any, name: str) -> None:
    """What holds for every page."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    width = page.viewport_size["width"]
    assert wide <= width, f"{name} is {wide} pixels wide in a window of {width}"
    assert page.get_by_text("Research use only. Not a medical device.").first.is_visible()
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}-{width}.png", full_page=True)
    if AXE:
        page.evaluate(Path(AXE).read_text())  # through the debugger, which the page's policy does not hold
        found = page.evaluate(
            "axe.run().then(made => made.violations.map(each => [each.id, each.impact, each.nodes[0].html]))"
        )
        assert [each for each in found if each[1] in ("serious", "critical")] == []


def test_films_are_dropped_seen_read_and_found_again(page: Any, films: list[Path], tmp_path: Path) -> None:
    width = page.viewport_size["width"]
    sent = []
    for number in range(3):
        path = tmp_path / f"film-{width}-{number}.png"
        path.write_bytes(films[number + 3 * (width == 390)].read_bytes())
        sent.append(path)
    (tmp_path / f"notes-{width}.txt").write_text(f"no film, {width}")

    page.goto("/")
    page.set_input_files("#films", [*sent, tmp_path / f"notes-{width}.txt"])
    page.get_by_text("4 of 4 files sent").wait_for()
    for path in sent:
        page.locator(".card.done", has_text=path.name).wait_for()
    page.locator(".card.failed", has_text=f"notes-{width}.txt").get_by_text("not a film").wait_for()
    look(page, "screen")
    page.reload()
    assert page.locator(".card.done").count() >= 3

    page.locator(".card h2 a", has_text=sent[1].name).click()
    until(page, "document.getElementById('picture')?.naturalWidth > 0")
    page.locator("body").press("i")
    assert "invert(1)" in page.eval_on_selector("#picture", "each => each.style.filter")
    page.locator("body").press("m")
    until(page, "document.getElementById('map')?.naturalWidth > 0")
    assert "logits" in page.locator("#map-scale").inner_text()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 30)
    page.mouse.up()
    assert page.locator("#readout").inner_text().startswith("level 148, window 296")
    look(page, "film")
    page.locator("body").press("r")
    assert page.locator("#readout").inner_text() == "level 128, window 256, zoom 1.0"
    page.locator("textarea").fill("a comment")
    page.locator("body").click(position={"x": 2, "y": 300})
    with page.expect_navigation():
        page.locator("body").press("a")

    page.goto("/worklist")
    page.locator("select[name=state]").select_option("read")
    page.locator("#rows", has_text=sent[1].name).wait_for()
    page.locator("#rows").get_by_text(sent[0].name).wait_for(state="detached")
    page.locator("select[name=state]").select_option("")
    page.locator("#rows", has_text=sent[0].name).wait_for()
    look(page, "worklist")
    page.goto("/models")
    look(page, "models")
    page.get_by_label("Sensitivity 0.95").check()
    page.get_by_role("button", name="Use this point").click()
    assert page.get_by_label("Sensitivity 0.95").is_checked()
    page.get_by_role("link", name="Report").click()
    assert "Not a medical device" in page.content()


@pytest.mark.real
def test_a_zip_of_ten_real_films_and_dicom_objects_get_a_card_each(page: Any, shared: Path, tmp_path: Path) -> None:
    width = page.viewport_size["width"]
    folders = ("No_findings", "Covid-19", "Pneumonia")
    real = [film for name in folders for film in sorted((shared / "data" / "darkcovidnet" / name).iterdir())[:4]][:10]
    with zipfile.ZipFile(tmp_path / "ten.zip", "w") as archive:
        for film in real:
            archive.write(film, f"{width}/{film.name}")
    page.goto("/")
    page.set_input_files(
        "#films",
        [tmp_path / "ten.zip", *(shared / "data" / "dicom" / name for name in ("cr-ap-jpeg.dcm", "nih-tagged-ct.dcm"))],
    )
    page.get_by_text("3 of 3 files sent").wait_for()
    for name in [*(film.name for film in real), "cr-ap-jpeg.dcm"]:
        page.locator(".card.done", has_text=name).wait_for()
    page.locator(".card.failed", has_text="nih-tagged-ct.dcm").get_by_text("modality").wait_for()
    look(page, "real-screen")
    page.locator(".card h2 a", has_text="cr-ap-jpeg.dcm").click()
    until(page, "document.getElementById('picture')?.naturalWidth > 300")
    page.locator("body").press("m")
    until(page, "document.getElementById('map')?.naturalWidth > 300")
    look(page, "real-film")
    page.goto("/worklist?text=cr-ap")
    assert page.locator("#rows tbody tr").count() == 1
    look(page, "real-worklist")


def test_a_film_is_sent_without_the_pages_script(browser: Any, address: str, tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    path.write_bytes(png(77))
    context = browser.new_context(java_script_enabled=False, base_url=address)
    page = context.new_page()
    page.goto("/")
    page.set_input_files("#films", path)
    page.get_by_role("button", name="Send").click()
    assert "batch=" in page.url
    for _ in range(40):
        if page.locator(".card.done").count():
            break
        page.wait_for_timeout(250)
        page.reload()
    assert "plain.png" in page.locator(".card.done").inner_text()
    context.close()
