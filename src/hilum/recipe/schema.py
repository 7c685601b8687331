"""What one run needs, as records: every key with its default, its unit and its meaning.

The sections are those of the recipe file (TOML); those on films and network have modules of their own.
`hilum.recipe.load` reads one and names the nearest key when a key is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from hilum.recipe.films import Augment, Data, Prepare, Split, Task
from hilum.recipe.network import CNN, Block, Head, Model
from hilum.recipe.section import Section, Share

__all__ = [
    "CNN",
    "About",
    "Audit",
    "Augment",
    "Balance",
    "Block",
    "Bounds",
    "Data",
    "Evaluate",
    "Explain",
    "Head",
    "Model",
    "Predict",
    "Prepare",
    "Range",
    "Recipe",
    "Search",
    "Split",
    "Stage",
    "Task",
    "Training",
]


class Balance(Section):
    """What is done about classes of unequal size, in training only."""

    how: Literal["none", "weights", "under", "over", "share"] = Field(
        "none",
        description="weights: of the loss; under, over: films left out or drawn again until classes are equal; "
        "share: of each batch",
    )
    share: dict[str, Share] = Field({}, description="class -> share of each batch, for how = 'share'")
    by_source: bool = Field(False, description="balance the sources within each class too")


class Stage(Section):
    """One stage of training."""

    unfreeze: Literal["none", "all"] | int = Field(
        "all", description="of the backbone: none, all, or its last N layers"
    )
    epochs: int = Field(5, ge=0, description="0: nothing is trained; the untrained head is evaluated, and that is said")
    optimiser: Literal["sgd", "rmsprop", "adagrad", "adadelta", "adam", "amsgrad", "adamax", "nadam", "adamw"] = Field(
        "adamw", description="amsgrad: Adam with AMSGrad"
    )
    learning_rate: float = Field(1e-3, gt=0.0, description="at the start; at the top of one_cycle")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="sgd and rmsprop only")
    weight_decay: float = Field(
        0.0, ge=0.0, description="not of biases and norms; decoupled in adamw, else in the gradient"
    )
    schedule: Literal["constant", "one_cycle", "cosine", "step", "exponential", "inverse_time", "plateau"] = Field(
        "one_cycle", description="how the learning rate goes; plateau: falls when `monitor` no longer gains"
    )
    decay: float = Field(0.1, ge=0.0, description="step, exponential, plateau: factor; inverse_time: per step")
    decay_epochs: int = Field(10, ge=1, description="step: epochs between falls; plateau: epochs without gain")
    lowest_learning_rate: float = Field(0.0, ge=0.0, description="the schedule does not go below it")
    batch_size: int = Field(32, ge=1, description="films in a batch")
    side_px: int | None = Field(
        None, ge=16, description="train and validate this stage on films shrunk to this side; empty: prepare.side_px"
    )
    patience: int | None = Field(None, ge=1, description="epochs without a better `monitor` before the stage ends")
    monitor: Literal["loss", "accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"] = Field(
        "loss", description="on the validation part: what `keep`, `patience` and plateau go by"
    )
    keep: Literal["best", "last"] = Field(
        "best", description="whose weights are kept: the best epoch by `monitor`, or the last, as one_cycle ends in it"
    )
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="share of the target spread over all classes")
    ema: float = Field(
        0.0, ge=0.0, lt=1.0, description="decay per step of the averaged weights that are kept; 0 is off"
    )


class Training(Section):
    """How the training runs, whatever is trained."""

    seed: int = Field(0, ge=0, description="of fresh weights, batches, augmentation and dropout")
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="auto: bf16 where the machine computes in it")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto: the accelerator where there is one")
    workers: int | None = Field(None, ge=1, description="processes that decode films; empty: one per core")


class Evaluate(Section):
    """How the figures are made."""

    interval: float = Field(0.95, gt=0.5, lt=1.0, description="confidence of the intervals")
    bootstrap: int = Field(1000, ge=100, description="resamples, by patient where patients are known")
    prevalence: dict[str, Share] = Field({}, description="class -> share in the population meant; empty: of the part")
    wished_sensitivity: Share = Field(0.95, description="operating points are chosen for it on validation")
    calibrate: bool = Field(True, description="fit one temperature on validation")


class Predict(Section):
    """How a trained network is asked, by the run itself and by all who predict with it."""

    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="of the run's own predictions: auto is OpenVINO on a processor, where it is installed, else torch",
    )
    flip: bool = Field(
        False, description="average the logits of each film and of its mirror image; stored with the weights"
    )
    zoom: float = Field(
        0.0,
        ge=0.0,
        le=0.2,
        description="0.05 averages those of the film 5 % larger and 5 % smaller; stored too",
    )


class Range(Section):
    """From low to high, both included; whole numbers where the recipe's key takes those."""

    low: int | float = Field(description="least value")
    high: int | float = Field(description="greatest value")
    log: bool = Field(False, description="drawn evenly over the logarithm")
    step: int | float | None = Field(None, gt=0, description="distance of the values; a grid needs it")

    @model_validator(mode="after")
    def _goes_up(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithm needs a low above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: list the values instead")
        return self


Values = Annotated[list[Any], Field(min_length=1)]
# Told apart by their form, so that what is wrong with a range is not said of a list.
ValuesOrRange = Annotated[
    Annotated[Values, Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, dict | Range) else "values"),
]


class Search(Section):
    """What `hilum search` tries, and by what it chooses; always on the validation part, never on test."""

    method: Literal["random", "tpe", "grid", "one_at_a_time"] = Field(
        "tpe",
        description="one_at_a_time: all values of a key, the best of which is fixed before the next key, in the order "
        "of [search.space]",
    )
    trials: int | None = Field(
        None, ge=1, description="at most; empty: all of grid and one_at_a_time, 30 of random and tpe"
    )
    monitor: Literal["loss", "accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"] = Field(
        "balanced_accuracy", description="on the validation part, at the epoch whose weights the last stage keeps"
    )
    prune: bool = Field(False, description="end a trial whose monitor is below the median of the others at its epoch")
    stages: int | None = Field(None, ge=1, description="a trial trains only the first so many stages; empty: all")
    seed: int = Field(0, ge=0, description="of what is tried")
    space: dict[str, ValuesOrRange] = Field(
        {}, description='key of the recipe -> list of values or { low, high, log, step }, as "stage.learning_rate"'
    )

    @field_validator("space", mode="before")
    @classmethod
    def _flat(cls, space: Any) -> Any:
        return dict(_flat_keys(space)) if isinstance(space, dict) else space


def _flat_keys(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys without quotes are tables in TOML: stage.learning_rate = [...] is read as "stage.learning_rate" is."""
    for key, value in tables.items():
        if isinstance(value, dict) and not set(value) & set(Range.model_fields):
            yield from _flat_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


class Explain(Section):
    """What `hilum explain` makes where its options say nothing else."""

    methods: list[Literal["grad-cam", "grad-cam++", "eigen-cam", "occlusion", "integrated-gradients"]] = Field(
        ["grad-cam"], description="the maps; all but the first three need a hundred forward passes a film"
    )
    part: Literal["train", "validation", "test"] = Field("test", description="whose films are explained")
    films: int = Field(300, ge=1, description="most films, drawn from each class alike")


class Bounds(Section):
    """From where on a check of the audit warns and fails."""

    warn: float | None = Field(None, description="empty: as the audit's own table has it")
    fail: float | None = Field(None, description="empty: as the audit's own table has it")


class Audit(Section):
    """How the audit looks, and its limits where they are not those of its own table; outputs say which those are."""

    films: int = Field(
        3000, ge=100, description="most films whose pixels are looked at, drawn from each source and class alike"
    )
    seed: int = Field(0, ge=0, description="of that draw, of folds and of resamples")
    limits: dict[str, Bounds] = Field(
        {}, description='check -> limits, as in: "label-from-file" = { warn = 0.7, fail = 0.8 }'
    )


class About(Section):
    """What a recipe is, for those who read it."""

    title: str = Field("", description="its name for people")
    summary: str = Field("", description="what it does, in a sentence or two")
    citation: str = Field("", description="whom to cite")
    films: int | None = Field(None, ge=1, description="how many the study had, in all parts")
    needs: dict[str, str] = Field({}, description="reader -> where its collection is to be had, for each one needed")
    published: dict[str, float] = Field(
        {},
        description="figures that the authors report, named as in metrics.json; of test, or as 'validation accuracy'",
    )
    others: dict[str, dict[str, float]] = Field(
        {}, description="the same of their other networks: model.backbone, or what it was -> figures"
    )


class Recipe(Section):
    """Everything one run needs."""

    about: About = About()
    data: Data = Data()
    task: Task = Task()
    split: Split = Split()
    prepare: Prepare = Prepare()
    augment: Augment = Augment()
    model: Model = Model()
    balance: Balance = Balance()
    stage: list[Stage] = Field(default_factory=lambda: [Stage()], min_length=1)
    training: Training = Training()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
    search: Search = Search()
    explain: Explain = Explain()
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        if self.data.per_class is not None and self.data.draw:
            raise ValueError("data.per_class and data.draw both say how many films are drawn: leave out one")
        if self.split.scheme == "source" and self.split.folds is not None:
            raise ValueError("with split.scheme = 'source' each source is a fold: leave out split.folds")
        if self.split.test_per_class is not None and self.split.scheme == "published":
            raise ValueError("split.test_per_class draws a test part, and split.scheme = 'published' keeps one")
        if self.split.fold is not None and self.split.folds is None and self.split.scheme != "source":
            raise ValueError("split.fold says which of split.folds is the test part: give both, or neither")
        if self.split.folds is not None and self.split.fold is not None and self.split.fold >= self.split.folds:
            raise ValueError(f"split.fold {self.split.fold} is not below split.folds {self.split.folds}")
        if self.balance.how == "share" and not self.balance.share:
            raise ValueError("balance.how = 'share' needs [balance.share], as in: share = { covid-19 = 0.3 }")
        if sum(self.balance.share.values()) > 1.0:
            raise ValueError("the shares of [balance.share] add up to more than 1")
        for number, stage in enumerate(self.stage, 1):
            if stage.batch_size == 1 and self.model.head.batch_norm:
                raise ValueError(f"stage {number} has batches of one film, on which batch norm cannot train")
            if stage.side_px is not None and stage.side_px > self.prepare.side_px:
                raise ValueError(
                    f"stage {number} has side_px {stage.side_px}, more than prepare.side_px {self.prepare.side_px}"
                )
        if self.data.task == "own" and not self.task.labels:
            raise ValueError("data.task = 'own' needs [task.labels], as in: bacterial = 'pneumonia'")
        return self
