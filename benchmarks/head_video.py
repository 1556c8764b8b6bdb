"""A video of 720p in which a rendered head moves before a picture of noise: something to judge."""

from pathlib import Path

import av
import cv2
import numpy as np

from kdjax.data_pipeline.builders.synthfaces.performance import Performance

HEIGHT, WIDTH, HEAD, PERIOD = 720, 1280, 320, 250


def write_head(path: Path, count: int) -> None:
    """Writes so many frames at 25 a second."""
    heads = Performance(7, 3, 0, length=PERIOD, size=96).frames
    large = [cv2.resize(each, (HEAD, HEAD), interpolation=cv2.INTER_CUBIC) for each in heads]
    noise = np.random.default_rng(0).uniform(0, 255, (HEIGHT // 4, WIDTH // 4, 3))
    smooth = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 4), (WIDTH, HEIGHT))
    still = cv2.normalize(smooth, None, 40, 200, cv2.NORM_MINMAX).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "fast"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(count):
            # to and fro, so that nothing jumps
            place = number % (2 * PERIOD)
            place = min(place, 2 * PERIOD - 1 - place)
            angle = 2 * np.pi * number / 300
            left = round((WIDTH - HEAD) * (0.5 + 0.4 * np.sin(angle)))
            top = round((HEIGHT - HEAD) * (0.5 + 0.3 * np.cos(angle)))
            frame = still.copy()
            frame[top : top + HEAD, left : left + HEAD] = large[place]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
