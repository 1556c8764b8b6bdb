"""From a person, a scene and a motion to the frames a camera would record."""

import math

import cv2
import numpy as np

from kdjax.data_pipeline.builders.synthfaces import backdrop, canvas, face, features
from kdjax.data_pipeline.builders.synthfaces.identity import Identity, Scene
from kdjax.data_pipeline.builders.synthfaces.motion import State

BACKDROP_SHARE, HAND_SHARE = 0.25, 0.6
"""How much of the head's shift the backdrop and the hand follow."""


class Renderer:
    """Draws one person in one scene; everything that does not move is drawn once.

    Frames are drawn at twice their size and averaged down.
    """

    _backdrop: np.ndarray
    _hand: np.ndarray | None

    def __init__(
        self, person: Identity, scene: Scene, size: int, *, around: "Renderer | None" = None
    ):
        """Draws what does not move, or takes all but the head from the renderer `around` it."""
        self.person, self.scene, self.size = person, scene, size
        self.head = face.build(person, scene, size)
        self._warp = cv2.merge(list(self.head.warp))
        self._coarse, self._grid = canvas.grid(size, 1.0, fineness=1), canvas.grid(size, 1.0)
        if around is not None:
            self._backdrop, self._hand = around._backdrop, around._hand
        else:
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
        image = cv2.resize(cv2.merge(list(image)), (self.size,) * 2, interpolation=cv2.INTER_AREA)
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

        The head turns by parallax: a point moves by its height above the outline. Positions are smooth,
        so they are found for every other pixel and interpolated.
        """
        coarse, unit = self._coarse, self.head.grid.unit
        cosine, sine = math.cos(state.roll) / state.scale, math.sin(state.roll) / state.scale
        x = cosine * (coarse.x - state.x) + sine * (coarse.y - state.y)
        y = cosine * (coarse.y - state.y) - sine * (coarse.x - state.x)
        offset = canvas.EXTENT * unit - 0.5
        warp = cv2.remap(self._warp, x * unit + offset, y * unit + offset, cv2.INTER_LINEAR)
        height, jaw, brows = cv2.split(warp)
        x = x - state.yaw * height
        y = y - state.pitch * height - 0.5 * state.mouth_open * jaw + state.brow * brows
        columns = cv2.resize(x * unit + offset, self._grid.x.shape)
        rows = cv2.resize(y * unit + offset, self._grid.x.shape)
        moved = cv2.remap(cv2.merge(list(layers)), columns, rows, cv2.INTER_LINEAR)
        return np.stack(cv2.split(moved))


def record(image: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Returns what the scene's camera stores of a clean image: signal-dependent noise, uint8.

    The variance is `read_noise^2 + shot_noise * level` at every pixel; half of it is common to the
    three colours.
    """
    draws = rng.standard_normal((4, *image.shape[:2]), dtype=np.float32)
    noise = cv2.merge((draws[1:] + draws[0]) * math.sqrt(0.5))
    deviation = np.sqrt(scene.read_noise**2 + scene.shot_noise * np.clip(image, 0.0, 255.0))
    return np.clip(np.rint(image + deviation * noise), 0, 255).astype(np.uint8)


def _shifted(layers: np.ndarray, state: State, pixels: float) -> np.ndarray:
    """Returns layers `[n, H, W]` moved by `pixels` times the head's shift."""
    move = np.array([[1.0, 0.0, pixels * state.x], [0.0, 1.0, pixels * state.y]])
    moved = [
        cv2.warpAffine(layer, move, layer.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        for layer in layers
    ]
    return np.stack(moved)
