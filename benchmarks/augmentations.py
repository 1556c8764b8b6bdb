"""What augmentation on the device costs: JPEG beside the host's libjpeg, and each shipped augmentation.

python benchmarks/augmentations.py [--size 224] [--batch 32]

On whatever device JAX finds. The host's path is OpenCV's encoder and decoder, one image after the other in one thread.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import RESULTS, Budget, Results, Rows, alternate, ratio, run_rows, summary

from kdjax.data_pipeline import augment, augmentations
from kdjax.data_pipeline import jpeg as codec

FACTORS = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def main() -> int:
    """Runs all rows; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=224, help="side in pixels (default 224)")
    parser.add_argument("--batch", type=int, default=32, help="images at a time (default 32)")
    parser.add_argument("--budget", type=float, default=600, help="seconds in all (default 600)")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    name = f"augmentations-{jax.default_backend()}.json"
    results = Results(arguments.output / name, "augmentation on the device")
    images = pictures(arguments.batch, arguments.size)
    run_rows(rows(images, arguments.repeats), results, Budget(arguments.budget))
    return bool(results.failures())


def rows(images: np.ndarray, repeats: int) -> Rows:
    """Returns what measures each row."""
    found: Rows = {
        f"jpeg {subsampling}": partial(measure_jpeg, images, subsampling, repeats)
        for subsampling in FACTORS
    }
    for name in augmentations.SHIPPED:
        found[f"augmentation {name}"] = partial(measure_augmentation, images, name, repeats)
    return found


def pictures(count: int, size: int) -> np.ndarray:
    """Returns smooth random pictures, uint8 `[count, size, size, 3]`."""
    drawn = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return np.stack([cv2.GaussianBlur(each, (0, 0), 2) for each in drawn])


def measure_jpeg(images: np.ndarray, subsampling: str, repeats: int) -> dict[str, Any]:
    """Times a batch of JPEG of one quality an image, on the device and by libjpeg, and whether both agree."""
    qualities = 30 + np.arange(len(images)) % 71
    compiled = jax.jit(partial(codec.jpeg, subsampling=subsampling))
    slope = jax.jit(jax.grad(lambda x, q: jnp.sum(x * codec.jpeg(x, q, subsampling=subsampling))))
    given = jnp.asarray(images, jnp.float32) / 255

    def on_host() -> np.ndarray:
        return np.stack(
            [
                through_libjpeg(image, int(q), subsampling)
                for image, q in zip(images, qualities, strict=True)
            ]
        )

    works = {
        "device": lambda: jax.block_until_ready(compiled(given, qualities)),
        "gradient": lambda: jax.block_until_ready(slope(given, jnp.asarray(qualities))),
        "host": on_host,
    }
    seconds = alternate(works, repeats)
    levels = np.round(255 * np.asarray(compiled(given, qualities)))
    return {
        **{f"{name}_ms_an_image": per_image(seconds[name], len(images)) for name in works},
        "device_by_host": ratio(seconds["device"], seconds["host"]),
        "passed": bool(np.array_equal(levels, on_host())),
    }


def through_libjpeg(image: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    """Returns an image as OpenCV writes and reads it."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[subsampling]]
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], options)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def measure_augmentation(images: np.ndarray, name: str, repeats: int) -> dict[str, Any]:
    """Times what an augmentation adds to flips, beside flips alone."""
    index, key, given = jnp.arange(len(images)), jax.random.key(0), {"raw": jnp.asarray(images)}

    def compiled(own: augment.Own | None) -> Any:
        made = augment.make_augment(images.shape[1], flip=True, random_crop=False, own=own)
        apply = jax.jit(made)
        return lambda: jax.block_until_ready(apply(key, given, index, 0))

    with_it = compiled(augmentations.SHIPPED[name]())
    seconds = alternate({"flips": compiled(None), "all": with_it}, repeats)
    count = len(images)
    return {f"{part}_ms_an_image": per_image(seconds[part], count) for part in seconds}


def per_image(seconds: list[float], count: int) -> dict[str, Any]:
    """Returns the summary of milliseconds an image."""
    return summary([1000 * each / count for each in seconds])


if __name__ == "__main__":
    raise SystemExit(main())
