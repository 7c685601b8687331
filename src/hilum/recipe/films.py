"""The sections of a recipe on films: which, their classes and parts, and how they are prepared and changed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hilum.recipe.section import Section, Share


class Data(Section):
    """Which films, and which class each label becomes."""

    source: list[str] = Field([], description="READER:PATH or a bare path; several are merged")
    task: str = Field(
        "labels",
        description="covid-3, covid-4, covid-binary, covid-vs-normal, pneumonia-3, labels, or 'own' with [task]",
    )
    where: str = Field("", description='filter over the manifest\'s columns, as in: view == "PA"')
    per_class: int | None = Field(
        None, ge=2, description="draw at most this many films of each class; a published test part stays whole"
    )
    draw: dict[str, Annotated[int, Field(ge=2)]] = Field(
        {}, description="class or label -> films drawn, exactly; others stay whole, and so does a published test part"
    )
    undrawn: Literal["leave", "train"] = Field(
        "leave",
        description="films that per_class or draw did not draw: left out, or all for training; the parts of the drawn "
        "ones are the same either way",
    )
    match: list[Literal["age", "view", "sex", "source"]] = Field(
        [],
        description="keep as many films of each class as the rarest class has, of each age band, view, sex, source; "
        "the others are left out and counted, and so are films of which one of these is unknown",
    )
    drop: list[str] = Field([], description="labels to leave out, as 'todo'")


class Task(Section):
    """A task of the user's own: its classes in order, and what becomes of each label."""

    classes: list[str] = Field([], description="class names in order; empty: in the order of [task.labels]")
    labels: dict[str, str] = Field(
        {}, description="label -> class; a label stands for its subtypes too (pneumonia/viral)"
    )


class Split(Section):
    """Which films are for training, validation and test."""

    scheme: Literal["auto", "published", "patient", "random", "source"] = Field(
        "auto",
        description="auto: published where there is one, else patient; random: by film, as some papers did (leaks); "
        "source: one source is the test part, split.fold counts them in alphabetical order from 0",
    )
    validation: Share = Field(
        0.1, description="share of the patients; of the train part where the test part is published"
    )
    test: Share = Field(0.2, description="share of the patients; unused where the test part is published")
    test_per_class: int | None = Field(
        None, ge=1, description="films of each class in the test part, in place of split.test; unused with folds"
    )
    folds: int | None = Field(None, ge=2, description="number of folds; the test part is then one of them")
    fold: int | None = Field(None, ge=0, description="which fold is the test part; empty: each in turn (crossval)")
    leaks: Literal["refuse", "drop", "allow"] = Field(
        "refuse",
        description="a patient or duplicate in two parts: refuse; drop it from train and validation; "
        "allow (every output then says so)",
    )
    keep: str = Field("", description="run folder or manifest of an earlier split whose parts are kept as data grows")
    seed: int = Field(0, ge=0, description="of the draw of the parts; another one draws others")


class Prepare(Section):
    """How a film becomes the square grey picture that the network sees. Stored with the weights."""

    side_px: int = Field(224, ge=16, le=2048, description="side of the square, in pixels")
    keep_aspect: bool = Field(False, description="keep the aspect and pad with black; else stretch to the square")
    blank: tuple[Literal["text", "corners"], ...] = Field(
        (),
        description="text: letters and markers near the edges are painted over; corners: black, 15 % of each side; "
        "before all else, in training and in use",
    )
    centre_crop: float = Field(1.0, gt=0.0, le=1.0, description="share of each side kept, around the centre")
    equalise: Literal["none", "histogram", "clahe"] = Field(
        "none", description="grey values of each film alone: as they are, spread evenly, or spread within 8 x 8 tiles"
    )
    lungs: Literal["none", "crop", "mask"] = Field(
        "none",
        description="crop: to the lungs' box and a margin; mask: black outside the lungs; a film whose lungs are not "
        "believable stays whole, and is counted",
    )
    lungs_network: str = Field(
        "", description="fingerprint of the lung network that finds them; filled in when a run starts"
    )


class Augment(Section):
    """Random changes to the films of a training batch; each amount is the largest drawn, 0 is off."""

    rotation_deg: float = Field(0.0, ge=0.0, le=180.0, description="degrees, both ways")
    shift: Share = Field(0.0, description="share of the side, both ways")
    zoom: float = Field(0.0, ge=0.0, lt=1.0, description="0.15 draws from 85 to 115 %")
    shear: float = Field(0.0, ge=0.0, lt=90.0, description="degrees, as Keras' shear_range")
    flip_horizontal: bool = Field(False, description="mirror left and right, one film in two; the heart changes sides")
    flip_vertical: bool = Field(False, description="turn upside down, one film in two")
    blur: Share = Field(0.0, description="probability of a 3 x 3 Gaussian blur")
    channel_shift: float = Field(0.0, ge=0.0, le=255.0, description="grey levels of 255 added or taken")
    brightness: Share = Field(0.0, description="0.1 multiplies by 0.9 to 1.1")
    contrast: Share = Field(0.0, description="0.1 stretches around the mean by 0.9 to 1.1")
    resized_crop: Share = Field(0.0, description="0.2 draws a crop of 80 to 100 % of the area and resizes it")
    erase: Share = Field(0.0, description="probability of a rectangle of noise over 2 to 20 % of the film")
    mixup: float = Field(0.0, ge=0.0, description="alpha of the Beta distribution; 0 is off")
    fill: Literal["constant", "nearest", "reflect"] = Field("constant", description="what stands outside the film")
