"""What docs/studies.md is made of: the runs, and the rows that show them. `studies.py` runs and shows them.

SHARED in a setting or source stands for the folder with data/ and weights/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

KAGGLE = ("kaggle-covid19-pneumonia:SHARED/data/kaggle-covid19-pneumonia",)
COHEN_KERMANY = ("cohen:SHARED/data/cohen", "kermany:SHARED/data/kermany")
COHEN = ("cohen:SHARED/data/cohen",)
DARK = ("darkcovidnet:SHARED/data/darkcovidnet",)
KERMANY_LARGE = ("kermany:SHARED/data/kermany-large",)
KTH = ("cohen:SHARED/data/cohen", "figure1:SHARED/data/figure1", "darkcovidnet:SHARED/data/darkcovidnet")

WEIGHTS = "model.weights=SHARED/weights/mobilenetv2_100.safetensors"
# For a study's own pretrained network where its weights cannot be had: MobileNetV2, at the side that its weights know.
MOBILENET = ("model.backbone=mobilenetv2_100", WEIGHTS, "prepare.side_px=224")
# The other network with weights at hand.
OTHER_MOBILENET = ("model.backbone=mobilenetv1_100", "model.weights=SHARED/weights/mobilenetv1_100.safetensors")
# At the study's 1e-3 its block dies on MobileNetV2's map within an epoch, whose channels are 1280 and not 512: the loss
# stays at ln 3 in train and validation.
MOBILENET_BLOCK = (*MOBILENET, "stage.learning_rate=1e-4")
# RSNA's films are not there. They come from NIH, as 1000 of darkcovidnet's do; those stand in their place.
NIH_FOR_RSNA = (
    'data.where=not (source in ["cohen", "figure1"] and label == "normal" or source == "darkcovidnet/cohen" '
    'or source == "cohen" and view in ["lateral", "axial", "coronal"])',
    "data.draw={ normal = 500, pneumonia = 579, covid-19 = 266 }",
)
BY_PATIENT = ("split.scheme=patient", "split.leaks=refuse")


@dataclass(frozen=True)
class Run:
    """One call of `hilum train`, or of `hilum crossval` in five folds.

    settings: what makes it the study's own run. at_hand: settings that take the films there are for those that are not.
    stand_in: settings that put a network with weights at hand in the place of the study's own. short: settings that
    bring the run down to what two cores can do. The page says of each run what the last three changed.
    members: names of runs that are averaged (`hilum ensemble`); nothing else of it then counts.
    """

    recipes: tuple[str, ...]
    sources: tuple[str, ...]
    settings: tuple[str, ...] = ()
    at_hand: tuple[str, ...] = ()
    stand_in: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    folds: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A model of a study: where its published figures stand ("" or a name of [about.others]), and what ran for it.

    frozen: networks that do not learn, with a head that does. together: three averaged, of other seeds or networks.
    """

    study: str
    model: str
    recipe: str
    other: str
    as_published: str
    improved: str = ""
    frozen: tuple[str, ...] = ()
    together: str = ""

    @property
    def runs(self) -> dict[str, str]:
        """The names of its runs, by what they are."""
        named = {
            "as published": self.as_published,
            "improved": self.improved,
            **{f"improved, frozen network {number}": name for number, name in enumerate(self.frozen, 1)},
            "improved, three averaged": self.together,
        }
        return {whose: name for whose, name in named.items() if name}


RUNS: Mapping[str, Run] = {
    "liverpool-untrained": Run(
        ("liverpool-2022",),
        KAGGLE,
        ("stage.epochs=0", "model.head.layers=0", "model.backbone=ResNet50"),
        stand_in=MOBILENET,
    ),
    "liverpool": Run(("liverpool-2022",), KAGGLE, stand_in=MOBILENET),
    "liverpool-better": Run(("liverpool-2022", "better"), KAGGLE, (WEIGHTS, "data.per_class=")),
    "covientist-cnn": Run(("covientist-2021",), KAGGLE, short=("stage.epochs=12", "stage.decay_epochs=2")),
    "covientist-pretrained": Run(
        ("covientist-2021",),
        KAGGLE,
        (
            "model.backbone=VGG16",
            "model.weights=pretrained",
            "model.pooling=avg",
            "model.head.layers=0",
            "model.head.dropout=0",
            "stage.epochs=25",
        ),
        stand_in=MOBILENET,
        short=("stage.epochs=10", "stage.decay_epochs=2"),
    ),
    "covientist-better": Run(("covientist-2021", "better"), KAGGLE, (WEIGHTS,)),
    "fabiani-first": Run(("fabiani-2020-xception",), COHEN, stand_in=MOBILENET),
    "fabiani-first-better": Run(("fabiani-2020-xception", "better"), COHEN, (WEIGHTS,)),
    "fabiani-four": Run(("fabiani-2020-four-class",), COHEN_KERMANY, stand_in=MOBILENET),
    # What was not drawn is trained on too: eight times the films, so half the epochs.
    "fabiani-four-better": Run(
        ("fabiani-2020-four-class", "better"), COHEN_KERMANY, (WEIGHTS, "data.undrawn=train", "stage.epochs=7")
    ),
    "fabiani-four-frozen": Run(("fabiani-2020-four-class", "frozen"), COHEN_KERMANY, (WEIGHTS, "data.undrawn=train")),
    "fabiani-binary": Run(("fabiani-2020-binary",), COHEN_KERMANY, stand_in=MOBILENET),
    "fabiani-fine-tuned": Run(("fabiani-2020-fine-tuned",), COHEN_KERMANY, stand_in=MOBILENET),
    "fabiani-binary-better": Run(("fabiani-2020-binary", "better"), COHEN_KERMANY, (WEIGHTS,)),
    "kth-original": Run(
        ("kth-snn-2020-original",), KTH, at_hand=NIH_FOR_RSNA, stand_in=MOBILENET_BLOCK, short=("stage.epochs=20",)
    ),
    "kth-segmented": Run(
        ("kth-snn-2020-segmented",), KTH, at_hand=NIH_FOR_RSNA, stand_in=MOBILENET_BLOCK, short=("stage.epochs=20",)
    ),
    "kth-augmented": Run(
        ("kth-snn-2020-augmented",), KTH, at_hand=NIH_FOR_RSNA, stand_in=MOBILENET_BLOCK, short=("stage.epochs=20",)
    ),
    "kth-better": Run(("kth-snn-2020-original", "better"), KTH, (WEIGHTS,), NIH_FOR_RSNA),
    "gradientcrescent-binary": Run(("gradientcrescent-2020-binary",), COHEN_KERMANY, stand_in=MOBILENET),
    "gradientcrescent-binary-better": Run(("gradientcrescent-2020-binary", "better"), COHEN_KERMANY, (WEIGHTS,)),
    "gradientcrescent-three": Run(("gradientcrescent-2020-three",), COHEN_KERMANY, stand_in=MOBILENET),
    "gradientcrescent-three-better": Run(("gradientcrescent-2020-three", "better"), COHEN_KERMANY, (WEIGHTS,)),
    "gradientcrescent-four": Run(("gradientcrescent-2020-four",), COHEN_KERMANY, stand_in=MOBILENET),
    "gradientcrescent-four-better": Run(("gradientcrescent-2020-four", "better"), COHEN_KERMANY, (WEIGHTS,)),
    "darkcovidnet-by-film": Run(("darkcovidnet-2020",), DARK, short=("stage.epochs=25",), folds=True),
    "darkcovidnet": Run(("darkcovidnet-2020",), DARK, BY_PATIENT, short=("stage.epochs=25",), folds=True),
    "darkcovidnet-better": Run(("darkcovidnet-2020", "better"), DARK, (*BY_PATIENT, WEIGHTS), folds=True),
    "darkcovidnet-frozen": Run(("darkcovidnet-2020", "frozen"), DARK, (*BY_PATIENT, WEIGHTS), folds=True),
    "darkcovidnet-frozen-other": Run(
        ("darkcovidnet-2020", "frozen"), DARK, (*BY_PATIENT, *OTHER_MOBILENET), folds=True
    ),
    "darkcovidnet-together": Run(
        (), DARK, members=("darkcovidnet-better", "darkcovidnet-frozen", "darkcovidnet-frozen-other")
    ),
}

# The same training on films that are prepared in one way, in train, validation and test: kth-snn's puzzle.
PUZZLE: Mapping[tuple[str, str], tuple[str, Run]] = {
    (equalise, lungs): (
        f"puzzle-{equalise}-{lungs}",
        Run(
            ("kth-snn-2020-original", "better"),
            KTH,
            (*BY_PATIENT, WEIGHTS, "balance.how=none", f"prepare.equalise={equalise}", f"prepare.lungs={lungs}"),
            NIH_FOR_RSNA,
            short=("stage.epochs=4",),
            folds=True,
        ),
    )
    for lungs in ("none", "mask")
    for equalise in ("none", "histogram", "clahe")
}

# The same training at three resolutions, on films that have them.
RESOLUTION: Mapping[int, tuple[str, Run]] = {
    side: (
        f"resolution-{side}",
        Run(
            ("better",),
            KERMANY_LARGE,
            ("data.task=pneumonia-3", *BY_PATIENT, WEIGHTS, f"prepare.side_px={side}"),
            short=("stage.epochs=6",),
            folds=True,
        ),
    )
    for side in (224, 320, 448)
}

# One network, and the mean of three that differ in nothing but the seed.
THREE = ("fabiani-four-better", "liverpool-better")


def _seeded() -> Mapping[str, Run]:
    found: dict[str, Run] = {}
    for name in THREE:
        others = {
            f"{name}-seed-{seed}": replace(RUNS[name], settings=(*RUNS[name].settings, f"training.seed={seed}"))
            for seed in (1, 2)
        }
        found |= others
        found[f"{name}-three"] = Run(RUNS[name].recipes, RUNS[name].sources, members=(name, *others))
    return found


ALL_RUNS: Mapping[str, Run] = {**RUNS, **_seeded(), **dict(PUZZLE.values()), **dict(RESOLUTION.values())}

_COVIENTIST_PRETRAINED = (
    "VGG16",
    "VGG19",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "InceptionV3",
    "EfficientNet-B0",
)

ROWS: tuple[Row, ...] = (
    *(
        Row("liverpool-2022", f"{name}, untrained", "liverpool-2022", f"{name}, untrained", "liverpool-untrained")
        for name in ("ResNet50", "InceptionV3")
    ),
    Row(
        "liverpool-2022",
        "InceptionV3, 3 x 32 SELU",
        "liverpool-2022",
        "",
        "liverpool",
        "liverpool-better",
        together="liverpool-better-three",
    ),
    *(
        Row("covientist-2021", name, "covientist-2021", name, "covientist-pretrained", "covientist-better")
        for name in _COVIENTIST_PRETRAINED
    ),
    Row("covientist-2021", "its own CNN", "covientist-2021", "", "covientist-cnn", "covientist-better"),
    Row("fabiani-2020", "Xception, first try", "fabiani-2020-xception", "", "fabiani-first", "fabiani-first-better"),
    *(
        Row(
            "fabiani-2020",
            f"{name}, 4 classes",
            "fabiani-2020-four-class",
            other,
            "fabiani-four",
            "fabiani-four-better",
            ("fabiani-four-frozen",),
            "fabiani-four-better-three",
        )
        for name, other in (
            ("InceptionResNetV2", ""),
            ("Xception", "Xception"),
            ("VGG16", "VGG16"),
            ("NASNetLarge", "NASNetLarge"),
        )
    ),
    Row(
        "fabiani-2020",
        "InceptionResNetV2, binary",
        "fabiani-2020-binary",
        "",
        "fabiani-binary",
        "fabiani-binary-better",
    ),
    Row(
        "fabiani-2020",
        "InceptionResNetV2, binary, fine-tuned",
        "fabiani-2020-fine-tuned",
        "",
        "fabiani-fine-tuned",
        "fabiani-binary-better",
    ),
    *(
        Row("kth-snn-2020", f"VGG16 and a block, {name}", f"kth-snn-2020-{name}", "", f"kth-{name}", "kth-better")
        for name in ("original", "segmented", "augmented")
    ),
    *(
        Row(
            "gradientcrescent-2020",
            f"VGG16, {name}",
            f"gradientcrescent-2020-{name}",
            "",
            f"gradientcrescent-{name}",
            f"gradientcrescent-{name}-better",
        )
        for name in ("binary", "three", "four")
    ),
    Row("darkcovidnet-2020", "DarkCovidNet, folds by film", "darkcovidnet-2020", "", "darkcovidnet-by-film"),
    Row(
        "darkcovidnet-2020",
        "DarkCovidNet, folds by patient",
        "darkcovidnet-2020",
        "",
        "darkcovidnet",
        "darkcovidnet-better",
        ("darkcovidnet-frozen", "darkcovidnet-frozen-other"),
        "darkcovidnet-together",
    ),
)
