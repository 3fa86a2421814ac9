"""What a reader is told whose environment lacks the weights or the photographs."""

import pytest
from face_detector import load_photo, load_pnet
from face_detector.installed import metadata


def test_weights_that_are_not_installed(monkeypatch):
    def not_found(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", not_found)
    with pytest.raises(FileNotFoundError) as err:
        load_pnet()
    assert str(err.value).splitlines() == [
        "facenet-pytorch is not installed; facenet_pytorch/data/pnet.pt is read from it.",
        "Install it with:",
        "    pip install --no-deps facenet-pytorch==2.6.0",
    ]


def test_a_photo_that_is_not_shipped():
    version = metadata.version("scikit-image")
    with pytest.raises(FileNotFoundError) as err:
        load_photo("selfie")
    assert str(err.value).splitlines() == [
        f"scikit-image {version} is installed without skimage/data/selfie.png.",
        "The release that holds it:",
        "    pip install scikit-image==0.26.0",
    ]
