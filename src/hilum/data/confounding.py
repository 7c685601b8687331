"""Labels that can be told from where a film comes from or how it is kept, without seeing a lung.

DeGrave, Janizek, Lee 2021, Nat. Mach. Intell. 3:610; Roberts et al. 2021, Nat. Mach. Intell. 3:199.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

TOLD_APART = 0.85  # balanced accuracy of a label against the rest
RARE = "rare"
_FEW = 10  # films; a value that fewer have says nothing that would hold again


@dataclass(frozen=True)
class Told:
    """How well the values of one column tell one label: by those in which it is commoner than overall.

    `hits` of its `of` films have one of them, and `false` of `others`.
    """

    label: str
    commoner_in: list[str]
    hits: int
    of: int
    false: int
    others: int

    @property
    def balanced_accuracy(self) -> float:
        return (self.hits / self.of + 1 - self.false / self.others) / 2


def told_apart(column: pd.Series, labels: pd.Series, *, least: float = TOLD_APART) -> list[Told]:
    """The labels that knowing the column alone would tell from the rest; of two labels, one says it all.

    For each label, the column says yes for the values in which the label is commoner than overall. What has a balanced
    accuracy of at least `least` is returned: a model could do as well without looking at a lung. Films of which either
    is unknown do not count.

    >>> [told] = told_apart(pd.Series(["png", "png", "jpeg"]), pd.Series(["ill", "ill", "well"]))
    >>> told.label, told.commoner_in, told.balanced_accuracy
    ('ill', ['png'], 1.0)
    """
    known = (column.notna() & labels.notna()).to_numpy()
    table = pd.crosstab(column[known].astype(str), labels[known].astype(str))
    if table.shape[0] < 2 or table.shape[1] < 2:
        return []
    found = []
    for name in table.columns:
        of_label, others = table[name], table.drop(columns=name).sum(axis=1)
        yes = of_label / (of_label + others) > of_label.sum() / table.to_numpy().sum()
        told = Told(
            str(name),
            [str(value) for value in of_label[yes].sort_values(ascending=False, kind="stable").index],
            int(of_label[yes].sum()),
            int(of_label.sum()),
            int(others[yes].sum()),
            int(others.sum()),
        )
        if told.balanced_accuracy >= least:
            found.append(told)
    return found[:1] if table.shape[1] == 2 else found


def without_rare(column: pd.Series, *, least: int = _FEW) -> pd.Series:
    """The same column with the values that fewer than `least` films have as one value, RARE.

    >>> without_rare(pd.Series(["a", "a", "b", "c", None], dtype="string"), least=2).tolist()
    ['a', 'a', 'rare', 'rare', <NA>]
    """
    text = column.astype("string")
    often = text.map(text.value_counts()).fillna(0) >= least
    return text.where(often | text.isna(), RARE)


@dataclass(frozen=True)
class Association:
    """How far label and source are one thing.

    sources: how many; of_one_label: those all of whose films have one label; cramers_v: 0 no relation, 1 the source
    says the label, missing where there is one source or one label; n: films that have both.
    """

    sources: int
    of_one_label: list[str]
    cramers_v: float | None
    n: int


def association(sources: pd.Series, labels: pd.Series) -> Association:
    """Of the films whose label is known.

    Cramer 1946, Mathematical Methods of Statistics, chapter 21, without correction: sqrt(chi2 / (n (min(r, c) - 1))).

    >>> association(pd.Series(["a", "a", "b"]), pd.Series(["ill", "ill", "well"]))
    Association(sources=2, of_one_label=['a', 'b'], cramers_v=1.0, n=3)
    """
    known = (sources.notna() & labels.notna()).to_numpy()
    table = pd.crosstab(sources[known].astype(str), labels[known].astype(str))
    counts = table.to_numpy(float)
    n = counts.sum()
    single = [str(name) for name in table.index[(counts > 0).sum(axis=1) == 1]]
    if min(counts.shape, default=0) < 2:
        return Association(len(table), single, None, int(n))
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / n
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    return Association(len(table), single, float(np.sqrt(chi2 / (n * (min(counts.shape) - 1)))), int(n))


def only_there(sources: pd.Series, labels: pd.Series) -> dict[str, list[str]]:
    """Label -> its sources, for the labels whose films all come from sources that have no other label.

    >>> films = pd.DataFrame({"source": ["a", "b", "b"], "label": ["ill", "well", "odd"]})
    >>> only_there(films["source"], films["label"])
    {'ill': ['a']}
    """
    known = (sources.notna() & labels.notna()).to_numpy()
    pairs = pd.DataFrame({"source": sources[known].astype(str), "label": labels[known].astype(str)}).drop_duplicates()
    labels_of = pairs.groupby("source")["label"].nunique()
    found = {}
    for label, rows in pairs.groupby("label"):
        if (labels_of[rows["source"]] == 1).all():
            found[str(label)] = sorted(rows["source"])
    return found
