"""Which films are for training, validation and test, so that no patient and no film is in two of them.

Films of one patient and duplicates of one film make a group, and a group is never divided. docs/splits.md says what
each setting does and what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hilum.data import duplicates
from hilum.data.draw import check_classes, draw_folds, draw_parts, draw_rest, draw_test, know
from hilum.data.leaks import check_parts, describe, find_leaks, leaking
from hilum.data.manifest import PARTS, read_manifest
from hilum.errors import DataError, RequestError
from hilum.recipe.schema import Split

__all__ = ["Splitted", "find_leaks", "fold_count", "published_test", "split"]

# A published validation part smaller than this share of the one asked for is joined with train: kermany's has 16 films.
_ENOUGH = 0.5


@dataclass(frozen=True)
class Splitted:
    """A split, and what must be said of it wherever its figures are shown.

    manifest: the films used, with `part`, and `fold` where folds were asked for.
    scheme: what was done: given, published, published and patient, patient, random, source.
    leaks: what was found in two parts, as `find_leaks` tells it.
    dropped: the rows left out because of it, with the part that they would have had.
    leaky: whether leaks are still in it, because they were allowed.
    notes: sentences for the user: what was joined, drawn, unknown or left out.
    """

    manifest: pd.DataFrame
    scheme: str
    leaks: pd.DataFrame
    dropped: pd.DataFrame
    leaky: bool
    notes: tuple[str, ...]

    @property
    def counts(self) -> pd.DataFrame:
        """Films by class (rows) and part (columns train, validation, test)."""
        table = pd.crosstab(self.manifest["class"], self.manifest["part"])
        return table.reindex(columns=pd.Index(PARTS, name="part"), fill_value=0)


def split(manifest: pd.DataFrame, how: Split) -> Splitted:
    """Give every film its part, and its fold where folds are asked for.

    manifest: conformed, with sha256 and phash filled and `class` in every row. The result has its rows in the same
    order. The split depends on the seed, the patients' ids and the films' bytes: not on the order of the rows, on
    paths or on the machine; with more films, few groups move, and with `how.keep` none does.

    Films with a true `undrawn` (of `sample`) are train films; the parts of the others are what they would be alone.

    Refused with DataError: a row without a class, fewer patients of a class than parts or folds, a part that would be
    empty, leaks unless `how.leaks` allows or drops them, scheme published where a film has no published part.
    Refused with RequestError: shares that leave nothing to train on, folds with the published scheme, an earlier
    split that is not there or has no parts.

    >>> films = pd.DataFrame({"image_id": list("abcdef"), "patient_id": list("112345"), "source": "x", "split": pd.NA,
    ...                       "class": "normal", "sha256": list("uvwxyz"), "phash": pd.NA})
    >>> parts = split(films, Split(validation=0.2, test=0.2)).manifest["part"]
    >>> parts[0] == parts[1], parts.nunique()            # a and b are of one patient
    (True, 3)
    """
    manifest = manifest.reset_index(drop=True)
    _check_request(manifest, how)
    links = duplicates.links(manifest)
    notes: list[str] = []
    if how.scheme == "auto" and how.folds is None and "part" in manifest and manifest["part"].notna().any():
        check_parts(manifest)
        scheme, parted = "given", manifest.drop(columns="fold", errors="ignore")
        notes.append("the parts are those that the manifest came with")
    elif "undrawn" in manifest and (more := manifest["undrawn"].fillna(False).astype(bool)).any():
        drawn = manifest[~more].reset_index(drop=True)
        scheme, alone = _drawn(drawn, how, duplicates.links(drawn), notes)
        rest = manifest[more].assign(part="train")
        notes.append(f"{len(rest)} films that were not drawn are all in train")
        parted = pd.concat([alone.set_axis(manifest.index[~more]), rest]).sort_index().astype(alone.dtypes.to_dict())
    else:
        scheme, parted = _drawn(manifest, how, links, notes)
    leaks = find_leaks(parted, links=links)
    used, dropped = _handle(parted, leaks, how, notes)
    _check_result(used, how)
    _note_gaps(used, notes)
    leaky = len(leaks) > 0 and how.leaks == "allow"
    return Splitted(used.reset_index(drop=True), scheme, leaks, dropped, leaky, tuple(notes))


def fold_count(manifest: pd.DataFrame, how: Split) -> int:
    """How many folds a cross-validation has: the number of sources where each is one, else `how.folds`.

    Refused with RequestError: neither is asked for.

    >>> films = pd.DataFrame({"source": ["a", "b", "a"]})
    >>> fold_count(films, Split(folds=5)), fold_count(films, Split(scheme="source"))
    (5, 2)
    """
    if how.scheme == "source":
        return int(manifest["source"].nunique())
    if how.folds is None:
        raise RequestError("no folds were asked for", next_step="Give their number, as: --set split.folds=5")
    return how.folds


def published_test(manifest: pd.DataFrame, how: Split) -> pd.Series:
    """Of each film, whether the split will leave it in the test part that it came with."""
    if how.scheme == "auto" and how.folds is None and "part" in manifest and manifest["part"].notna().any():
        return (manifest["part"] == "test").fillna(False).astype(bool)
    if not _keeps_published(how):
        return pd.Series(False, index=manifest.index)
    whole = manifest["split"].notna().groupby(manifest["source"]).transform("all")
    return (whole & (manifest["split"] == "test").fillna(False)).astype(bool)


def _keeps_published(how: Split) -> bool:
    return how.scheme in ("auto", "published") and how.folds is None and how.test_per_class is None


def _drawn(manifest: pd.DataFrame, how: Split, links: np.ndarray, notes: list[str]) -> tuple[str, pd.DataFrame]:
    """The scheme that was used, and the manifest with `part` (and `fold`)."""
    published = _published(manifest, how, notes)
    films = know(manifest, _earlier(how), how, links).assign(published=published)
    out = manifest.drop(columns="fold", errors="ignore")
    fold: pd.Series | None = None
    if how.scheme == "source":
        fold = pd.Series(pd.factorize(manifest["source"], sort=True)[0], index=manifest.index)
        _check_source(manifest, how, notes)
        check_classes(films[fold != how.fold], how)
    else:
        check_classes(films, how)
        fold = draw_folds(films, how) if how.folds is not None else None
    if how.scheme == "random":
        notes.append(
            "films were drawn one by one, not by patient, as some papers did"
            + (": a patient can be in two parts" if how.leaks == "allow" else "")
        )
    elif unknown := int(manifest["patient_id"].isna().sum()):
        notes.append(f"{unknown} of {len(manifest)} films have no patient; only their duplicates are kept together")
    if fold is not None:
        rank = draw_rest(films, fold == how.fold, how, draw=f"validation of fold {how.fold}")
        out["fold"] = fold.astype("Int64")
    elif how.test_per_class is not None:
        rank = draw_rest(films, draw_test(films, how), how, draw="part")
    else:
        rank = draw_parts(films, how)
    out["part"] = rank.map(dict(enumerate(PARTS))).astype("string")
    drawn = how.scheme if how.scheme in ("random", "source") else "patient"
    if published.isna().all():
        return drawn, out
    return "published" if published.notna().all() else "published and patient", out


def _check_source(manifest: pd.DataFrame, how: Split, notes: list[str]) -> None:
    """Refuse a fold that is no source; note which one is tested on."""
    names = sorted(manifest["source"].unique())
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    if len(names) < 2:
        raise DataError(
            f"all films are of one source, {names[0]}, and none is left to learn from",
            where="split.scheme=source",
            next_step="Add another source with --data.",
        )
    if how.fold is None or how.fold >= len(names):
        raise RequestError(
            "no source is named as the test part" if how.fold is None else f"there is no source number {how.fold}",
            where="split.fold",
            next_step=f"Name one by its number, as split.fold=0: {listed}; or run them all with: hilum crossval",
        )
    notes.append(f"the test part is the source {names[how.fold]}, and nothing of it is in train or validation")


def _published(manifest: pd.DataFrame, how: Split, notes: list[str]) -> pd.Series:
    """The published part that is kept; `open` where train or validation is yet to be drawn; missing where all is."""
    out = pd.Series(pd.NA, index=manifest.index, dtype="string")
    if not _keeps_published(how):
        if how.scheme == "auto" and manifest["split"].notna().any():
            asked = "folds were" if how.folds is not None else "a test part of its own was"
            notes.append(f"the published parts are not used, because {asked} asked for")
        return out
    absent = manifest["split"].isna()
    if how.scheme == "published" and absent.any():
        sources = ", ".join(sorted(manifest.loc[absent, "source"].unique()))
        raise DataError(
            f"{int(absent.sum())} of {len(manifest)} films have no published part (source {sources})",
            where="manifest",
            next_step="Draw their parts with --set split.scheme=auto, or those of all films with split.scheme=patient.",
        )
    for source, rows in manifest.groupby("source", sort=True).groups.items():
        parts = manifest.loc[rows, "split"]
        if parts.notna().all():
            out.loc[rows] = _open_train(parts, str(source), how, notes)
        elif parts.notna().any():
            gap = f"{int(parts.isna().sum())} of {len(parts)} films"
            notes.append(f"{source}: {gap} have no published part, so all its parts are drawn")
    return out


def _open_train(parts: pd.Series, source: str, how: Split, notes: list[str]) -> pd.Series:
    """The published parts of a source, train (and a tiny validation part) being `open`."""
    validation, rest = int((parts == "validation").sum()), int((parts != "test").sum())
    if validation >= _ENOUGH * how.validation * rest:
        notes.append(f"{source}: the published parts are kept")
        return parts
    joined = f"its validation part of {validation} films is too small and was joined with train; " if validation else ""
    drawn = f"{how.validation:.0%} of the train patients were drawn for validation"
    notes.append(f"{source}: the published test part is kept; {joined}{drawn}")
    return parts.mask(parts != "test", "open")


def _earlier(how: Split) -> pd.DataFrame | None:
    """The manifest of the earlier split that is kept, or None."""
    if not how.keep:
        return None
    path = Path(how.keep)
    path = path / "manifest.parquet" if path.is_dir() else path
    if not path.is_file():
        raise RequestError(
            "there is no earlier split", where=str(path), next_step="Name a run folder or a manifest in split.keep."
        )
    earlier = read_manifest(path)
    wanted = "part" if how.folds is None else "fold"  # with a source as the test part, only validation is drawn
    if wanted not in earlier or earlier[wanted].isna().any():
        raise RequestError(
            f"the earlier split does not have a {wanted} in every row",
            where=str(path),
            next_step="Name a run or manifest that was split in the same way in split.keep.",
        )
    return earlier


def _handle(
    manifest: pd.DataFrame, leaks: pd.DataFrame, how: Split, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The films that are used and those that are left out, as `how.leaks` says."""
    if leaks.empty:
        return manifest, manifest.iloc[:0]
    if how.leaks == "refuse":
        raise DataError(
            describe(leaks),
            where="manifest",
            next_step="Leave such films out of train and validation with --set split.leaks=drop; keep them with "
            "split.leaks=allow, and every output will say so; or draw new parts with split.scheme=patient.",
        )
    if how.leaks == "allow":
        notes.append(f"leaks were allowed, so the figures will be too good: {describe(leaks)}")
        return manifest, manifest.iloc[:0]
    out = leaking(manifest, leaks)
    notes.append(f"{int(out.sum())} films of train and validation were left out because of {describe(leaks)}")
    return manifest[~out], manifest[out]


def _check_request(manifest: pd.DataFrame, how: Split) -> None:
    if how.folds is not None and how.fold is None:
        raise RequestError(
            f"none of the {how.folds} folds is named as the test part",
            where="split.fold",
            next_step="Name one, as split.fold=0, or run them all with: hilum crossval",
        )
    drawn_by_share = how.folds is None and how.test_per_class is None and how.scheme != "source"
    if drawn_by_share and how.test + how.validation >= 1:
        raise RequestError(
            f"split.test {how.test} and split.validation {how.validation} leave nothing to train on",
            next_step="Make them add up to less than 1.",
        )
    if how.validation >= 1:
        raise RequestError("split.validation 1.0 leaves nothing to train on", next_step="Make it less than 1.")
    if how.folds is not None and how.scheme == "published":
        raise RequestError(
            "split.folds draws its own test parts, and split.scheme=published keeps them",
            next_step="Leave out one of the two.",
        )
    if not len(manifest):
        raise DataError("there is no film to split", where="manifest")
    missing = manifest["class"].isna()
    if missing.any():
        raise DataError(
            f"class is missing for {int(missing.sum())} films",
            where=f"manifest row {int(missing.to_numpy().argmax())}",
            next_step="Leave such films out before the split; a task does that and counts them.",
        )


def _check_result(manifest: pd.DataFrame, how: Split) -> None:
    """Refuse an empty part."""
    has_test = how.test > 0 or how.folds is not None or how.test_per_class is not None or how.scheme == "source"
    asked = {"train": True, "validation": how.validation > 0, "test": has_test}
    for part in PARTS:
        if asked[part] and not (manifest["part"] == part).any():
            raise DataError(
                f"the {part} part would be empty",
                where="manifest",
                next_step="Draw new parts with --set split.scheme=patient"
                f"{', or do without a test part: split.test=0' if part == 'test' else ''}.",
            )


def _note_gaps(manifest: pd.DataFrame, notes: list[str]) -> None:
    """Note each class that a part lacks."""
    table = pd.crosstab(manifest["class"], manifest["part"])
    notes += [
        f"no film of class {name!r} is in the {part} part"
        for name in table.index
        for part in table.columns
        if not table.loc[name, part]
    ]
