"""The script that most would write with torch: torchvision transforms and a DataLoader. Imports nothing of hilum.

    python torch_script.py FILMS.csv decode|fine-tune|predict usual|recommended

FILMS.csv: path, class. usual: what tutorials show, float32, a worker a core. recommended: the PyTorch tuning guide's
advice for processors: channels_last, bfloat16, persistent workers, inference mode. Weights are random.
The last line that it prints is JSON: films a second, and the versions.
"""

from __future__ import annotations

import json
import os
import sys
import time

import pandas as pd
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH = 32


class Films(Dataset):
    def __init__(self, table: pd.DataFrame) -> None:
        self.paths, names = table["path"].tolist(), sorted(table["class"].unique())
        self.y = [names.index(name) for name in table["class"]]
        self.transform = transforms.Compose(
            [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.paths[index]).convert("RGB")), self.y[index]


def main(table: str, work: str, settings: str) -> None:
    torch.manual_seed(0)
    films, fast = Films(pd.read_csv(table)), settings == "recommended"
    workers = len(os.sched_getaffinity(0))
    loader = DataLoader(films, BATCH, shuffle=work == "fine-tune", num_workers=workers, persistent_workers=fast)
    network = timm.create_model("mobilenetv2_100", num_classes=3)
    network = network.to(memory_format=torch.channels_last) if fast else network
    jobs = {"decode": decode, "fine-tune": fine_tune, "predict": predict}
    start = time.perf_counter()
    jobs[work](network, loader, fast)
    rate = len(films) / (time.perf_counter() - start)
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    print(json.dumps({"films_per_second": rate, "films": len(films), "versions": versions}))


def decode(network: torch.nn.Module, loader: DataLoader, fast: bool) -> None:
    for _ in loader:
        pass


def fine_tune(network: torch.nn.Module, loader: DataLoader, fast: bool) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    network.train()
    for x, y in loader:
        x = x.to(memory_format=torch.channels_last) if fast else x
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            z = network(x)
        loss = F.cross_entropy(z.float(), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def predict(network: torch.nn.Module, loader: DataLoader, fast: bool) -> None:
    network.eval()
    with torch.inference_mode() if fast else torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        p = torch.cat([network(x.to(memory_format=torch.channels_last) if fast else x).softmax(1) for x, _ in loader])
    pd.DataFrame(p.float().numpy()).to_csv(os.devnull)


if __name__ == "__main__":
    main(*sys.argv[1:])
