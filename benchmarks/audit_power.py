"""How often the audit catches a shortcut planted in synthetic films, and how often it warns of films without one.

    python benchmarks/audit_power.py                          all of it: hours
    python benchmarks/audit_power.py --only marker border --sets 5 --strengths 0.6
    python benchmarks/audit_power.py --only clean --sets 20 -o power.csv

Each data set is 160 patients of two hospitals with covid-19 and normal films in equal shares, without files: the films
are made, looked at and thrown away. At strength s a shortcut that is seen without error gives AUROC 0.5 + s / 2, so 0.6
is the strength at which it alone gives 0.8. Caught means that the check meant for it warns or fails. A row of the table
for each check says on how many clean data sets it warned or failed. With -o rows are added to a table, and what stands
there is not made again, so that the study can be made in pieces; --page writes what all of them say.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import cv2
import pandas as pd
from scipy.stats import binomtest

from hilum.audit.run import audit_data
from hilum.data.collect import with_facts
from hilum.data.phantom import Finding, Shortcut, collection, write
from hilum.recipe.schema import Audit

PATIENTS, SIDE_PX = 160, 128
CLASSES = {"covid-19": (Finding("ground-glass"),), "normal": ()}
STRENGTHS = (0.2, 0.4, 0.6, 0.8)
# shortcut -> the checks meant for it, any of which may catch it.
MEANT = {
    "marker": ("label-from-text",),
    "border": ("label-from-border",),
    "contrast": ("label-from-border", "label-from-histogram"),
    "compression": ("label-from-sharpness", "label-from-file"),
    "size": ("label-from-file",),
    "resolution": ("label-from-sharpness", "label-from-file"),
    "age": ("age-and-label", "children-and-label"),
    "view": ("view-and-label",),
    "patient-leak": ("patients-in-two-parts",),
    "duplicate-exact": ("films-in-two-parts",),
    "duplicate-resized": ("films-in-two-parts",),
    "duplicate-encoded": ("films-in-two-parts",),
}
FRESH = 100  # no data set from here on has been looked at to set a limit
LEAK_STRENGTHS = (0.02, 0.05, 0.1)  # the share of patients or films that leak
COLUMNS = ("shortcut", "strength", "seed", "check", "verdict", "value", "seconds")


def one(kind: str, strength: float, seed: int) -> list[tuple[object, ...]]:
    """Make a data set, audit it, and give a row for each check."""
    start = time.perf_counter()
    leak = kind.startswith(("patient", "duplicate"))
    planted = () if kind == "clean" else (Shortcut(kind, strength, "" if leak else "covid-19"),)
    films = collection(PATIENTS, seed=seed, side_px=SIDE_PX, classes=CLASSES, shortcuts=planted, test_share=0.25)
    with TemporaryDirectory() as folder, patch.dict("os.environ", {"HILUM_CACHE": f"{folder}/cache"}):
        manifest, _ = with_facts(write(films, Path(folder) / "films", masks=False))
        checks = audit_data(manifest, Audit(seed=seed))
    seconds = time.perf_counter() - start
    return [(kind, strength, seed, c.name, c.verdict, c.value, round(seconds, 1)) for c in checks]


def study(
    kinds: Sequence[str], strengths: Sequence[float] | None, numbers: Sequence[int], out: Path | None
) -> pd.DataFrame:
    """All rows asked for; those of a data set are written as soon as they are there."""
    done = pd.read_csv(out) if out and out.is_file() else pd.DataFrame(columns=list(COLUMNS))
    for kind in kinds:
        own = LEAK_STRENGTHS if kind.startswith(("patient", "duplicate")) else STRENGTHS
        for strength in (0.0,) if kind == "clean" else strengths or own:
            for number in numbers:
                # No two data sets share a patient, so that no chance is counted twice.
                seed = int(hashlib.sha256(f"{kind} {strength} {number}".encode()).hexdigest()[:7], 16)
                if ((done["shortcut"] == kind) & (done["strength"] == strength) & (done["seed"] == seed)).any():
                    continue
                new = pd.DataFrame(one(kind, strength, seed), columns=list(COLUMNS))
                done = new if done.empty else pd.concat([done, new], ignore_index=True)
                if out:
                    done.to_csv(out, index=False)
                print(f"{kind} {strength:g} set {number}: {new['seconds'].iloc[0]:.0f} s", flush=True)
    return done


def share(hits: int, n: int) -> str:
    """A proportion with its 95 % Wilson interval."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return f"{hits}/{n} = {hits / n:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def tables(rows: pd.DataFrame) -> str:
    """What was caught of each shortcut and strength, and what was not; then the false alarms."""
    lines = [
        "| shortcut | strength | check meant for it | caught | failed | median value |",
        "|---|---|---|---|---|---|",
    ]
    for kind in (kind for kind in MEANT if (rows["shortcut"] == kind).any()):
        meant = rows[(rows["shortcut"] == kind) & rows["check"].isin(MEANT[kind])]
        for strength, group in meant.groupby("strength"):
            caught, failed = (
                group["verdict"].isin(verdicts).groupby(group["seed"]).any()
                for verdicts in (("warn", "fail"), ("fail",))
            )
            value = group[group["check"] == MEANT[kind][0]]["value"].median()
            lines.append(
                f"| {kind} | {strength:g} | {', '.join(MEANT[kind])} | {share(int(caught.sum()), len(caught))} | "
                f"{int(failed.sum())}/{len(failed)} | {value:.3f} |"
            )
    clean = rows[rows["shortcut"] == "clean"]
    lines += ["", "| check | clean data sets with a warning or failure | median value |", "|---|---|---|"]
    for check, group in clean.groupby("check"):
        told = group[group["verdict"] != "not done"]
        n = len(told)
        result = share(int(told["verdict"].isin(["warn", "fail"]).sum()), n) if n else "not done"
        lines.append(f"| {check} | {result} | {told['value'].median() if n else float('nan'):.3f} |")
    return "\n".join(lines)


def page(rows: pd.DataFrame) -> str:
    """The study as a document."""
    return f"""# How often the audit catches a planted shortcut

    python benchmarks/audit_power.py -o power.csv --page benchmarks/results/audit_power.md

{PATIENTS} patients of two hospitals a set, films of {SIDE_PX} px, sets that nobody had looked at: the limits were set
on others. At strength s a shortcut that is seen without error gives AUROC 0.5 + s / 2 alone: 0.6, 0.7, 0.8 and 0.9 at
0.2, 0.4, 0.6 and 0.8. Of leaks and duplicates the strength is the share of patients or films that leak. Caught: a check
meant for it warns or fails. In brackets Wilson's 95 % interval.

{tables(rows)}

At 0.02 some sets have no patient who leaks, as the median says. A JPEG's blocks are told from its pixels
(`label-from-sharpness`): the synthetic films are stored as PNG, so the file tells nothing.
"""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["clean", *MEANT], default=["clean", *MEANT])
    parser.add_argument("--sets", type=int, default=20, help="data sets of each kind and strength")
    parser.add_argument(
        "--first", type=int, default=FRESH, help="number of the first data set; the limits were set on clean 0 to 39"
    )
    parser.add_argument("--strengths", nargs="+", type=float, help="in place of the usual ones")
    parser.add_argument("-o", "--out", type=Path, help="CSV of all rows, added to")
    parser.add_argument("--page", type=Path, help="write the tables of all rows, with what they mean, into this file")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    start = time.perf_counter()
    rows = study(asked.only, asked.strengths, range(asked.first, asked.first + asked.sets), asked.out)
    print(f"\n{tables(rows)}")
    if asked.page:
        asked.page.write_text(page(rows), encoding="utf-8")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
