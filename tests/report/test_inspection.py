"""The page of an inspection: whole, escaped, offline, and honest about what nobody knows."""

from __future__ import annotations

from pathlib import Path

from data.film_files import films
from hilum.data.collect import with_facts
from hilum.data.inspection import inspect
from hilum.data.sources import read
from hilum.report.inspection import render


def page(*sources: str, files: bool = True) -> str:
    manifest = read(*sources)
    if files:
        manifest, _ = with_facts(manifest, workers=1)
    return render(inspect(manifest), manifest, asked=sources)


def test_the_cautions_stand_before_every_table(tmp_path: Path) -> None:
    films(tmp_path / "north", "ill/a.png", "ill/b.png")
    films(tmp_path / "south", "well/c.png", "well/d.png")
    text = page(f"folder:{tmp_path / 'north'}", f"folder:{tmp_path / 'south'}")
    assert 0 < text.index("Every ill film comes from north, and nothing else does") < text.index("<table")


def test_strangers_words_cannot_break_the_page(tmp_path: Path) -> None:
    films(tmp_path / "x", "<script>alert(1)<%2Fscript>/a.png", '$5 & "more"/b.png')
    text = page(f"folder:{tmp_path / 'x'}")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_films_that_are_gone_leave_a_page_that_says_so(tmp_path: Path) -> None:
    root = films(tmp_path / "x", "ill/a.png", "well/b.png")
    manifest, _ = with_facts(read(f"folder:{root}"), workers=1)
    found = inspect(manifest)
    (root / "ill" / "a.png").unlink()
    text = render(found, manifest, asked=["x"])
    assert text.count("No picture:") == 1
    assert text.count("data:image/webp") == 1


def test_what_is_unknown_is_said_and_no_figure_is_drawn_of_it(tmp_path: Path) -> None:
    text = page(f"folder:{films(tmp_path / 'x', 'ill/a.png', 'well/b.png')}", files=False)
    for words in ("No film tells an age.", "No film tells its patient.", "Nobody looked into the files"):
        assert words in text
    assert "<svg" not in text


def test_the_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    text = page(f"folder:{films(tmp_path / 'x', 'ill/p1_a.png', 'well/p2_b.png')}?patient=(?P<patient>p\\d)")
    assert "<svg" in text  # films per patient
    for address in ('src="http', 'href="http', "url(http", "@import"):
        assert address not in text
