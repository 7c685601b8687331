"""Which processor computes, and in which precision."""

from __future__ import annotations

import ctypes
from typing import Literal

import torch

from hilum.errors import RequestError


def accelerator(device: Literal["auto", "cpu", "gpu"]) -> Literal["cpu", "cuda"]:
    """The kind of device meant; "gpu" on a machine without one is refused with RequestError."""
    if device == "gpu" and not torch.cuda.is_available():
        raise RequestError(
            "there is no GPU that torch can use", where="training.device", next_step="Leave it at auto, or say cpu."
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def computes_bf16(kind: Literal["cpu", "cuda"]) -> bool:
    """Whether bfloat16 is computed by the hardware (AVX-512 BF16 or AMX on a CPU) and not emulated."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def precision(asked: Literal["auto", "32", "bf16"], kind: Literal["cpu", "cuda"]) -> str:
    """Lightning's name of the precision for training."""
    mixed = asked == "bf16" or (asked == "auto" and computes_bf16(kind))
    return "bf16-mixed" if mixed else "32-true"


# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Let this process keep the memory that a step of training frees, for the next step.

    glibc gives a block of over 32 MiB back to the system as soon as it is free, and smaller ones when enough are, and
    gets each anew, page by page: a tenth (MobileNetV2, 32 films of 224 px) to a sixth (the lung network) of a step on
    two cores. mallopt(3). With another C library nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
