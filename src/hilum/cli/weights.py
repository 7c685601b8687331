"""`hilum weights`: list, fetch, import and verify the weights of backbones."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import terminal

app = typer.Typer(help="Pretrained weights of backbones: list, fetch, import, verify.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """The backbones by name, and which weights are in the local store. Any other timm name will do too."""
    from rich.table import Table

    from hilum.model import store
    from hilum.model.zoo import BACKBONES

    held = {stored.timm: stored for stored in store.everything()}
    table = Table(box=None, pad_edge=False)
    for heading in ("backbone", "timm name"):
        table.add_column(heading, no_wrap=True)
    for heading in ("million", "px", "in store"):
        table.add_column(heading, justify="right", no_wrap=True)
    for backbone in BACKBONES.values():
        there = "yes" if backbone.timm in held else "-"
        table.add_row(backbone.name, backbone.timm, f"{backbone.parameters_m:.1f}", str(backbone.side_px), there)
    terminal.show(table)
    terminal.say(f"million: parameters without the classifier; px: side of the films\nstore: {store.folder()}")
    for stored in held.values():
        terminal.say(
            f"  {stored.timm}: {stored.size_bytes / 1e6:.1f} MB, {stored.origin}, licence {stored.licence or 'unknown'}"
        )
    terminal.answer(
        {
            "backbones": [asdict(backbone) for backbone in BACKBONES.values()],
            "store": [asdict(stored) for stored in held.values()],
        }
    )


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="A backbone's name, as ResNet50.")]) -> None:
    """Download the pretrained weights of a backbone into the local store, whole or not at all."""
    from hilum.model import weights, zoo

    stored = weights.fetch(zoo.find(name), progress=terminal.progress())
    terminal.say(f"{stored.path} ({stored.size_bytes / 1e6:.1f} MB, SHA-256 {stored.sha256[:12]}…, {stored.origin})")
    terminal.answer({"timm": stored.timm, "path": str(stored.path), "sha256": stored.sha256})


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="safetensors, or a .pth, which is converted.")],
    backbone: Annotated[str, typer.Option("--backbone", help="The backbone that the weights belong to.")],
    mean: Annotated[
        str | None, typer.Option(help="The channels' mean in training, 0.5 or 0.485,0.456,0.406 [file's, or timm's]")
    ] = None,
    std: Annotated[str | None, typer.Option(help="The channels' standard deviation in training.")] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Let a pickled file run code as it is read. Only for files you trust."),
    ] = False,
) -> None:
    """Check a file of weights against its backbone and copy it into the local store."""
    from hilum.model import weights, zoo

    found = zoo.find(backbone)
    if file.suffix.lower() in weights.PICKLES:
        terminal.err.print(
            f"warning: {file} is a pickle. It is read {'WITH' if trust_pickle else 'WITHOUT'} running the code in it "
            "and converted to safetensors; keep the original out of other tools.",
            markup=False,
        )
    stored = weights.import_file(
        file,
        found,
        mean=weights.parse_triple(mean, "--mean") if mean else None,
        std=weights.parse_triple(std, "--std") if std else None,
        trust_pickle=trust_pickle,
    )
    terminal.say(
        f"{stored.path} ({stored.size_bytes / 1e6:.1f} MB, SHA-256 {stored.sha256[:12]}…); "
        f"mean {stored.mean}, std {stored.std}. Train with --set model.backbone={stored.timm}"
    )
    terminal.answer({"timm": stored.timm, "path": str(stored.path), "sha256": stored.sha256})


@app.command()
def verify() -> None:
    """Compare every file of the local store with its SHA-256. Exit status 1 when one is damaged."""
    from hilum.model import store

    verdicts = [(stored, store.is_whole(stored)) for stored in store.everything()]
    for stored, whole in verdicts:
        terminal.say(f"{'whole  ' if whole else 'DAMAGED'} {stored.sha256[:12]}… {stored.path}")
    terminal.answer([{"timm": stored.timm, "whole": whole, "sha256": stored.sha256} for stored, whole in verdicts])
    damaged = [stored for stored, whole in verdicts if not whole]
    if damaged:
        from hilum.errors import WeightsError

        raise WeightsError(
            f"{len(damaged)} of {len(verdicts)} files are damaged, first {damaged[0].timm}",
            where=str(store.folder()),
            next_step=f"Run `hilum weights fetch {damaged[0].timm}`, or import the file again.",
        )
    terminal.say(f"files: {len(verdicts)}, all whole")
