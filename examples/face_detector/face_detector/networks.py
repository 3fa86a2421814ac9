"""The three networks of the cascade, with the layer names of the released weights."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from face_detector.installed import installed_file

Network = TypeVar("Network", bound=nn.Module)

# Its metadata pins an old torch and its package imports torchvision: only its files are wanted.
INSTALL_WEIGHTS = "pip install --no-deps facenet-pytorch==2.6.0"


class PNet(nn.Module):
    """The proposal network: looks at every window of 12 x 12 pixels, two pixels apart.

    Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
    Convolutional Networks", 2016, figure 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, kernel_size=3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, kernel_size=3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, kernel_size=3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, kernel_size=1)
        self.softmax4_1 = nn.Softmax(dim=1)
        self.conv4_2 = nn.Conv2d(32, 4, kernel_size=1)

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Score every window of normalised photos (N, 3, H, W).

        Returns the probability of a face (N, h, w) and the shift of the window's left, top,
        right and bottom side, in shares of its size (N, 4, h, w).
        """
        x = self.pool1(self.prelu1(self.conv1(photo)))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        return self.softmax4_1(self.conv4_1(x))[:, 1], self.conv4_2(x)


class RNet(nn.Module):
    """The refinement network: a second opinion on crops of 24 x 24 pixels.

    Source: as for `PNet`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, kernel_size=3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, kernel_size=3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, kernel_size=2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.softmax5_1 = nn.Softmax(dim=1)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Score normalised crops (N, 3, 24, 24).

        Returns the probability of a face (N,) and the shift of the crop's sides (N, 4).
        """
        x = self.pool1(self.prelu1(self.conv1(crops)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(_flatten(x)))
        return self.softmax5_1(self.dense5_1(x))[:, 1], self.dense5_2(x)


class ONet(nn.Module):
    """The output network: the last word on crops of 48 x 48 pixels, and the landmarks.

    Source: as for `PNet`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, kernel_size=2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.softmax6_1 = nn.Softmax(dim=1)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score normalised crops (N, 3, 48, 48).

        Returns the probability of a face (N,), the shift of the crop's sides (N, 4), and five
        landmarks in shares of the crop, all x before all y (N, 10).
        """
        x = self.pool1(self.prelu1(self.conv1(crops)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(_flatten(x)))
        return self.softmax6_1(self.dense6_1(x))[:, 1], self.dense6_2(x), self.dense6_3(x)


def load_pnet() -> PNet:
    """Return the trained P-Net, ready for inference; see `installed_file` for the error."""
    return _load(PNet(), "pnet.pt")


def load_rnet() -> RNet:
    """Return the trained R-Net, ready for inference; see `installed_file` for the error."""
    return _load(RNet(), "rnet.pt")


def load_onet() -> ONet:
    """Return the trained O-Net, ready for inference; see `installed_file` for the error."""
    return _load(ONet(), "onet.pt")


def _load(network: Network, file: str) -> Network:
    path = installed_file("facenet-pytorch", f"facenet_pytorch/data/{file}", INSTALL_WEIGHTS)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def _flatten(x: Tensor) -> Tensor:
    # The dense weights were trained elsewhere, on maps stored as width, height, channel.
    return x.permute(0, 3, 2, 1).flatten(start_dim=1)
