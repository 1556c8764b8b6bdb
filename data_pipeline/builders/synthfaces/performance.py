"""One recorded clip: a person acts in a scene and a camera records it."""

from functools import cached_property

import numpy as np

from kdjax.data_pipeline.builders.synthfaces import render
from kdjax.data_pipeline.builders.synthfaces.identity import (
    Identity,
    Scene,
    draw_identity,
    draw_scene,
)
from kdjax.data_pipeline.builders.synthfaces.motion import State, draw_track

_PERSON, _RECORDING, _NOISE = range(3)


class Performance:
    """A real clip, a pure function of seed, identity and clip; drawn when first looked at.

    Attributes:
      person: who acts.
      scene: light, place and camera.
      states: pose and expression of each frame.
      size: side of the frames in pixels.
    """

    person: Identity
    scene: Scene
    states: list[State]

    def __init__(self, seed: int, identity: int, clip: int, *, length: int, size: int):
        self.size = size
        self.person = draw_identity(np.random.default_rng([seed, _PERSON, identity]))
        rng = np.random.default_rng([seed, _RECORDING, identity, clip])
        self.scene = draw_scene(rng)
        self.states = draw_track(rng, length)
        self._noise = [seed, _NOISE, identity, clip]

    @cached_property
    def renderer(self) -> render.Renderer:
        """The person drawn in the scene."""
        return render.Renderer(self.person, self.scene, self.size)

    @cached_property
    def frames(self) -> np.ndarray:
        """The recorded frames, uint8 `[T, S, S, 3]`."""
        rng = np.random.default_rng(self._noise)
        images = [self.renderer.frame(state) for state in self.states]
        return np.stack([render.record(image, self.scene, rng) for image in images])
