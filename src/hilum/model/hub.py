"""timm's pretrained weights from the model hub: to a temporary file, compared with the hub's SHA-256, then kept."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hilum.errors import WeightsError
from hilum.model import store
from hilum.model.store import Stored, Triple
from hilum.model.zoo import Backbone
from hilum.progress import SILENT, Progress

FILE = "model.safetensors"
# Chest films have about half of the greys, and a quarter of them is one spread; for networks without published weights.
FILM_MEAN, FILM_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Published:
    """What timm knows about a backbone's weights. repository: on the hub; url: of a pickled file, where that is all."""

    repository: str | None
    url: str | None
    mean: Triple
    std: Triple
    licence: str | None
    first_conv: str | tuple[str, ...] | None


def published(backbone: Backbone) -> Published:
    """timm's `pretrained_cfg` of the backbone, in our words. Of a network of hilum's own nothing is published."""
    if backbone.own:
        return Published(None, None, FILM_MEAN, FILM_STD, None, "layers.conv1")
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(backbone.timm)
    return Published(
        cfg.hf_hub_id or None, cfg.url or None, tuple(cfg.mean), tuple(cfg.std), cfg.license, cfg.first_conv
    )


def fetch(backbone: Backbone, *, endpoint: str | None = None, progress: Progress = SILENT) -> Stored:
    """The backbone's pretrained weights in the store, downloaded when they are not there or are damaged.

    A file that huggingface_hub already holds is taken from its cache. endpoint: of a hub other than the usual one
    (as $HF_ENDPOINT). Refused with WeightsError, which says what to do: no network, a broken or wrong download, no
    pretrained weights, or weights that exist only as a pickle (`fetch_pickle`).
    """
    held = store.get(backbone.timm)
    if held is not None and store.is_whole(held):
        return held
    source = published(backbone)
    if source.repository is None:
        raise _not_on_hub(backbone, source)
    store.folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.folder(), prefix=".fetch-") as scratch:
        file = _from_hub_cache(source.repository, Path(scratch))
        if file is None:
            file = _download(backbone, source.repository, Path(scratch), endpoint, progress)
        return store.put(
            file,
            backbone.timm,
            origin=f"hub {source.repository}",
            licence=source.licence,
            mean=source.mean,
            std=source.std,
        )


def _from_hub_cache(repository: str, scratch: Path) -> Path | None:
    """A copy from huggingface_hub's own cache, where a file's name is its SHA-256; None when absent or damaged."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, FILE)
    if not isinstance(found, str):
        return None
    file = scratch / FILE
    shutil.copyfile(found, file)
    return file if store.sha256(file) == Path(found).resolve().name else None


def _download(backbone: Backbone, repository: str, scratch: Path, endpoint: str | None, progress: Progress) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.utils import disable_progress_bars

    if progress is SILENT:
        disable_progress_bars()  # on a terminal the hub's client draws its own
    try:
        wanted = get_hf_file_metadata(hf_hub_url(repository, FILE, endpoint=endpoint))
        size = f", {wanted.size / 1e6:.0f} MB" if wanted.size else ""
        progress.say(f"fetching the weights of {backbone.timm} from the hub{size}")
        file = Path(hf_hub_download(repository, FILE, cache_dir=scratch, endpoint=endpoint)).resolve()
    except Exception as error:  # the hub's client lets the exceptions of its HTTP library through, whichever that is
        raise _failed(backbone, repository, error) from error
    if re.fullmatch("[0-9a-f]{64}", wanted.etag or "") and store.sha256(file) != wanted.etag:
        raise WeightsError(
            f"the download of {backbone.timm} is broken: its SHA-256 is not the hub's; nothing was kept",
            next_step="Try again; when it happens twice, a proxy between here and the hub may alter files.",
        )
    return file


def _failed(backbone: Backbone, repository: str, error: Exception) -> WeightsError:
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    absent = (EntryNotFoundError, RepositoryNotFoundError)
    if isinstance(error, absent) and not isinstance(error, LocalEntryNotFoundError):
        return WeightsError(
            f"the hub has no file {FILE} in {repository}",
            next_step="Name a file with `--set model.weights=FILE`, or choose another backbone (`hilum weights list`).",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return WeightsError(
            f"the disk is full; nothing of {backbone.timm} was kept",
            where=str(store.folder()),
            next_step="Make room, or set HILUM_CACHE to a folder on another disk.",
        )
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return WeightsError(
        f"the pretrained weights of {backbone.timm} are not on this machine and cannot be had from the hub "
        f"({type(error).__name__}: {reason.rstrip('. ')}); nothing was kept",
        next_step=(
            f"On a machine with a network fetch the file {FILE} of the hub repository {repository} "
            f"(`hf download {repository} {FILE}`), copy it here and run `hilum weights import {FILE} "
            f"--backbone {backbone.timm}`; or name a file with `--set model.weights=FILE`; "
            "or train from scratch with `--set model.weights=none`."
        ),
    )


def _not_on_hub(backbone: Backbone, source: Published) -> WeightsError:
    if source.url is None:
        return WeightsError(
            f"nobody publishes pretrained weights of {backbone.timm}",
            next_step="Name a file with `--set model.weights=FILE`, train from scratch with "
            "`--set model.weights=none`, or choose another backbone (`hilum weights list`).",
        )
    file = source.url.rpartition("/")[2]
    return WeightsError(
        f"the weights of {backbone.timm} are published only as a pickle, {file}, which is never read unasked",
        next_step=f"Run `hilum weights fetch {backbone.timm}` to download and convert it; without a network, fetch "
        f"{source.url} on another machine, copy it here and run "
        f"`hilum weights import {file} --backbone {backbone.timm}`.",
    )


def fetch_pickle(backbone: Backbone, url: str, folder: Path) -> Path:
    """Download a pickled file whose name ends in the start of its SHA-256, as PyTorch's do; it is not opened."""
    import torch

    name = url.rpartition("/")[2]
    digest = re.search(r"-([0-9a-f]{8,})\.", name)
    if digest is None:
        raise WeightsError(
            f"the download {name} could not be verified, since its name holds no SHA-256",
            next_step=f"Fetch {url} yourself and run `hilum weights import {name} --backbone {backbone.timm}`.",
        )
    try:
        torch.hub.download_url_to_file(url, str(folder / name), hash_prefix=digest[1], progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{name} cannot be downloaded ({type(error).__name__}: {error}); nothing was kept",
            next_step=f"Fetch {url} on another machine, copy it here and run "
            f"`hilum weights import {name} --backbone {backbone.timm}`.",
        ) from error
    return folder / name
