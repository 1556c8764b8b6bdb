"""The plain side of predicting.py: OpenCV reads, dlib finds, PyTorch scores, one after the other."""

import argparse
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
import torch
from torch_networks import NETWORKS

SEARCHED, MARGIN = 640, 1.3


def prepare(arguments: argparse.Namespace) -> Any:
    """Returns the network, run once."""
    network = NETWORKS[arguments.network]().to(memory_format=torch.channels_last).eval()
    size = arguments.size
    score(network, [np.zeros((size, size, 3), np.uint8)] * arguments.batch)
    return network


def judge(path: Path, network: Any, arguments: argparse.Namespace) -> tuple[int, int]:
    """Returns how many frames were looked through and scored."""
    detector = dlib.get_frontal_face_detector()
    video = cv2.VideoCapture(str(path))
    frames, box, crops, scores = 0, None, [], []
    while True:
        there, pixels = video.read()
        if not there:
            break
        frame = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        if frames % arguments.every == 0:
            box = largest(frame, detector) or box
        frames += 1
        if box is None:
            continue
        crops.append(cut(frame, box, arguments.size))
        if len(crops) == arguments.batch:
            scores += score(network, crops)
            crops = []
    if crops:
        scores += score(network, crops)
    return frames, len(scores)


def largest(frame: np.ndarray, detector: Any) -> tuple[int, int, int, int] | None:
    """Returns left, top, right and bottom of the largest face."""
    scale = min(1.0, SEARCHED / max(frame.shape[:2]))
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = max(detector(small, 0), key=lambda face: face.area(), default=None)
    if found is None:
        return None
    edges = (found.left(), found.top(), found.right(), found.bottom())
    left, top, right, bottom = (round(edge / scale) for edge in edges)
    return left, top, right, bottom


def cut(frame: np.ndarray, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Returns the square around a face."""
    left, top, right, bottom = box
    height, width = frame.shape[:2]
    side = min(round(MARGIN * max(right - left, bottom - top)), height, width)
    x = min(max((left + right - side) // 2, 0), width - side)
    y = min(max((top + bottom - side) // 2, 0), height - side)
    pixels = frame[y : y + side, x : x + side]
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def score(network: Any, crops: list[np.ndarray]) -> list[float]:
    """Returns probabilities of fake."""
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
    with torch.inference_mode():
        logits = network(images.contiguous(memory_format=torch.channels_last))
    return logits.softmax(1)[:, 1].tolist()
