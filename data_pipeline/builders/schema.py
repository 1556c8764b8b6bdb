"""What every data set stores, one face in every quality, and what their builders share."""

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from kdjax.data_pipeline.work import Work
from kdjax.types import FORGERIES, QUALITIES

SPLITS = ("train", "validation", "test")
SPLIT_FRACTIONS = (0.7, 0.15, 0.15)


QUALITY_FACTORS = {"c23": 23, "c40": 40}
"""The constant rate factor of each compressed quality, as in FaceForensics++."""


ENCODINGS = {
    "png": ("png", ".png", 0),
    "raw": (None, "", 0),
    "jpeg": ("jpeg", ".jpg", cv2.IMWRITE_JPEG_QUALITY),
    "webp": (None, ".webp", cv2.IMWRITE_WEBP_QUALITY),
}
"""How images can be stored: TFDS' name, OpenCV's ending and its flag of the quality."""

LOSSY = 95
"""Quality of JPEG and WebP."""


def check_encoding(encoding: str) -> None:
    """Raises ValueError for an encoding that there is not."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding={encoding!r} must be one of: {', '.join(ENCODINGS)}")


class FaceDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The base of every builder: its features, its way of working, and what it had to leave out.

    A subclass names its `CONFIG`, a dataclass over `tfds.core.BuilderConfig` with defaults for
    every field (`name` too) and at least `image_size`, `seed` and `encoding`; its other fields are the options
    that `kdjax prepare` accepts and that the manifest records. All randomness comes from the seed.

    Attributes:
      work: how items are worked through; their results are kept between runs.
      skipped: after the build, `{"item": name, "reason": one clause}` for each item left out.
      notes: after the build, counts worth a line in the manifest.
      max_skipped: share of the items that may be left out.
      codecs: after the build, of each codec of the sources the number of items, and of those that lost nothing;
        empty of what is rendered.
    """

    CONFIG: ClassVar[type[tfds.core.BuilderConfig]]

    def __init__(self, *, work: Work = Work(), **arguments: Any):  # noqa: B008
        self.work = work
        self.skipped: list[dict[str, str]] = []
        self.notes: dict[str, int] = {}
        self.items = 0
        self.max_skipped = 1.0
        self.codecs: dict[str, dict[str, int]] = {}
        super().__init__(file_format="array_record", **arguments)

    @classmethod
    def option_names(cls) -> list[str]:
        """Returns the fields of the configuration that are this data set's own."""
        general = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
        return [f.name for f in dataclasses.fields(cls.CONFIG) if f.name not in general]

    def recorded_options(self) -> dict[str, Any]:
        """Returns the options as the manifest records them: JSON, no path."""
        options = {name: getattr(self.builder_config, name) for name in self.option_names()}
        if options["encoding"] == "png":
            del options["encoding"]  # what there was before there were others
        return options

    def qualities(self) -> tuple[str, ...]:
        """Returns the names of the qualities that are stored."""
        return QUALITIES

    def forgeries(self) -> tuple[str, ...]:
        """Returns the names of the kinds of forgery, `none` first; nothing for those of `kdjax.types`."""
        return ()

    def encoding(self) -> str:
        """Returns how images are stored, one of `ENCODINGS`."""
        return str(self.builder_config.encoding)

    def made_from(self) -> dict[str, str]:
        """Returns what each quality is made from."""
        made = {name: f"raw by H.264, crf {crf}" for name, crf in QUALITY_FACTORS.items()}
        return {"raw": "rendered", **made}

    def prospect(self) -> list[str]:
        """Returns lines that say, before the work, what it will take."""
        return []

    def recorded_source(self) -> dict[str, Any]:
        """Returns what identifies the source, without a path; nothing if there is none."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        return _LocalInfo(
            builder=self,
            description=type(self).__doc__,
            features=features(
                self.builder_config.image_size, self.qualities(), self.forgeries(), self.encoding()
            ),
        )


class _LocalInfo(tfds.core.DatasetInfo):
    """A description that is nowhere but here: TFDS' own data sets have one in a bucket of its maker."""

    def initialize_from_bucket(self) -> None:
        """Looks for nothing; TFDS would make an empty temporary folder for it, and leave it."""


def features(
    image_size: int,
    qualities: Sequence[str] = QUALITIES,
    forgeries: Sequence[str] = (),
    encoding: str = "png",
) -> tfds.features.FeaturesDict:
    """Returns the features of a data set of `image_size` pixel faces in some qualities.

    `image/<quality>` uint8 `[S, S, 3]` RGB, encoded as one of `ENCODINGS`, aligned pixel by pixel; `forgery_mask` uint8
    `[S, S, 1]`, 255 where the image was forged (all 0 on a fake means: not known); `label` 0 real,
    1 fake; `forgery` the position in `forgeries`, or in `kdjax.types.FORGERIES` without any; `video`
    and `identity` ids that no two splits share; `frame` the position in the clip.
    """
    shape = (image_size, image_size)
    image: Any = tfds.features.Image(shape=(*shape, 3), encoding_format=ENCODINGS[encoding][0])
    if encoding == "raw":
        image = tfds.features.Tensor(
            shape=(*shape, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
    return tfds.features.FeaturesDict(
        {
            "image": dict.fromkeys(qualities, image),
            "forgery_mask": tfds.features.Image(shape=(*shape, 1), encoding_format="png"),
            "label": np.int32,
            "forgery": tfds.features.ClassLabel(names=forgeries) if forgeries else np.int32,
            "video": np.int32,
            "identity": np.int32,
            "frame": np.int32,
        }
    )


def encode_png(image: np.ndarray) -> bytes:
    """Returns the PNG bytes of a uint8 RGB `[H, W, 3]` or grey `[H, W]` image."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape} and type {image.dtype}")
    return encoded.tobytes()


def encode_example(
    images: Mapping[str, np.ndarray | bytes],
    forgery_mask: np.ndarray | bytes,
    *,
    label: int,
    forgery: str,
    video: int,
    identity: int,
    frame: int,
    forgeries: Sequence[str] = FORGERIES,
    encoding: str = "png",
) -> dict[str, Any]:
    """Returns a record of `features`, of uint8 images `[S, S, 3]` by quality and a mask `[S, S]`, or of PNG.

    Images go in as encoded bytes: given as arrays, TFDS would need TensorFlow to encode them.
    """
    return {
        "image": {quality: _stored(image, encoding) for quality, image in images.items()},
        "forgery_mask": _encoded(forgery_mask),
        "label": label,
        "forgery": forgeries.index(forgery),
        "video": video,
        "identity": identity,
        "frame": frame,
    }


def _stored(image: np.ndarray | bytes, encoding: str) -> io.BytesIO | np.ndarray:
    if encoding == "png":
        return _encoded(image)
    if isinstance(image, bytes):
        decoded: Any = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        pixels = decoded[..., ::-1]
    else:
        pixels = image
    if encoding == "raw":
        return np.ascontiguousarray(pixels)
    _, ending, flag = ENCODINGS[encoding]
    done, encoded = cv2.imencode(ending, np.ascontiguousarray(pixels[..., ::-1]), [flag, LOSSY])
    if not done:
        raise ValueError(f"cannot encode an image as {encoding}")
    return io.BytesIO(encoded.tobytes())


def _encoded(image: np.ndarray | bytes) -> io.BytesIO:
    return io.BytesIO(image if isinstance(image, bytes) else encode_png(image))


def assign_splits(
    identities: Iterable[str],
    *,
    seed: int = 0,
    fractions: tuple[float, ...] = SPLIT_FRACTIONS,
    splits: Sequence[str] = SPLITS,
) -> dict[str, str]:
    """Returns `{identity: split}`, the same on every machine and in any order.

    Identities are ranked by a hash of seed and name; consecutive shares of the ranking become the
    splits. With as many identities as splits no split is empty.
    """

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()

    names = sorted(set(identities), key=rank)
    bounds = np.round(np.cumsum(fractions) / np.sum(fractions) * len(names)).astype(int)
    if len(names) >= len(splits):
        for position in range(len(splits)):
            bounds[position] = max(bounds[position], position + 1)
            bounds[position] = min(bounds[position], len(names) - (len(splits) - 1 - position))
    edges = [0, *bounds.tolist()]
    return {
        name: split
        for split, start, stop in zip(splits, edges[:-1], edges[1:], strict=True)
        for name in names[start:stop]
    }
