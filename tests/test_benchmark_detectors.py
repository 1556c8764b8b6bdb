"""The benchmark of detectors: boxes go with what is done to photographs, and the page shows the stored results."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from kdjax.data_pipeline.faces import Box

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def scenes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("detector_scenes")


@pytest.fixture
def detectors(scenes):
    return importlib.import_module("detectors")


FACE = Box(90, 110, 190, 230)


def ellipse(value=255):
    """Returns a black photograph of 300 pixels with a bright ellipse in FACE."""
    y, x = np.mgrid[:300, :300] + 0.5
    inside = ((x - 140) / 50) ** 2 + ((y - 170) / 60) ** 2 <= 1
    return (inside[..., None] * np.uint8([value] * 3)).astype(np.uint8)


def bright(pixels):
    """Returns the box around the bright pixels."""
    # what surrounds a photograph is grey
    rows, columns = np.nonzero(pixels.mean(axis=-1) > 190)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


UNSEEN = ("light", "JPEG", "covered", "head", "blurred")


def test_a_box_goes_with_its_face(scenes):
    moved = {name: make for name, make in scenes.SCENES.items() if not any(map(name.count, UNSEEN))}
    assert len(moved) >= 8
    for name, make in moved.items():
        seen = make(scenes.Photograph(ellipse(), FACE, 5))
        np.testing.assert_allclose(seen.face, bright(seen.pixels), atol=2, err_msg=name)


def test_a_head_that_turns_takes_the_box_to_its_side_and_hides_what_is_behind(scenes):
    # a bar in the middle of the face, and one that the turn carries behind it
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[:, 138:143] = 255
    pixels[:, 95:99] = 255
    seen = scenes.looking_away(scenes.Photograph(pixels, FACE, 0), degrees=60)
    row = np.flatnonzero(seen.pixels[170, :, 0] > 128)
    radius = 0.62 * FACE.width
    expected = 140 - radius * np.sin(np.radians(60))
    assert row.min() < expected < row.max() + 1
    assert np.ptp(row) <= 5
    left, top, right, bottom = seen.face
    half = np.arcsin(50 / radius)
    np.testing.assert_allclose(
        [left, right], [140 - radius, 140 + radius * np.sin(half - np.radians(60))], atol=1
    )
    assert (top, bottom) == (FACE.top, FACE.bottom)
    still = scenes.looking_away(scenes.Photograph(ellipse(), FACE, 0), degrees=0)
    np.testing.assert_allclose(still.face, FACE, atol=1)
    assert np.abs(np.int16(still.pixels) - ellipse()).max() <= 8


def test_the_corners_keep_clear_of_the_face(scenes):
    pieces = scenes.corners(scenes.Photograph(ellipse(), FACE, 0))
    assert [piece.shape for piece in pieces] == [(300, 300, 3)] * 4
    assert all((piece == 0).all() for piece in pieces)
    near = scenes.corners(scenes.Photograph(ellipse(), Box(20, 20, 260, 260), 0))
    assert near == []


def test_a_scrambled_photograph_keeps_its_spectrum(scenes):
    pixels = np.random.default_rng(0).integers(60, 190, (64, 64, 3)).astype(np.uint8)
    (image,) = scenes.scrambled(scenes.Photograph(pixels, FACE, 0))
    before, after = (np.abs(np.fft.fft2(each, axes=(0, 1))) for each in (pixels, image))
    assert np.abs(before - after).mean() < 0.05 * before.mean()
    assert np.abs(pixels - np.float64(image)).mean() > 20


def test_a_reference_needs_two_that_agree(detectors):
    one, near, far = Box(0, 0, 100, 100), Box(10, 0, 110, 100), Box(300, 0, 400, 100)
    assert detectors.reference({"a": one, "b": far, "c": None}) is None
    assert detectors.reference({"a": one, "b": near, "c": far}) == Box(5, 0, 105, 100)


def test_a_find_elsewhere_does_not_count(detectors, scenes):
    photographs = [scenes.Photograph(ellipse(), FACE, 0)] * 2
    boxes = iter([[FACE], [Box(0, 0, 40, 40)]])
    found = detectors.measure(lambda photograph: photograph, photographs, lambda _: next(boxes))
    assert (found.right, found.other) == (0.5, 0.5)


def test_the_page_shows_the_stored_results(detectors):
    content = json.loads((ROOT / "benchmarks" / "results" / "cpu-detectors.json").read_text())
    names = {row["name"] for row in content["rows"]} - {"photographs"}
    scenes = importlib.import_module("detector_scenes")
    assert names == {*scenes.SCENES, *scenes.FACELESS}  # nothing was cut off
    assert "\n".join(detectors.table(content)) in (ROOT / "docs" / "benchmarks.md").read_text()
