"""What would end a run only after hours, refused before it begins."""

from __future__ import annotations

from pathlib import Path

import torch

from hilum.audit.limits import limits_of
from hilum.data.collect import Collection, collect
from hilum.errors import DataError, RequestError
from hilum.evaluation.run_folder import RunFolder
from hilum.model import classifier as classifiers
from hilum.model import machine
from hilum.model.classifier import Classifier
from hilum.model.engine import check_engine
from hilum.model.normalise import check_zca
from hilum.progress import Progress
from hilum.recipe.load import nearest
from hilum.recipe.schema import Recipe
from hilum.training.prepared import settle
from hilum.training.start import check_start


def check_network(recipe: Recipe) -> None:
    """Build the network once: its weights fit, it takes films of each side, and each stage finds its layers.

    Refused with WeightsError or RequestError.
    """
    check_engine(recipe.predict.engine, machine.accelerator(recipe.training.device))
    side = recipe.prepare.side_px
    classifier = classifiers.build(recipe.model, ("one", "other"), side_px=side, seed=0)
    for number, stage in enumerate(recipe.stage, 1):
        classifiers.set_unfrozen(classifier, stage.unfreeze)
        if stage.side_px is not None and stage.side_px != side and not _takes(classifier, stage.side_px):
            raise RequestError(
                f"{classifier.architecture.backbone} with pooling {recipe.model.pooling!r} cannot take films of "
                f"{stage.side_px} px when it is built for {side} px",
                where=f"stage {number}: side_px",
                next_step=f"Use --set stage.side_px={side}.",
            )
    limits_of(recipe.audit)


def checked_films(recipe: Recipe, progress: Progress) -> Collection:
    """The films of a recipe with their parts; what was left out, and what is to be known of them, is said.

    Refused as by `collect` and `check_films`.
    """
    collection = collect(recipe, progress=progress)
    for reason, count in collection.left_out.items():
        progress.say(f"left out {count}: {reason}")
    for note in collection.notes:
        progress.say(f"note: {note}")
    check_films(recipe, collection)
    return collection


def check_films(recipe: Recipe, collection: Collection) -> None:
    """Every class can be trained on and judged, and every class that the recipe names is there.

    Refused with RequestError or DataError.
    """
    classes = collection.classes
    for where, named in (("evaluate.prevalence", recipe.evaluate.prevalence), ("balance.share", recipe.balance.share)):
        for name in named:
            if name not in classes:
                raise RequestError(f"there is no class {name!r}", where=where, next_step=nearest(name, classes))
    films = collection.manifest
    check_start(recipe, films)
    if recipe.model.normalise == "zca":
        check_zca(int((films["part"] == "train").sum()), recipe.prepare.side_px)
    if not (films["part"] == "validation").any():
        raise RequestError(
            "training needs a validation part, on which its best epoch is chosen",
            where="split.validation",
            next_step="Leave it at 0.1, or give some films the part 'validation'.",
        )
    ranked = any(stage.monitor == "macro_auroc" for stage in recipe.stage)
    for part in ("train", "validation") if ranked else ("train",):
        for name in classes:
            if not ((films["part"] == part) & (films["class"] == name)).any():
                raise DataError(
                    f"the {part} part has no film of the class {name!r}"
                    + (", so stage.monitor = 'macro_auroc' is undefined" if part == "validation" else ""),
                    where="the split",
                    next_step="Raise split.validation, or choose another split.seed."
                    if part == "validation"
                    else "Leave the class out, or choose another split.",
                )


def check_vacant(out: Path) -> None:
    """A new run needs a folder that is empty, or not there yet. Refused with RequestError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        holds_run = (out / "recipe.toml").is_file()
        raise RequestError(
            "this folder holds a run" if holds_run else "this is a file, or a folder that is not empty",
            where=str(out),
            next_step="Go on with it by adding --resume, or choose another folder with -o."
            if holds_run
            else "Choose another folder with -o.",
        )


def check_same(recipe: Recipe, run: RunFolder) -> None:
    """A run that goes on was asked for as it is now; a section left at its defaults asks for nothing.

    Refused with RequestError.
    """
    before, default = run.recipe().model_dump(), Recipe().model_dump()
    for section, value in settle(recipe).model_dump().items():
        if value not in (before[section], default[section]):
            raise RequestError(
                f"the run was started with another [{section}] than is asked for now",
                where=str(run.path),
                next_step="Resume with --resume and -o alone, or start a new run in another folder.",
            )


def _takes(classifier: Classifier, side_px: int) -> bool:
    try:
        with torch.inference_mode():
            classifier(torch.zeros(1, 1, side_px, side_px))
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True
