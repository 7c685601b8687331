"""Labels for the findings that `cohen` and `figure1` write, in the spelling of 2020 and the later one with slashes."""

from __future__ import annotations

import pandas as pd

# As written in June 2020, in lower case; an empty label is missing.
_WRITTEN = {
    "": "",
    "todo": "",
    "unknown": "",
    "no finding": "normal",
    "covid-19, ards": "covid-19/ards",
    "sars": "pneumonia/viral/sars",
    "mers": "pneumonia/viral/mers",
    "varicella": "pneumonia/viral/varicella",
    "influenza": "pneumonia/viral/influenza",
    "bacterial": "pneumonia/bacterial",
    "streptococcus": "pneumonia/bacterial/streptococcus",
    "klebsiella": "pneumonia/bacterial/klebsiella",
    "legionella": "pneumonia/bacterial/legionella",
    "chlamydophila": "pneumonia/bacterial/chlamydophila",
    "mycoplasma bacterial pneumonia": "pneumonia/bacterial/mycoplasma",
    "e.coli": "pneumonia/bacterial/e-coli",
    "pneumocystis": "pneumonia/fungal/pneumocystis",
    "lipoid": "pneumonia/lipoid",
}


def label_of(finding: str) -> str | None:
    """The label of a finding as written, or None where nothing was found out (`todo`, `Unknown`, blank).

    COVID-19 is a label of its own and not under `pneumonia/viral`, where the later spelling puts it. ARDS is what
    COVID-19 led to, so `COVID-19, ARDS` is a subtype of `covid-19`; ARDS alone is `ards`.

    >>> [label_of(text) for text in ("COVID-19, ARDS", "Pneumonia/Viral/COVID-19", "No Finding", "todo", "E.Coli")]
    ['covid-19/ards', 'covid-19', 'normal', None, 'pneumonia/bacterial/e-coli']
    """
    text = " ".join(finding.lower().split())
    if text in _WRITTEN:
        return _WRITTEN[text] or None
    if text.startswith("pneumonia/viral/covid-19"):
        return "covid-19"
    steps = (step.strip().replace(".", "-").replace(" ", "-") for step in text.replace(", ", "/").split("/"))
    return "/".join({"mers-cov": "mers"}.get(step, step) for step in steps)


def labels(findings: pd.Series) -> pd.Series:
    """`label_of` for a column with missing cells."""
    return findings.map(label_of, "ignore").astype("string")
