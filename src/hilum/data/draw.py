"""Which group of films goes to which part or fold: what is known of each film, and the draw. Used by `split`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hilum.data import duplicates
from hilum.data.groups import chain, components, deal, drawn_order
from hilum.data.leaks import RANK
from hilum.errors import DataError
from hilum.recipe.schema import Split


def know(manifest: pd.DataFrame, earlier: pd.DataFrame | None, how: Split, links: np.ndarray) -> pd.DataFrame:
    """What the draw needs to know of each film: class, group; the key and stratum of its group; what is kept.

    own_part and own_fold are those of this very film in the earlier split, kept_part and kept_fold those of its group;
    parts are ranks (train 0, validation 1, test 2), so that the highest of a group is the one that must not be spoiled.
    """
    both = manifest
    if earlier is not None:
        # The earlier films take part in the grouping: a new film finds its patient and its copies among them.
        both = pd.concat([manifest, earlier], ignore_index=True)
        links = duplicates.links(both)
    if how.scheme == "random":
        joined = chain(both["image_id"])
        key = both["sha256"].fillna("") + "/" + both["image_id"]
    else:
        joined = np.concatenate([links, chain(both["patient_id"]), chain(both["image_id"])])
        # A patient stays when new films of hers come; a film's bytes stay when folders are renamed.
        key = ("0/" + both["patient_id"]).fillna("1/" + both["sha256"]).fillna("2/" + both["image_id"])
    group = pd.Series(components(len(both), joined), index=both.index)
    columns = {"class": manifest["class"], "group": group, "key": key.groupby(group).transform("min")}
    for name in ("part", "fold"):
        value = pd.Series(np.nan, index=both.index)
        if earlier is not None and name in earlier:
            before = earlier[name].map(RANK) if name == "part" else earlier[name]
            value = pd.concat([value[: len(manifest)], before.astype("Float64").astype(float)], ignore_index=True)
        same_film = value.groupby(both["image_id"]).transform("max")
        columns[f"own_{name}"] = same_film.fillna(value.groupby(both["sha256"]).transform("max"))
        columns[f"kept_{name}"] = value.groupby(group).transform("max")
    films = pd.DataFrame(columns).iloc[: len(manifest)]
    # The rarest class of a group decides its stratum. The zeros let numbers sort as text.
    frequency = films["class"].map(films["class"].value_counts()).astype(str).str.zfill(12)
    return films.assign(stratum=(frequency + "/" + films["class"]).groupby(films["group"]).transform("min"))


def check_classes(films: pd.DataFrame, how: Split) -> None:
    """Refuse a class with fewer groups than parts or folds."""
    drawn_whole = how.folds is not None or how.test_per_class is not None
    has_test = how.test > 0 or drawn_whole or (films["published"] == "test").any()
    parts = 1 + (how.validation > 0) + (has_test and how.scheme != "source")
    needed = max(parts, how.folds or 0)
    groups = films.groupby("class")["group"].nunique()
    for name, number in groups[groups < needed].items():
        of = "films" if how.scheme == "random" else "patients (or sets of duplicates)"
        raise DataError(
            f"class {name!r} has {number} {of}, too few for {needed} {'folds' if needed == how.folds else 'parts'}",
            where="manifest",
            next_step="Add films of other patients of it, or leave the class out of the task"
            f"{', or ask for fewer folds (split.folds)' if needed == how.folds else ''}.",
        )


def draw_parts(films: pd.DataFrame, how: Split) -> pd.Series:
    """The rank of each film's part: its own earlier one, else the published one, else that drawn for its group."""
    groups = _of_groups(films, "kept_part")
    published = films["published"].map(RANK).astype(float)  # missing where open or not published
    fixed = published.groupby(films["group"]).max()
    is_open = (films["published"] == "open").fillna(False).groupby(films["group"]).any()
    part = fixed.where(groups["kept"].isna(), groups["kept"].astype(float))
    shares = {
        True: {RANK["validation"]: how.validation, RANK["train"]: 1 - how.validation},
        False: {
            RANK["test"]: how.test,
            RANK["validation"]: how.validation,
            RANK["train"]: 1 - how.test - how.validation,
        },
    }
    for opened, slots in shares.items():
        # A group with published films that are not open has its part; one kept elsewhere does not count.
        dealt = groups[(is_open == opened) & fixed.isna() & (groups["kept"].isna() | groups["kept"].isin(list(slots)))]
        part.update(deal(dealt, slots, seed=how.seed, draw="part").astype(float))
    of_group = films["group"].map(part)
    # A published train film does not follow its patient into test: that would hide the leak.
    follows = of_group.mask((films["published"] == "open").fillna(False) & (of_group == RANK["test"]), RANK["train"])
    return films["own_part"].fillna(published).fillna(follows).astype(int)


def draw_folds(films: pd.DataFrame, how: Split) -> pd.Series:
    """The fold of each film."""
    assert how.folds is not None
    groups = _of_groups(films, "kept_fold")
    fold = deal(groups, dict.fromkeys(range(how.folds), 1 / how.folds), seed=how.seed, draw="fold")
    return films["own_fold"].fillna(films["group"].map(fold).astype(float)).astype(int)


def draw_rest(films: pd.DataFrame, is_test: pd.Series, how: Split, *, draw: str) -> pd.Series:
    """The rank of each film's part where the test part is known and validation is drawn from the other groups."""
    rest = films[~films["group"].isin(films.loc[is_test, "group"])]
    before = films["own_part"].dropna() == RANK["test"]
    if (before != is_test[before.index]).any():
        rest = rest.assign(kept_part=np.nan)  # the earlier parts are those of another test part
    groups = _of_groups(rest, "kept_part")
    slots = {RANK["validation"]: how.validation, RANK["train"]: 1 - how.validation}
    part = deal(groups, slots, seed=how.seed, draw=draw).astype(float)
    return films["group"].map(part).fillna(RANK["train"]).mask(is_test, RANK["test"]).astype(int)


def draw_test(films: pd.DataFrame, how: Split) -> pd.Series:
    """Of each film, whether it is in a test part of `how.test_per_class` films of each class.

    Whole groups are taken in the order of the draw, each that still fits. Refused with DataError: a class with no more
    films than that.
    """
    count = how.test_per_class
    assert count is not None
    for name, there in films["class"].value_counts().sort_index().items():
        if there <= count:
            raise DataError(
                f"class {name!r} has {there} films, and split.test_per_class={count} leaves none to learn from",
                where="manifest",
                next_step="Make it less, or add films of the class.",
            )
    groups = _of_groups(films, "kept_part")
    holds = {number: dict(classes.value_counts()) for number, classes in films.groupby("group")["class"]}
    kept = set(groups.index[groups["kept"] == RANK["test"]])
    room = dict.fromkeys(films["class"].unique(), count)
    for number in kept:
        room = {name: free - holds[number].get(name, 0) for name, free in room.items()}
    chosen = set(kept)
    for number in groups.index[drawn_order(groups["key"].tolist(), seed=how.seed, draw="part")]:
        if pd.isna(groups["kept"].loc[number]) and all(room[name] >= n for name, n in holds[number].items()):
            chosen.add(number)
            room.update({name: room[name] - n for name, n in holds[number].items()})
    return films["group"].isin(chosen)


def _of_groups(films: pd.DataFrame, kept: str) -> pd.DataFrame:
    """A row per group, by its number: key, stratum, kept."""
    groups = films.groupby("group")[["key", "stratum", kept]].first().rename(columns={kept: "kept"})
    return groups.astype({"kept": object}).where(groups.notna(), None)
