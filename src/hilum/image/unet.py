"""The lung network's plan, and the plan with weights as an ONNX model, which OpenCV computes without torch.

A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) of residual blocks (He et al. 2016, arXiv:1512.03385) whose skips
are added, not concatenated (Chaurasia & Culurciello 2017, LinkNet, arXiv:1707.03718), which halves the work of the
decoder. The film is halved by the first layer, and the answer has half the film's side: a lung's outline is smooth.

`hilum.model.unet` trains the same plan in torch; both walk `PLAN`, so they cannot differ in shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

# Channels at 1/2, 1/4, ... of the film's side.
WIDTHS = (16, 32, 64, 128, 192)
# A film's side must be a multiple of it, so that what is halved five times and doubled again fits.
MULTIPLE = 2 ** len(WIDTHS)


@dataclass(frozen=True)
class Step:
    """One layer: convolve `source`; double the sides, if `doubled`; add `plus`, if any; ReLU, if `relu`.

    source, plus: names of earlier steps, or "film". kernel: side of the convolution, padded so that only `stride`
    changes the size.
    """

    name: str
    source: str
    width_in: int
    width_out: int
    kernel: int = 3
    stride: int = 1
    doubled: bool = False
    plus: str = ""
    relu: bool = True


def plan(widths: tuple[int, ...] = WIDTHS) -> list[Step]:
    """The layers in order; the last one, "lungs", gives the logit of being lung.

    >>> [step.name for step in plan((4, 8))]
    ['down0', 'down1', 'deep1a', 'deep1b', 'up0', 'flat0', 'lungs']
    """
    steps = [Step("down0", "film", 1, widths[0], stride=2)]
    for level, width in enumerate(widths[1:], 1):
        steps.append(Step(f"down{level}", steps[-1].name, widths[level - 1], width, stride=2))
        steps += _residual(f"deep{level}", steps[-1].name, width)
    for level in range(len(widths) - 2, -1, -1):
        skip, width = f"deep{level}b" if level else "down0", widths[level]
        steps.append(Step(f"up{level}", steps[-1].name, widths[level + 1], width, kernel=1, doubled=True, plus=skip))
        if level:
            steps += _residual(f"flat{level}", steps[-1].name, width)
    steps.append(Step("flat0", steps[-1].name, widths[0], widths[0]))
    return [*steps, Step("lungs", "flat0", widths[0], 1, relu=False)]


def _residual(name: str, source: str, width: int) -> list[Step]:
    return [
        Step(f"{name}a", source, width, width),
        Step(f"{name}b", f"{name}a", width, width, plus=source),
    ]


PLAN = plan()


def to_onnx(weights: Mapping[str, np.ndarray], side_px: int) -> bytes:
    """The plan with weights as an ONNX model: "film" (1, 1, side, side) to "lungs" (1, 1, side / 2, side / 2).

    weights: of each step NAME.weight (out, in, kernel, kernel) and NAME.bias (out,), in which batch norms are folded.
    Written by hand, because ONNX's own package is 20 MB for the five message types that this needs
    (github.com/onnx/onnx/blob/main/onnx/onnx.proto).
    """
    nodes: list[bytes] = []
    for step in PLAN:
        nodes += _nodes(step)
    scales = {"twice": np.array([1.0, 1.0, 2.0, 2.0], np.float32)}
    tensors = [_tensor(name, value) for name, value in {**weights, **scales}.items()]
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"lungs"),
            *(_field(5, tensor) for tensor in tensors),
            _field(11, _value_info("film", (1, 1, side_px, side_px))),
            _field(12, _value_info("lungs", (1, 1, side_px // 2, side_px // 2))),
        ]
    )
    # IR version 8, operators of version 13.
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 13))


def _nodes(step: Step) -> list[bytes]:
    """What ONNX needs for one step; each result but the last has a name of its own."""
    chain: list[tuple[str, list[str], list[bytes]]] = [
        (
            "Conv",
            [f"{step.name}.weight", f"{step.name}.bias"],
            [
                _integers("kernel_shape", [step.kernel] * 2),
                _integers("pads", [step.kernel // 2] * 4),
                _integers("strides", [step.stride] * 2),
            ],
        )
    ]
    if step.doubled:
        modes = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")]
        chain.append(("Resize", ["", "twice"], [_string(name, value) for name, value in modes]))
    if step.plus:
        chain.append(("Add", [step.plus], []))
    if step.relu:
        chain.append(("Relu", [], []))
    nodes, held = [], step.source
    for number, (kind, inputs, attributes) in enumerate(chain, 1):
        result = step.name if number == len(chain) else f"{step.name}:{kind}"
        nodes.append(
            b"".join(_field(1, name.encode()) for name in [held, *inputs])
            + _field(2, result.encode())
            + _field(3, f"{step.name}:{kind}".encode())
            + _field(4, kind.encode())
            + b"".join(_field(5, attribute) for attribute in attributes)
        )
        held = result
    return nodes


# Protocol buffers: a number is (field << 3), then 7 bits at a time; text and messages are (field << 3 | 2), length,
# bytes.


def _varint(value: int) -> bytes:
    """
    >>> _varint(300).hex()      # the example of protobuf.dev/programming-guides/encoding
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _integers(name: str, values: Iterable[int]) -> bytes:
    return _field(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, 7)


def _string(name: str, value: str) -> bytes:
    return _field(1, name.encode()) + _field(4, value.encode()) + _number(20, 3)


def _tensor(name: str, value: np.ndarray) -> bytes:
    data = np.ascontiguousarray(value, dtype="<f4")
    dims = b"".join(_number(1, size) for size in data.shape)
    return dims + _number(2, 1) + _field(8, name.encode()) + _field(9, data.tobytes())


def _value_info(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, dims)))
