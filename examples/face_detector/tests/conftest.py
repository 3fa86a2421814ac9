"""The trained networks, and photographs whose every pixel is the same on all machines."""

import pytest
from face_detector import FaceDetector, load_onet, load_photo, load_pnet, load_rnet, normalise
from torch.nn.functional import avg_pool2d


@pytest.fixture(scope="session")
def pnet():
    return load_pnet()


@pytest.fixture(scope="session")
def rnet():
    return load_rnet()


@pytest.fixture(scope="session")
def onet():
    return load_onet()


@pytest.fixture(scope="session")
def model(pnet, rnet, onet):
    return FaceDetector(pnet, rnet, onet)


@pytest.fixture(scope="session")
def astronaut():
    return normalise(load_photo("astronaut"))


@pytest.fixture
def photo(astronaut):
    """The astronaut's head, 160 high and 128 wide: unequal, so that a transposed map shows."""
    return astronaut[..., 48:208, 160:288].contiguous()


@pytest.fixture
def face(astronaut):
    """The face alone, 96 by 96 pixels."""
    return astronaut[..., 72:168, 176:272].contiguous()


# Means over 2 x 2 and 4 x 4 pixels are exact in float32, so no machine rounds them differently.
@pytest.fixture
def face_48(face):
    return avg_pool2d(face, 2)


@pytest.fixture
def face_24(face):
    return avg_pool2d(face, 4)
