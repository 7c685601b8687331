"""The sections of a recipe on the network: backbone, networks of one's own, blocks and heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hilum.recipe.section import Section

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
    pooling: Literal["avg", "max", "avgmax", "flatten", "levels"] = Field(
        "avg",
        description="of the last feature map; levels: mean and spread over the places of the last map and of those of "
        "two finer levels",
    )
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="before the last layer")
    cnn: CNN = Field(CNN(), description="with backbone = 'cnn'")
    block: Block = Field(Block(), description="convolutions on the last feature map")
    head: Head = Field(Head(), description="dense layers on the pooled features")

    @model_validator(mode="after")
    def _network_agrees(self) -> Model:
        if self.pooling == "levels" and self.block.layers:
            raise ValueError(
                "pooling = 'levels' reads maps of several sizes, and [model.block] takes the last one alone"
            )
        if self.cnn != CNN() and self.backbone.lower() != "cnn":
            raise ValueError(f"[model.cnn] describes model.backbone = 'cnn', and the backbone is {self.backbone!r}")
        if len(self.cnn.pools) > len(self.cnn.channels):
            raise ValueError("model.cnn.pools has more pools than model.cnn.channels has blocks")
        return self
