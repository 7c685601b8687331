"""On what a run was made: versions, machine, commit. What a stranger needs to make it again."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

from hilum import __version__
from hilum.files import cores

PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "pandas", "scikit-learn", "Pillow", "pydicom")


def describe_environment() -> dict[str, Any]:
    """The machine, the versions, the command and the moment, as JSON values."""
    return {
        "hilum": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_commit": _git_commit(),
        "command": ["hilum", *sys.argv[1:]] if Path(sys.argv[0]).name == "hilum" else None,
        "started": now(),
    }


def now() -> str:
    """The moment, with its zone, to the second."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """The commit of the folder that the user works in, marked where it has changes; None outside of git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
