"""Writes inputs anew with a box around each face and its score."""

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from kdjax.checks import UserError, first_line
from kdjax.data_pipeline.faces import Box
from kdjax.serve.detector import Judged
from kdjax.serve.looking import Face
from kdjax.serve.watching import Prediction

RATE = 25
"""Frames a second where the input does not tell."""

LIKE_REAL, LIKE_FAKE = np.array((0, 158, 115)), np.array((213, 94, 0))
"""Green and orange that colour-blind people tell apart; a box's colour lies between them by its score."""


LONGEST_STEM = 230
"""Bytes of an input's name that are kept in that of its file."""


class Annotator:
    """Writes one file for each input into a folder: MP4 of a video, PNG of an image.

    Frames are as large as faces were looked for in, 1280 pixels at most; sound is left out.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which is made.

        Raises:
          UserError: it cannot be.
        """
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--annotate={folder} cannot be made: {error.strerror}") from error
        self._known: dict[int, float] = {}
        self._still: np.ndarray | None = None
        self._video: tuple[Path, av.container.OutputContainer, av.VideoStream] | None = None

    def add(self, found: Judged) -> None:
        """Draws a frame and writes it.

        Raises:
          UserError: it cannot be written.
        """
        frame = found.sight.frame
        if frame is None:
            return
        scored = [face for face in found.sight.faces if face.crop is not None]
        self._known |= {face.name: score for face, score in zip(scored, found.scores, strict=True)}
        drawn = frame.copy()
        for face in reversed(found.sight.faces):
            self._draw(drawn, face, found.sight.scale)
        if not found.sight.moving:
            self._still = drawn
            return
        try:
            self._write(drawn, found)
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"cannot write into {self._folder}: {first_line(error)}") from error

    def close(self, found: Prediction) -> Path | None:
        """Ends an input's file and returns its path; None where nothing was seen.

        Raises:
          UserError: it cannot be written.
        """
        try:
            return self._close(found)
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"cannot write into {self._folder}: {first_line(error)}") from error

    def _close(self, found: Prediction) -> Path | None:
        path = None
        if self._video is not None:
            temporary, container, stream = self._video
            container.mux(stream.encode())
            container.close()
            path = self._free(found.path, ".mp4")
            os.replace(temporary, path)
        elif self._still is not None:
            path = self._free(found.path, ".png")
            done, encoded = cv2.imencode(".png", self._still[..., ::-1])
            if done:
                path.write_bytes(encoded.tobytes())
        self._video = self._still = None
        self._known = {}
        return path

    def abandon(self) -> None:
        """Removes what is half written."""
        if self._video is not None:
            self._video[1].close()
            self._video[0].unlink(missing_ok=True)
            self._video = None

    def _write(self, drawn: np.ndarray, found: Judged) -> None:
        height, width = (length - length % 2 for length in drawn.shape[:2])
        if self._video is None:
            temporary = self._folder / f".{os.getpid()}.tmp.mp4"
            container = av.open(str(temporary), "w")
            rate = Fraction(found.sight.rate or RATE).limit_denominator(1001)
            stream = container.add_stream(
                "libx264", rate=rate, options={"crf": "20", "preset": "veryfast"}
            )
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            self._video = temporary, container, stream
        _, container, stream = self._video
        pixels = np.ascontiguousarray(drawn[:height, :width])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

    def _draw(self, drawn: np.ndarray, face: Face, scale: float) -> None:
        score = self._known.get(face.name)
        box = Box(*(round(edge / scale) for edge in face.box))
        share = 0.5 if score is None else score
        colour = [int(c) for c in np.rint(LIKE_REAL * (1 - share) + LIKE_FAKE * share)]
        thick = max(1, round(max(drawn.shape) / 400))
        cv2.rectangle(drawn, (box.left, box.top), (box.right, box.bottom), colour, thick)
        text = f"{face.name}: {'?' if score is None else format(score, '.2f')}"
        size = max(0.4, thick * 0.3)
        place = (max(0, box.left), max(round(30 * size), box.top - 2 * thick))
        for ink, width in (((0, 0, 0), 3 * thick), ((255, 255, 255), thick)):
            cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, width, cv2.LINE_AA)

    def _free(self, source: Path, ending: str) -> Path:
        """Returns where an input's file goes: nothing that is there is written over, an input least of all."""
        # a name has 255 bytes at most in nearly every file system
        stem = os.fsdecode(os.fsencode(source.stem)[:LONGEST_STEM])
        name, number = f"{stem}{ending}", 1
        while (self._folder / name).exists():
            number += 1
            name = f"{stem}-{number}{ending}"
        return self._folder / name
