"""What one run needs, as records: every key with its default, its unit and its meaning.

The sections are those of the recipe file (TOML); `hilum.recipe.load` reads one and names the nearest key when a
key is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


Activation = Literal["relu", "elu", "selu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "linear"]


class Head(Section):
    """The dense layers on top of the backbone's pooled features."""

    layers: int = Field(0, ge=0, le=4, description="dense layers before the last one; 0: the last one alone")
    units: int = Field(128, ge=1, le=8192, description="width of each")
    activation: Activation = Field("relu", description="after each; it chooses the fitting initialisation too")
    batch_norm: bool = Field(False, description="batch normalisation before each dense layer; not with selu")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="after each")


class CNN(Section):
    """A plain convolutional network of hilum's own, for model.backbone = "cnn".

    Each block is convolutions with their normalisation and activation, then a pool.
    """

    channels: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        [128, 128, 256], min_length=1, max_length=8, description="of the blocks, first to last"
    )
    pools: list[Annotated[int, Field(ge=1, le=8)]] = Field(
        [4, 2],
        min_length=1,
        description="side and stride of the pool after each block, 1: none; the last one holds for all further blocks",
    )
    convolutions: int = Field(1, ge=1, le=4, description="in each block")
    kernel: Literal[1, 3, 5, 7] = Field(3, description="side of the convolutions, which keep the map's side")
    normalisation: Literal["none", "batch", "group"] = Field("batch", description="between convolution and activation")
    pooling: Literal["max", "avg"] = Field("max", description="kind of the pools after the blocks")
    activation: Activation = Field("relu", description="after each convolution")


class Block(Section):
    """Convolutions stacked on the backbone's last feature map, which always learn, as kth-snn-2020 has on VGG16."""

    layers: int = Field(0, ge=0, le=4, description="number of convolutions; 0: no block")
    channels: int = Field(512, ge=1, le=4096, description="of each convolution")
    kernel: Literal[1, 3, 5, 7] = Field(3, description="side of the convolutions, which keep the map's side")
    normalisation: Literal["none", "batch", "group"] = Field("none", description="between convolution and activation")
    activation: Activation = Field("relu", description="after each convolution")
    pool: int = Field(1, ge=1, le=8, description="side and stride of the max pool after the last convolution; 1: none")


class Model(Section):
    """The network."""

    backbone: str = Field(
        "mobilenetv2_100",
        description="a name of `hilum weights list`, any timm name, or cnn, covientist-cnn, darkcovidnet",
    )
    weights: str = Field(
        "pretrained", description="pretrained, none, or a safetensors FILE; none for cnn, covientist-cnn, darkcovidnet"
    )
    normalise: Literal["pretrained", "featurewise", "zca"] = Field(
        "pretrained",
        description="pretrained: as the weights were; featurewise: mean 0 and spread 1 over the train part's pixels; "
        "zca: that, then whitened as Keras does; both are fitted on the train part and kept in the weights",
    )
    pooling: Literal["avg", "max", "avgmax", "flatten"] = Field("avg", description="of the last feature map")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="before the last layer")
    cnn: CNN = Field(CNN(), description="with backbone = 'cnn'")
    block: Block = Field(Block(), description="convolutions on the last feature map")
    head: Head = Field(Head(), description="dense layers on the pooled features")

    @model_validator(mode="after")
    def _network_agrees(self) -> Model:
        if self.cnn != CNN() and self.backbone.lower() != "cnn":
            raise ValueError(f"[model.cnn] describes model.backbone = 'cnn', and the backbone is {self.backbone!r}")
        if len(self.cnn.pools) > len(self.cnn.channels):
            raise ValueError("model.cnn.pools has more pools than model.cnn.channels has blocks")
        return self


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
