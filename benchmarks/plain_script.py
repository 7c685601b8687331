"""The fine-tuning script that most would write, as the peer: torchvision transforms, DataLoader, AdamW, one cycle.

    python benchmarks/plain_script.py RUN/manifest.parquet weights.safetensors

Trains on the manifest's parts train and validation, tests on test once, prints one line of JSON. MobileNetV2, 224 px,
bfloat16, 5 epochs, batch 32, AdamW 1e-3 with one cycle.
"""

from __future__ import annotations

import json
import sys

import pandas as pd
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import from_probabilities
from hilum.recipe.schema import Evaluate

EPOCHS, BATCH, RATE = 5, 32, 1e-3


class Films(Dataset):
    def __init__(self, films: pd.DataFrame, classes: list[str]) -> None:
        self.paths = films["path"].tolist()
        self.y = [classes.index(name) for name in films["class"]]
        self.transform = transforms.Compose(
            [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.paths[index]).convert("RGB")), self.y[index]


def main(manifest: str, weights: str) -> None:
    torch.manual_seed(0)
    films = pd.read_parquet(manifest)
    classes = sorted(films["class"].unique())
    train, test = films[films["part"] != "test"], films[films["part"] == "test"]
    network = timm.create_model("mobilenetv2_100", num_classes=1000)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
    network.reset_classifier(len(classes))
    network = network.to(memory_format=torch.channels_last)
    loader = DataLoader(Films(train, classes), BATCH, shuffle=True, num_workers=2, drop_last=True)
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * len(loader))
    network.train()
    for _ in range(EPOCHS):
        for x, y in loader:
            with torch.autocast("cpu", torch.bfloat16):
                z = network(x.to(memory_format=torch.channels_last))
            loss = F.cross_entropy(z.float(), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        p = torch.cat([network(x).softmax(1) for x, _ in DataLoader(Films(test, classes), 64, num_workers=2)])
    figures = evaluate(from_probabilities(test, p.double().numpy(), classes), Evaluate())
    print(json.dumps(figures["test"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
