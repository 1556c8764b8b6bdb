"""The options of the `folder` data set."""

import dataclasses

import tensorflow_datasets as tfds

from kdjax.data_pipeline.builders import schema


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """The options of the `folder` data set.

    Attributes:
      name: `forge` or `plain`, from the field of that name.
      image_size: side of the stored faces in pixels.
      seed: decides splits, the motion of stills and forgeries.
      forge: make a self-blended fake from every real item.
      frames_per_video: evenly spaced frames taken from a video, at most.
      clip_length: frames that are compressed together around each of them.
      max_side: a larger frame is shrunk to this longer side before it is compressed.
      margin: side of the crop by that of the face.
      detector: `hog`, or the path of a YuNet model file.
      face_side: frames are shrunk, before they are forged and compressed, until the crop has so
        many pixels a side in them; `None` leaves them as they are.
      forge_sharpness: multiplies how far the sharpness of a self-blended copy is changed.
      forge_grid: largest strength of a generator's grid in a forgery, in steps of 8 bits.
      takes: how often a still is taken: cut out a little differently each time, forged anew.
      test_share: share of the people that are kept for the test; 15 % validate, the rest trains.
    """

    name: str = ""
    image_size: int = 128
    seed: int = 0
    forge: bool = False
    frames_per_video: int = 16
    clip_length: int = 8
    max_side: int = 1280
    margin: float = 1.3
    detector: str = "hog"
    face_side: int | None = None
    forge_sharpness: float = 1.0
    forge_grid: float = 0.0
    takes: int = 1
    test_share: float = schema.SPLIT_FRACTIONS[2]

    def __post_init__(self) -> None:
        limits = {
            "image_size": (8, 1024),
            "frames_per_video": (1, 10_000),
            "clip_length": (1, 250),
            "max_side": (64, 8192),
            "margin": (0.5, 4.0),
            "face_side": (16, 1024),
            "forge_sharpness": (0.1, 5.0),
            "forge_grid": (0.0, 64.0),
            "takes": (1, 64),
            "test_share": (0.05, 0.8),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is None and name == "face_side":
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be between {low} and {high}")
        for name in ("forge_sharpness", "forge_grid"):
            value = getattr(self, name)
            if not self.forge and value != getattr(type(self), name):
                raise ValueError(f"{name}={value!r} goes with forge: nothing is forged without it")
        self.name = "forge" if self.forge else "plain"

    def fractions(self) -> tuple[float, float, float]:
        """Returns the shares of the splits."""
        validation = schema.SPLIT_FRACTIONS[1]
        return 1 - validation - self.test_share, validation, self.test_share
