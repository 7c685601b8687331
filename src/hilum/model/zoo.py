"""The backbones by the names that people use: of timm, of hilum's own, and every other network of timm by timm's name.

The weights' tag is part of the name (`resnet50.tv_in1k`): timm's default for `resnet50` has changed over the years,
and with it what "pretrained" meant. This module needs no torch until a name that is not in the table is looked up.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hilum.errors import RequestError


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, and which pretrained weights are meant.

    name: as people write it. timm: architecture and tag of the weights; of `OWN` the name alone. side_px: of the square
    films that the weights were trained on, or that the network was made for. parameters_m: in millions, without the
    classifier; None where not listed. licence: of the weights, None where it is not stated.
    """

    name: str
    timm: str
    side_px: int
    parameters_m: float | None
    licence: str | None

    @property
    def architecture(self) -> str:
        """The timm architecture, without the weights' tag."""
        return self.timm.partition(".")[0]

    @property
    def own(self) -> bool:
        """Whether hilum builds it (`hilum.model.networks`), and nobody publishes weights of it."""
        return self in OWN.values()


# The key is the name in small letters without hyphens, blanks and underscores.
BACKBONES: Mapping[str, Backbone] = {
    "vgg16": Backbone("VGG16", "vgg16.tv_in1k", 224, 14.7, "bsd-3-clause"),
    "vgg19": Backbone("VGG19", "vgg19.tv_in1k", 224, 20.0, "bsd-3-clause"),
    "resnet18": Backbone("ResNet18", "resnet18.tv_in1k", 224, 11.2, "bsd-3-clause"),
    "resnet34": Backbone("ResNet34", "resnet34.tv_in1k", 224, 21.3, "bsd-3-clause"),
    "resnet50": Backbone("ResNet50", "resnet50.tv_in1k", 224, 23.5, "bsd-3-clause"),
    "resnet101": Backbone("ResNet101", "resnet101.tv_in1k", 224, 42.5, "bsd-3-clause"),
    "seresnet50": Backbone("SE-ResNet50", "seresnet50.ra2_in1k", 224, 26.0, "apache-2.0"),
    "inceptionv3": Backbone("InceptionV3", "inception_v3.tv_in1k", 299, 21.8, "apache-2.0"),
    "xception": Backbone("Xception", "legacy_xception.tf_in1k", 299, 20.8, "apache-2.0"),
    "inceptionresnetv2": Backbone("InceptionResNetV2", "inception_resnet_v2.tf_in1k", 299, 54.3, "apache-2.0"),
    "nasnetlarge": Backbone("NASNetLarge", "nasnetalarge.tf_in1k", 331, 84.7, "apache-2.0"),
    "efficientnetb0": Backbone("EfficientNet-B0", "efficientnet_b0.ra_in1k", 224, 4.0, "apache-2.0"),
    "densenet121": Backbone("DenseNet121", "densenet121.tv_in1k", 224, 7.0, "apache-2.0"),
    "mobilenetv1": Backbone("MobileNetV1", "mobilenetv1_100.ra4_e3600_r224_in1k", 224, 3.2, "apache-2.0"),
    "mobilenetv2": Backbone("MobileNetV2", "mobilenetv2_100.ra_in1k", 224, 2.2, "apache-2.0"),
}
# Networks that timm does not have. The keys are written as those above.
OWN: Mapping[str, Backbone] = {
    "cnn": Backbone("CNN", "cnn", 224, None, None),
    "covientistcnn": Backbone("Covientist CNN", "covientist-cnn", 224, 0.4, None),
    "darkcovidnet": Backbone("DarkCovidNet", "darkcovidnet", 256, 1.2, None),
}
# Other ways in which the papers and Keras write them.
SYNONYMS: Mapping[str, str] = {
    "vgg": "vgg16",
    "seresnet": "seresnet50",
    "senet50": "seresnet50",
    "inception": "inceptionv3",
    "nasnet": "nasnetlarge",
    "nasnetalarge": "nasnetlarge",
    "efficientnet": "efficientnetb0",
    "densenet": "densenet121",
    "mobilenet": "mobilenetv1",
}


def find(name: str) -> Backbone:
    """The backbone of a name: of the tables in any case and with any hyphens, or of timm with or without a tag.

    Refused with RequestError, which names the nearest ones: a name that neither has.

    >>> find("SE-ResNet 50").timm
    'seresnet50.ra2_in1k'
    >>> find("mobilenetv2_100") is find("MobileNet-V2")
    True
    """
    key = re.sub(r"[\s_-]", "", name.lower())
    key = SYNONYMS.get(key, key)
    if key in BACKBONES or key in OWN:
        return BACKBONES.get(key) or OWN[key]
    for backbone in BACKBONES.values():
        if name.lower() in (backbone.timm, backbone.architecture):
            return backbone
    return _of_timm(name)


def _of_timm(name: str) -> Backbone:
    import timm
    from timm.models import get_pretrained_cfg

    architecture = name.partition(".")[0]
    try:
        cfg = get_pretrained_cfg(name) if timm.is_model(architecture) else None
    except RuntimeError:  # the architecture has no weights of this tag
        cfg = None
    if cfg is None:
        tagged = timm.list_pretrained(f"{architecture}.*") if timm.is_model(architecture) else []
        named = [backbone.name for backbone in (*BACKBONES.values(), *OWN.values())]
        near = _nearest(name, tagged or [*named, *timm.list_models()])
        raise RequestError(
            f"there is no backbone {name!r}" + (f"; the nearest are {', '.join(near)}" if near else ""),
            where="model.backbone",
            next_step="`hilum weights list` shows the names; any other timm name will do too.",
        )
    full = f"{architecture}.{cfg.tag}" if cfg.tag else architecture
    return Backbone(name, full, cfg.input_size[-1], None, cfg.license)


def _nearest(name: str, known: list[str]) -> list[str]:
    by_key = {re.sub(r"[\s_-]", "", one.lower()): one for one in reversed(known)}
    found = difflib.get_close_matches(re.sub(r"[\s_-]", "", name.lower()), by_key, n=3, cutoff=0.5)
    return [by_key[key] for key in found]
