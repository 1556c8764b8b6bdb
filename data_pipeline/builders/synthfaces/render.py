"""From a person, a scene and a motion to the frames a camera would record."""

import math

import cv2
import numpy as np

from data_pipeline.builders.synthfaces import backdrop, canvas, face, features
from data_pipeline.builders.synthfaces.identity import Identity, Scene
from data_pipeline.builders.synthfaces.motion import State

BACKDROP_SHARE, HAND_SHARE = 0.25, 0.6
"""How much of the head's shift the backdrop and the hand follow."""


class Renderer:
    """Draws one person in one scene; everything that does not move is drawn once.

    Frames are drawn at twice their size and averaged down.
    """

    def __init__(self, person: Identity, scene: Scene, size: int):
        self.person, self.scene, self.size = person, scene, size
        self.head = face.build(person, scene, size)
        self._grid = canvas.grid(size, 1.0)
        self._backdrop = backdrop.place(person, scene, self._grid)
        self._hand = backdrop.hand(person, scene, self._grid) if scene.hand else None

    def frame(self, state: State) -> np.ndarray:
        """Returns the frame of a state, float32 `[S, S, 3]` in grey levels, without sensor noise."""
        head = self._move(features.draw(self.person, self.head, state), state)
        image = _shifted(self._backdrop, state, BACKDROP_SHARE * self._grid.unit)
        image = image * (1.0 - head[3]) + head[:3]
        if self._hand is not None:
            hand = _shifted(self._hand, state, HAND_SHARE * self._grid.unit)
            image = image * (1.0 - hand[3]) + hand[:3]
        image *= self.scene.exposure * canvas.planes(self.scene.tint)
        image = cv2.resize(cv2.merge(image), (self.size,) * 2, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(image, (0, 0), self.scene.blur)

    def moved(self, layer: np.ndarray, state: State) -> np.ndarray:
        """Returns a layer `[H, W]` of the head's flat picture as it lies in the frame, `[S, S]`."""
        return self._reduced(self._move(layer[None], state)[0])

    def occluders(self, state: State) -> np.ndarray:
        """Returns the coverage `[S, S]` of what lies before the face: hair, glasses, hand."""
        layer = self.moved(np.maximum(self.head.hair, self.head.glasses), state)
        if self._hand is None:
            return layer
        hand = _shifted(self._hand[3:], state, HAND_SHARE * self._grid.unit)[0]
        return np.maximum(layer, self._reduced(hand))

    def _reduced(self, layer: np.ndarray) -> np.ndarray:
        return cv2.resize(layer, (self.size,) * 2, interpolation=cv2.INTER_AREA)

    def _move(self, layers: np.ndarray, state: State) -> np.ndarray:
        """Returns layers of the flat picture turned, shifted and scaled to a state, `[n, 2S, 2S]`.

        The head turns by parallax: a point moves by its height above the outline.
        """
        grid, unit = self._grid, self.head.grid.unit
        cosine, sine = math.cos(state.roll) / state.scale, math.sin(state.roll) / state.scale
        x = cosine * (grid.x - state.x) + sine * (grid.y - state.y)
        y = cosine * (grid.y - state.y) - sine * (grid.x - state.x)
        offset = canvas.EXTENT * unit - 0.5
        height, jaw, brows = _remap(self.head.warp, x * unit + offset, y * unit + offset)
        x = x - state.yaw * height
        y = y - state.pitch * height - 0.5 * state.mouth_open * jaw + state.brow * brows
        return _remap(layers, x * unit + offset, y * unit + offset)


def record(image: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Returns what the scene's camera stores of a clean image: signal-dependent noise, uint8.

    The variance is `read_noise^2 + shot_noise * level` at every pixel; half of it is common to the
    three colours.
    """
    draws = rng.standard_normal((4, *image.shape[:2]), dtype=np.float32)
    noise = cv2.merge((draws[1:] + draws[0]) * math.sqrt(0.5))
    deviation = np.sqrt(scene.read_noise**2 + scene.shot_noise * np.clip(image, 0.0, 255.0))
    return np.clip(np.rint(image + deviation * noise), 0, 255).astype(np.uint8)


def _remap(layers: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([cv2.remap(layer, x, y, cv2.INTER_LINEAR) for layer in layers])


def _shifted(layers: np.ndarray, state: State, pixels: float) -> np.ndarray:
    """Returns layers `[n, H, W]` moved by `pixels` times the head's shift."""
    move = np.array([[1.0, 0.0, pixels * state.x], [0.0, 1.0, pixels * state.y]])
    moved = [
        cv2.warpAffine(layer, move, layer.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        for layer in layers
    ]
    return np.stack(moved)
