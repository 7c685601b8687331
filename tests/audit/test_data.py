"""The audit of films: what is planted is found, what is not there is not, what cannot be known is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import cv2
import numpy as np
import pandas as pd
import pytest

from hilum.audit.copies import copies
from hilum.audit.films import drawn, films_of
from hilum.audit.limits import LIMITS, limits_of
from hilum.audit.metadata import cramers_v, metadata
from hilum.audit.run import audit_data, read_checks, save_checks
from hilum.audit.traits import border, marks
from hilum.audit.verdict import Check, not_done
from hilum.data.collect import with_facts
from hilum.data.manifest import conform
from hilum.data.phantom import Shortcut, collection, write
from hilum.errors import DataError, RequestError
from hilum.recipe.schema import Audit, Bounds


def films(n: int = 80, **columns: object) -> pd.DataFrame:
    """n films of as many patients, ill and well in turn, from two sources in turn of two."""
    rows = {
        "image_id": [f"f{i:03d}" for i in range(n)],
        "path": [f"f{i:03d}.png" for i in range(n)],
        "label": ["ill" if i % 2 else "well" for i in range(n)],
        "source": ["a" if i // 2 % 2 else "b" for i in range(n)],
        "patient_id": [f"p{i:03d}" for i in range(n)],
        "sha256": [f"{i:064x}" for i in range(n)],
    }
    return conform(pd.DataFrame(rows | columns))


def check_of(found: list[Check], name: str) -> Check:
    return next(check for check in found if check.name == name)


def test_a_patient_in_train_and_test_fails_the_audit() -> None:
    part = ["test" if i < 20 else "train" for i in range(80)]
    patients = ["p000" if i == 70 else f"p{i:03d}" for i in range(80)]
    found = check_of(copies(films_of(films(split=part, patient_id=patients), Audit())), "patients-in-two-parts")
    assert (found.verdict, found.value, found.n, found.patients) == ("fail", 1.0, 80, 79)
    assert "f000 (test)" in found.details[0]
    clean = check_of(copies(films_of(films(split=part), Audit())), "patients-in-two-parts")
    assert (clean.verdict, clean.value) == ("pass", 0.0)


def test_a_film_in_train_and_test_fails_the_audit_though_no_patient_is_known() -> None:
    part = ["test" if i < 20 else "train" for i in range(80)]
    bytes_of = [f"{0 if i == 70 else i:064x}" for i in range(80)]
    found = copies(films_of(films(split=part, sha256=bytes_of, patient_id=None), Audit()))
    assert check_of(found, "films-in-two-parts").value == 1.0
    assert check_of(found, "films-in-two-parts").verdict == "fail"
    assert check_of(found, "patients-in-two-parts").verdict == "not done"
    assert "no film tells its patient" in check_of(found, "patients-in-two-parts").reason


def test_films_that_are_not_divided_are_not_said_to_be_divided_well() -> None:
    found = copies(films_of(films(), Audit()))
    assert check_of(found, "patients-in-two-parts").verdict == "not done"
    assert check_of(found, "films-in-two-parts").verdict == "not done"


def test_a_film_of_two_sources_and_two_labels_is_found() -> None:
    bytes_of = [f"{0 if i == 3 else i:064x}" for i in range(80)]  # film 0: well, of b; film 3: ill, of a
    found = copies(films_of(films(sha256=bytes_of), Audit()))
    across = check_of(found, "films-in-two-sources")
    assert (across.verdict, across.value) == ("warn", pytest.approx(1 / 40))
    assert check_of(found, "films-of-two-labels").verdict == "fail"


def test_a_class_from_one_source_alone_fails_and_an_even_spread_passes() -> None:
    apart = metadata(films_of(films(source=["a" if i % 2 else "b" for i in range(80)]), Audit()))
    assert check_of(apart, "label-and-source").value == 1.0
    assert check_of(apart, "label-and-source").verdict == "fail"
    assert check_of(apart, "sources-of-one-class").verdict == "fail"
    even = metadata(films_of(films(), Audit()))
    assert check_of(even, "label-and-source").verdict == "pass"
    assert check_of(even, "sources-of-one-class").value == 0.0


def test_cramers_v_is_that_of_scipy() -> None:
    from scipy.stats.contingency import association

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    b[a == 2] = 1
    table = pd.crosstab(a, b).to_numpy()
    assert cramers_v(a, b) == pytest.approx(association(table, method="cramer"))


def test_children_as_controls_fail_by_age_and_by_what_a_source_is_known_for() -> None:
    ages = [3.0 if i % 2 else 50.0 + i % 7 for i in range(80)]
    by_age = metadata(films_of(films(age_years=ages), Audit()))
    assert check_of(by_age, "age-and-label").verdict == "fail"
    assert check_of(by_age, "children-and-label").value == 1.0
    sources = ["kermany" if i % 2 else "darkcovidnet/nih" for i in range(80)]
    by_source = check_of(metadata(films_of(films(source=sources), Audit())), "children-and-label")
    assert (by_source.verdict, by_source.value) == ("fail", 1.0)


def test_views_that_go_with_the_class_fail_and_unknown_ones_are_not_judged() -> None:
    views = ["AP supine" if i % 2 else "PA" for i in range(80)]
    assert check_of(metadata(films_of(films(view=views), Audit())), "view-and-label").verdict == "fail"
    unknown = check_of(metadata(films_of(films(), Audit())), "view-and-label")
    assert (unknown.verdict, unknown.value) == ("not done", None)


def test_ages_noted_for_one_class_only_fail() -> None:
    ages = [40.0 + i % 9 if i % 2 else None for i in range(80)]
    found = metadata(films_of(films(age_years=ages), Audit()))
    assert check_of(found, "missing-and-label").verdict == "fail"
    assert check_of(found, "age-and-label").verdict == "not done"


def test_limits_of_the_recipe_change_the_verdict_and_are_said() -> None:
    views = ["AP" if i % 4 else "PA" for i in range(80)]
    limits = {"view-and-label": Bounds(warn=0.99, fail=0.999)}
    found = check_of(metadata(films_of(films(view=views), Audit(limits=limits))), "view-and-label")
    assert found.verdict == "pass"
    assert found.as_json()["limit"]["changed"] is True
    assert limits_of(Audit(limits={"sex-and-label": Bounds()}))["sex-and-label"] == LIMITS["sex-and-label"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"sex-and-lable": Bounds(warn=0.1)}, "Did you mean 'sex-and-label'?"),
        ({"sex-and-label": Bounds(warn=0.9)}, "before it warns at 0.9"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Bounds], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        limits_of(Audit(limits=limits))


def test_films_without_a_class_are_refused() -> None:
    with pytest.raises(DataError, match="no film has a known class"):
        films_of(films(label=None), Audit())


def test_the_same_films_are_drawn_in_any_order_and_rare_classes_are_drawn_whole() -> None:
    rows = films(400, label=["rare" if i < 20 else "common" for i in range(400)])
    some = films_of(rows, Audit(films=100))
    chosen = set(some.manifest["image_id"].iloc[drawn(some)])
    turned = films_of(rows.iloc[::-1], Audit(films=100))
    assert chosen == set(turned.manifest["image_id"].iloc[drawn(turned)])
    assert len(chosen) == 100
    assert {f"f{i:03d}" for i in range(20)} <= chosen


def test_a_white_letter_in_a_corner_is_a_mark_and_a_chest_has_none() -> None:
    film = np.full((256, 256), 90, np.uint8)
    cv2.circle(film, (128, 128), 90, 160, -1)
    assert marks(film)[12] == 0
    cv2.putText(film, "R", (18, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    assert marks(film)[0] == 1  # upper left
    assert marks(film)[12] == 1


def test_a_black_frame_is_measured_on_each_side() -> None:
    film = np.full((200, 100), 128, np.uint8)
    film[:20] = 0
    film[:, -5:] = 255
    edges = border(film)[-8:].reshape(4, 2)  # top, bottom, left, right; black, white
    assert edges.tolist() == [[0.1, 0], [0, 0], [0, 0], [0, 0.05]]


@pytest.mark.slow
def test_a_planted_marker_is_caught_and_clean_films_pass(tmp_path: Path) -> None:
    planted = collection(80, seed=5, side_px=96, shortcuts=[Shortcut("marker", 0.9, "normal")])
    found, _ = with_facts(write(planted, tmp_path / "marked", masks=False))
    assert check_of(audit_data(found), "label-from-text").verdict == "fail"
    clean, _ = with_facts(write(collection(80, seed=5, side_px=96), tmp_path / "clean", masks=False))
    checks = audit_data(clean)
    assert [check.name for check in checks if check.verdict == "fail"] == []
    assert check_of(checks, "label-from-text").verdict == "pass"


def test_checks_made_later_join_those_that_stand_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    save_checks(path, [not_done("age-and-label", "no film tells an age", LIMITS)])
    written = save_checks(path, [Check("sex-and-label", "fail", "Bad.", LIMITS["sex-and-label"], value=0.9)])
    assert [check["check"] for check in written] == ["sex-and-label", "age-and-label"]
    assert read_checks(path) == written
    path.write_text("{}")
    with pytest.raises(DataError, match="no audit"):
        read_checks(path)


def test_films_are_audited_where_there_is_no_torch(tmp_path: Path) -> None:
    write(collection(24, seed=1, side_px=64), tmp_path / "films", masks=False)
    code = dedent("""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "torchvision", "timm", "lightning"):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Absent())
        sys.argv = ["hilum", "audit", *sys.argv[1:]]
        from hilum.cli.app import main
        main()
    """)
    manifest, out = tmp_path / "films" / "manifest.csv", tmp_path / "audit"
    done = subprocess.run(
        [sys.executable, "-c", code, str(manifest), "-o", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(read_checks(out / "audit.json")) >= 15
    assert "Label from the border" in (out / "audit.html").read_text()
