"""Where the rows of a text table stand, counted as an editor counts its lines."""

from __future__ import annotations

import contextlib
import csv
import io
from functools import lru_cache
from pathlib import Path


def decoded(raw: bytes) -> str:
    """The text of a table: UTF-8 with or without its mark, else Windows' old encoding."""
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def separator_of(head: str) -> str:
    """What divides the cells of a heading line: a comma, a semicolon or a tab."""
    return max(",;\t", key=head.count)


def row_name(path: Path | str, row: int) -> str:
    """Where row 0, 1, ... of a text table begins: below its heading, blank lines and line breaks in quotes counted.

    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "films.csv"
    >>> _ = table.write_text('path,note\\n1.png,"two\\nlines"\\n\\n2.png,x\\n')
    >>> [row_name(table, row).rsplit(" ", 1)[-1] for row in (0, 1)]
    ['2', '5']
    """
    about = Path(path).stat()
    lines = _lines(str(path), about.st_size, about.st_mtime_ns)
    return f"{path} line {lines[row] if row < len(lines) else row + 2}"


@lru_cache(maxsize=4)
def _lines(path: str, size: int, mtime_ns: int) -> tuple[int, ...]:
    """The line on which each row below the heading begins; size and mtime_ns say which state of the file it is.

    Fewer than there are where the text breaks off what a table is.
    """
    text = decoded(Path(path).read_bytes())
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text.lstrip().split("\n", 1)[0]))
    begins, lines = 1, []
    with contextlib.suppress(csv.Error):
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):  # a blank line is no row
                lines.append(begins)
            begins = reader.line_num + 1
    return tuple(lines[1:])
