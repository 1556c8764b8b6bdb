"""The options of the data sets that are made of files."""

import dataclasses
import re
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from kdjax.data_pipeline.builders import schema


@dataclasses.dataclass
class MediaConfig(tfds.core.BuilderConfig):
    """What every data set made of images and videos can be asked for.

    Attributes:
      name: of the part.
      image_size: side of the stored faces in pixels.
      seed: decides splits, the motion of stills and forgeries.
      frames_per_video: evenly spaced frames taken from a video, at most.
      clip_length: frames that are compressed together around each of them.
      max_side: a larger frame is shrunk to this longer side before it is compressed.
      margin: side of the crop by that of the face.
      detector: `hog`, `blazeface`, `centerface`, or the path of a YuNet model file.
      landmarks: by what faces are turned upright: nothing; `given`, those beside DeepfakeBench's frames; or the path
        of a model, a dlib shape predictor (`.dat`) or YuNet (`.onnx`).
      detect_every: frames of a video between two searches for faces.
      test_share: share of the people that are kept for the test; 15 % validate, the rest trains.
      encoding: how images are stored: `png`, `raw` (read fastest, 1.6 times as large), or `jpeg` and `webp`, which
        lose.
    """

    name: str = ""
    image_size: int = 128
    seed: int = 0
    frames_per_video: int = 16
    clip_length: int = 8
    max_side: int = 1280
    margin: float = 1.3
    detector: str = "hog"
    landmarks: str = ""
    detect_every: int = 5
    test_share: float = schema.SPLIT_FRACTIONS[2]
    encoding: str = "png"

    forge: ClassVar[bool] = False
    face_side: ClassVar[int | None] = None
    forge_sharpness: ClassVar[float] = 1.0
    forge_grid: ClassVar[float] = 0.0
    takes: ClassVar[int] = 1
    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "image_size": (8, 1024),
        "frames_per_video": (1, 10_000),
        "clip_length": (1, 250),
        "max_side": (64, 8192),
        "margin": (0.5, 4.0),
        "detect_every": (1, 250),
        "test_share": (0.05, 0.8),
    }

    def __post_init__(self) -> None:
        for name, (low, high) in self.LIMITS.items():
            value = getattr(self, name)
            if value is None and name == "face_side":
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be between {low} and {high}")
        schema.check_encoding(self.encoding)

    def fractions(self) -> tuple[float, float, float]:
        """Returns the shares of the splits."""
        validation = schema.SPLIT_FRACTIONS[1]
        return 1 - validation - self.test_share, validation, self.test_share

    def scan_options(self) -> dict[str, Any]:
        """Returns what the tree wants to know."""
        return {}


@dataclasses.dataclass
class FolderConfig(MediaConfig):
    """The options of the `folder` data set.

    Attributes:
      name: `forge` or `plain`, from the field of that name.
      forge: make a self-blended fake from every real item.
      face_side: frames are shrunk, before they are forged and compressed, until the crop has so
        many pixels a side in them; `None` leaves them as they are.
      forge_sharpness: multiplies how far the sharpness of a self-blended copy is changed.
      forge_grid: largest strength of a generator's grid in a forgery, in steps of 8 bits.
      takes: how often a still is taken: cut out a little differently each time, forged anew.
    """

    forge: bool = False  # type: ignore[misc]
    face_side: int | None = None  # type: ignore[misc]
    forge_sharpness: float = 1.0  # type: ignore[misc]
    forge_grid: float = 0.0  # type: ignore[misc]
    takes: int = 1  # type: ignore[misc]

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        **MediaConfig.LIMITS,
        "face_side": (16, 1024),
        "forge_sharpness": (0.1, 5.0),
        "forge_grid": (0.0, 64.0),
        "takes": (1, 64),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("forge_sharpness", "forge_grid"):
            value = getattr(self, name)
            if not self.forge and value != getattr(type(self), name):
                raise ValueError(f"{name}={value!r} goes with forge: nothing is forged without it")
        if self.landmarks and (self.takes > 1 or self.face_side is not None):
            raise ValueError(
                "landmarks go with neither takes nor face_side: both need upright squares"
            )
        self.name = "forge" if self.forge else "plain"

    def scan_options(self) -> dict[str, Any]:
        """Returns what the tree wants to know."""
        return {"forge": self.forge}


@dataclasses.dataclass
class TreeConfig(MediaConfig):
    """The options of the data sets that their owners lay out.

    Attributes:
      part: the part of the data set, as it stands after the slash of its name.
      splits: `official`, `drawn`, or what else the tree knows.
      qualities: which are stored; empty: those that the tree has files of.
      reencode: make a quality that a video has no file of from its best one.
    """

    part: str = "all"
    splits: str = "official"
    qualities: tuple[str, ...] = ()
    reencode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[\w.+-]+", self.part):
            raise ValueError(f"part={self.part!r} is no name")
        self.name = self.part

    def scan_options(self) -> dict[str, Any]:
        """Returns what the tree wants to know."""
        return {"part": self.part, "splits": self.splits}
