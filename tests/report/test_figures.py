"""What the figures draw, by numbers that a hand can check."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image

from hilum.report import figures
from hilum.report.palette import class_colours, inline_svg, save, svg
from report.made_run import made_history

Y = np.array([0, 0, 0, 1, 1, 2])
P = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]])
CLASSES = ["covid-19", "pneumonia", "normal"]


def test_a_class_has_one_colour_in_every_picture() -> None:
    colour = class_colours(CLASSES)["pneumonia"]
    ages = pd.Series([30.0, 40.0, 50.0, 60.0, 35.0, 45.0])
    labels = pd.Series([CLASSES[y] for y in Y])
    for figure in (
        figures.roc_curves(Y, P, CLASSES),
        figures.precision_recall_curves(Y, P, CLASSES),
        figures.age_histogram(ages, labels, CLASSES),
    ):
        legend = figure.axes[0].get_legend()
        place = [text.get_text().startswith("pneumonia") for text in legend.get_texts()].index(True)
        handle = legend.legend_handles[place]
        drawn = handle.get_color() if hasattr(handle, "get_color") else handle.get_edgecolor()
        assert str(drawn) == colour or np.allclose(drawn[:3], [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_the_colours_of_the_first_classes_can_be_seen_on_white() -> None:
    def luminance(colour: str) -> float:  # WCAG 2.2
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in list(class_colours(["a", "b", "c"]).values()):
        assert 1.05 / (luminance(colour) + 0.05) >= 3.0


def test_the_roc_curve_goes_through_the_points_of_a_hand() -> None:
    # normal: the one film scores 0.8, all others 0.1, so the curve rises straight to (0, 1).
    line = next(line for line in figures.roc_curves(Y, P, CLASSES).axes[0].lines if line.get_label() == "normal")
    assert (0.0, 1.0) in set(zip(*line.get_data(), strict=True))


def test_a_class_that_no_film_has_is_called_undefined() -> None:
    for draw in (figures.roc_curves, figures.precision_recall_curves):
        words = [text.get_text() for text in draw(Y[:5], P[:5], CLASSES).axes[0].get_legend().get_texts()]
        assert words[-1] == "normal  undefined"


def test_a_legend_says_what_its_figures_are() -> None:
    for draw in (figures.roc_curves, figures.precision_recall_curves):
        legend = draw(Y, P, CLASSES, words={"normal": "0.9 [0.8, 1.0]"}, title="AUROC [95 %]").axes[0].get_legend()
        assert legend.get_title().get_text() == "AUROC [95 %]"


def test_the_confusion_matrix_shows_counts_and_shares_of_the_row() -> None:
    counts = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    texts = [text.get_text() for text in figures.confusion_matrix(counts, CLASSES).axes[0].texts]
    assert texts[:4] == ["3", "75.0 %", "1", "25.0 %"]
    assert texts[-6:] == ["0", "–"] * 3  # no film of the class: a share of nothing is no 0 %


def test_many_classes_are_drawn_without_numbers_that_nobody_could_read() -> None:
    names = [f"class {number}" for number in range(15)]
    assert not figures.confusion_matrix(np.eye(15, dtype=int), names).axes[0].texts


def test_a_calibration_point_has_the_wilson_interval_of_its_bin() -> None:
    # Ten films at 0.95, nine of them right: 0.596 to 0.982 (Wilson 1927, as in the style guide).
    figure = figures.calibration_curve(np.array([True] * 9 + [False]), np.full(10, 0.95), "ill", "#0072b2")
    _, bar, point = figure.axes[0].lines
    assert np.round(bar.get_ydata(), 3).tolist() == [0.596, 0.982]
    assert np.allclose(point.get_xydata(), [[0.95, 0.9]])


def test_the_lowest_loss_and_the_kept_epochs_are_marked_where_they_are() -> None:
    history = made_history()
    history["validation_loss"] = [0.9, 0.5, 0.4, 0.2, 0.3, 0.6, 0.6, 0.7]
    axes = figures.loss_curves(history, kept=[1, 5]).axes[0]
    assert [4.0, 0.2] in [line.get_xydata().tolist()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[2, 2], [6, 6]]  # upright, at epochs 2 and 6
    assert "stage 2" in [text.get_text() for text in axes.texts]


def test_one_epoch_and_missing_figures_can_be_drawn() -> None:
    history = made_history().head(1).assign(validation_macro_auroc=np.nan, validation_loss=np.nan)
    for draw in (figures.loss_curves, figures.validation_curves, figures.learning_rate_curve):
        figure = draw(history)
        assert "<svg" in svg(figure)
        assert figure.axes[0].get_xticks().tolist() == [1]


def test_films_of_one_age_or_none_can_be_drawn() -> None:
    for ages in ([0.0, 0.0], [None, None], [104.0, None]):
        table = pd.Series(ages, dtype="Float64")
        assert "<svg" in svg(figures.age_histogram(table, pd.Series(["a", "b"]), ["a", "b"]))


def test_a_film_keeps_its_aspect_and_is_grey() -> None:
    film = np.linspace(0, 255, 200 * 100).reshape(200, 100).astype(np.uint8)
    image = figures.film_sheet([(film, "tall")], columns=1).axes[0].images[0]
    assert image.get_cmap().name == "gray"
    assert image.axes.get_aspect() == 1.0
    assert image.get_clim() == (0, 255)


def test_a_saved_figure_is_whole_and_its_inline_form_follows_the_theme(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = save(figures.roc_curves(Y, P, CLASSES), tmp_path, "roc")
    assert (tmp_path / "roc.svg").read_text(encoding="utf-8") == text
    assert Image.open(tmp_path / "roc.png").size[0] == round(4.6 * 200)
    inline = inline_svg(text, name="roc", alt='ROC of "a" & <b>')
    assert inline.startswith('<svg role="img" aria-label="ROC of &quot;a&quot; &amp; &lt;b&gt;" viewBox=')
    assert "#1b1f24" not in inline
    assert "currentColor" in inline
    assert "DejaVu" not in inline
