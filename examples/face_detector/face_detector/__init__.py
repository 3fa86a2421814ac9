"""A small face detector: the trained MTCNN cascade in plain PyTorch."""

from face_detector.cascade import Face, FaceDetector
from face_detector.networks import load_onet, load_pnet, load_rnet
from face_detector.photo import load_photo, normalise

__all__ = [
    "Face",
    "FaceDetector",
    "load_onet",
    "load_photo",
    "load_pnet",
    "load_rnet",
    "normalise",
]
