"""The line of an error is the line that an editor shows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data.film_files import film
from hilum.data.lines import row_name
from hilum.data.manifest import read_manifest
from hilum.data.readers.common import need_columns
from hilum.data.sources import read
from hilum.errors import DataError, HilumError, RequestError


def test_lines_are_counted_below_the_heading_blank_lines_and_quoted_line_breaks_too(tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    table.write_bytes(b'\xef\xbb\xbfpath;note\r\n1.png;"two\r\nlines"\r\n\r\n2.png;x\r\n3.png;"a;b"\r\n')
    assert [row_name(table, row).rsplit(" ", 1)[1] for row in range(3)] == ["2", "5", "6"]


def test_a_table_that_has_changed_is_counted_again(tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    table.write_text("path,note\n1.png,x\n2.png,y\n")
    assert row_name(table, 1).endswith("line 3")
    table.write_text('path,note\n1.png,"longer\nthan before"\n2.png,y\n')
    assert row_name(table, 1).endswith("line 4")


def test_the_csv_reader_names_the_line_of_a_cell_it_does_not_understand(tmp_path: Path) -> None:
    film(tmp_path / "a.png")
    film(tmp_path / "b.png", seed=1)
    (tmp_path / "films.csv").write_text('path,label,note,sex\na.png,ill,"seen\nby two\nreaders",F\nb.png,ill,,woman?\n')
    with pytest.raises(DataError, match=r"films\.csv line 5: sex 'woman\?' is not understood"):
        read(f"csv:{tmp_path / 'films.csv'}")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x/1,2.png,ill,x,train", r"line 4: image_id 'x/1' stands there twice.*Remove one"),
        (",2.png,ill,x,train", r"line 4: image_id is empty.*Fill it in"),
        ("x/2,2.png,ill,x,tran", r"line 4: split 'tran' is not one of train, validation, test.*Write one of them"),
    ],
)
def test_a_manifest_in_text_names_the_line_and_the_next_step(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f'image_id,path,label,source,split\nx/1,1.png,"ill\nor well",x,train\n{line}\n')
    with pytest.raises(DataError, match=told):
        read_manifest(path)


def test_a_manifest_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"this is no manifest.*hilum data build"):
        read_manifest(path)


def test_a_missing_column_lists_those_that_are_there(tmp_path: Path) -> None:
    table = pd.DataFrame({"filename": ["a.png"], "find": ["COVID-19"]})
    with pytest.raises(
        DataError, match=r"'finding' is missing; the columns are filename, find\. Did you mean 'find'\?"
    ):
        need_columns(table, ("filename", "finding"), where="metadata.csv")
    with pytest.raises(DataError, match=r"'modality' is missing; the columns are filename, find\. Is this the table"):
        need_columns(table, ("modality",), where="metadata.csv")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_table_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.csv").write_bytes(content)
    with pytest.raises(HilumError) as caught:
        read(f"csv:{tmp_path / 'e.csv'}?path=file&label=diagnosis")
    assert "e.csv: the table is empty" in str(caught.value)
    assert caught.value.next_step
    with pytest.raises(HilumError, match=r"e\.csv: the table is empty"):
        read(tmp_path / "e.csv")


@pytest.mark.parametrize("source", ["{}", "csv:{}", "csv:{}?path=path&label=label"])
def test_a_table_of_a_heading_alone_is_said_to_have_no_row(tmp_path: Path, source: str) -> None:
    (tmp_path / "e.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"no row below its heading; the columns are path, label"):
        read(source.format(tmp_path / "e.csv"))


def test_a_table_without_path_and_label_lists_its_columns(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("file;diagnosis\na.png;ill\n")
    with pytest.raises(RequestError, match=r"the columns are file, diagnosis\. Say which they are"):
        read(tmp_path / "e.csv")


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("path,label,label\na.png,ill,well\n")
    with pytest.raises(DataError, match="two columns are named 'label'"):
        read(tmp_path / "e.csv")
