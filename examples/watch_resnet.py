"""A residual network with batch normalization, trained on digits by a plain loop, and watched with three lines.

    python examples/watch_resnet.py [--steps 300] [--every 10] [--out adamantine-store]

Half a minute on two cores. Prints where the page is.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import adamantine
from adamantine.data import digits
from adamantine.probes.batch_sharpness import BatchSharpness
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.trace import Trace
from adamantine.watching import presets


class Block(nn.Module):
    """Two convolutions beside a skip connection, each with its normalization; the first may halve the image."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of an image of features."""
        inside = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(inside)) + self.skip(x)).relu()


class ResNet(nn.Module):
    """Ten classes of images of 8 by 8, with 20 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def main(words: list[str] | None = None) -> None:
    """Train, watch, and say where the page is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--every", type=int, default=10)
    options.add_argument("--out", default="adamantine-store")
    given = options.parse_args(words)

    torch.manual_seed(0)
    x, y, test_x, test_y = digits.split()
    loader = DataLoader(TensorDataset(x, y), 64, shuffle=True, drop_last=True)
    model, criterion = ResNet(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    probes = (*presets.DEFAULT, PreconditionedSharpness(), BatchSharpness(4), Trace(4))
    watch = adamantine.watch(
        model, optimizer, criterion, loader, probes, every=given.every, store=given.out, name="resnet"
    )
    done = 0
    while done < given.steps:
        for batch in loader:
            images, labels = batch
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(batch, train_loss=loss.item())
            done += 1
            if done == given.steps:
                break
        model.eval()
        with torch.no_grad():
            watch.record({"test_accuracy": (model(test_x).argmax(1) == test_y).float().mean()})
        model.train()
    print(f"the page: {watch.close()}")


if __name__ == "__main__":
    main()
