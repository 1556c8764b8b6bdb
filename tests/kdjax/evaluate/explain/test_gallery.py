"""The page, the numbers and the pictures, of networks that are made up."""

import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from kdjax.checks import UserError
from kdjax.evaluate.explain import pictures
from kdjax.evaluate.explain.cards import Card
from kdjax.evaluate.explain.findings import FEATURES, Seen, confident_errors, heat_differences
from kdjax.evaluate.explain.gallery import write_gallery
from kdjax.evaluate.explain.masks import Inside, heat_inside

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}<img src=x onerror=alert(2)>"
QUALITIES = ("raw", HOSTILE)
COUNT = 24
FORGERIES = ("none", "<b>swap", "mouth")


class Page(HTMLParser):
    """What a browser would make of a page: elements, and texts outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.raw = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.raw = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.raw = False

    def handle_data(self, data):
        if not self.raw:
            self.texts.append(data)


def columns():
    numbers = np.arange(COUNT)
    label = numbers % 2
    return {
        "label": label,
        "forgery": np.where(label, 1 + numbers // 2 % 2, 0),
        "video": numbers // 4 * 2 + label,
        "identity": numbers // 4,
        "frame": numbers % 4,
        "index": numbers,
    }


def made_up(name, *, seed=0, is_teacher=False, masks=True, inside=0.8):
    """A network that looks mostly inside the mask, a quarter of the image."""
    rng = np.random.default_rng(seed)
    label = columns()["label"]
    found = Seen(
        name, is_teacher, {"network": name, "step": 3, "trained_on": ["raw"]}, compared="raw"
    )
    area = np.where(label == 1, 0.25, np.nan)
    for quality in QUALITIES:
        found.scores[quality] = 2.0 * label - 1 + rng.normal(size=COUNT)
        found.pooled[quality] = rng.normal(size=(COUNT, 6)) + label[:, None]
        grams = [part @ part.T for part in np.split(found.pooled[quality], 2)]
        found.grams[quality] = dict.fromkeys(FEATURES, grams)
        if masks:
            share = np.where(
                label == 1, np.clip(inside + 0.1 * rng.normal(size=COUNT), 0, 1), np.nan
            )
            each = Inside(share, np.round(share), area, share - 0.1)
            found.inside[quality] = {"gradcam": each, "gradcam++": each}
        if not is_teacher:
            found.gap[quality] = rng.uniform(size=(4, 4))
    found.curves = {HOSTILE: [(1.0, 0.2), (2.0, 0.4)]}
    return found


def cards(seen):
    rng = np.random.default_rng(1)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255

    def card(position, qualities):
        label = int(columns()["label"][position])
        return Card(
            index=position,
            label=label,
            forgery=int(columns()["forgery"][position]),
            video=int(columns()["video"][position]),
            images={name: rng.integers(0, 255, (16, 16, 3), np.uint8) for name in qualities},
            mask=mask if label else None,
            heat={
                (each.name, name): rng.uniform(size=(16, 16)) for each in seen for name in qualities
            },
            scores={(each.name, name): 1.0 for each in seen for name in qualities},
        )

    errors = {
        each.name: [
            card(p, (q,))
            for p, q, _ in confident_errors(each, columns()["label"], columns()["video"])
        ]
        for each in seen
    }
    return {"": [card(0, QUALITIES), card(1, QUALITIES)], **errors}


def write(folder, seen, **changes):
    options = {
        "forgeries": FORGERIES,
        "facts": {
            "data": HOSTILE,
            "split": "test",
            "stage": "stage4",
            "method": "gradcam",
            "qualities": list(QUALITIES),
        },
        "notes": [HOSTILE],
        **changes,
    }
    page = write_gallery(seen, columns(), cards(seen), folder, **options)
    source = page.read_text()
    assert source.count(get_plotlyjs()) == 1
    return source.replace(get_plotlyjs(), ""), json.loads((folder / "explain.json").read_text())


def test_everything_is_there_and_nothing_is_interpreted(tmp_path):
    seen = [made_up("teacher", is_teacher=True), made_up(HOSTILE, seed=1), made_up("b", seed=2)]
    source, found = write(tmp_path, seen)
    page = Page(source)
    sections = [attrs["id"] for tag, attrs in page.elements if tag == "section"]
    assert sections == ["mask", "heat", "errors", "cka", "gap", "cosines", "embeddings", "numbers"]
    text = " ".join(page.texts)
    assert HOSTILE in text
    assert not [attrs for _, attrs in page.elements if any(key.startswith("on") for key in attrs)]
    assert "<script>alert" not in source
    addresses = [attrs.get("src", attrs.get("href", "#")) for _, attrs in page.elements]
    assert all(address.startswith(("#", "data:image/")) for address in addresses)
    assert all(attrs.get("alt") for tag, attrs in page.elements if tag == "img")
    assert set(found["networks"]) == {"teacher", HOSTILE, "b"}
    assert found["teacher"] == "teacher"


def test_numbers_are_those_of_the_images(tmp_path):
    seen = [
        made_up("teacher", is_teacher=True),
        made_up("a", seed=1),
        made_up("b", seed=2, inside=0.5),
    ]
    _, found = write(tmp_path, seen)
    network = found["networks"]["a"]
    heat = network["heat_in_mask"]["raw"]["gradcam"]
    inside = seen[1].inside["raw"]["gradcam"]
    estimate, low, high = heat["share"]
    assert estimate == pytest.approx(np.nanmean(inside.share))
    assert low < estimate < high
    assert heat["lift"][0] == pytest.approx(estimate - 0.25)
    assert heat["following"][0] == pytest.approx(0.1)
    assert (heat["images"], heat["cold"], heat["videos"]) == (12, 0, 6)
    assert set(heat["by_forgery"]) == {"<b>swap", "mouth"}
    difference = next(row for row in found["heat_differences"] if row["network"] == "b")
    wanted = np.nanmean(seen[2].inside["raw"]["gradcam"].share - inside.share)
    assert difference["less"] == "a"
    assert difference["share"][0] == pytest.approx(wanted)
    assert difference["share"][2] < 0
    cka = found["cka"]["a"]["raw"]
    assert (cka["student"], cka["teacher"]) == ([*FEATURES], [*FEATURES])
    assert found["gradient_cosine"]["b"][HOSTILE] == [[1, 0.2], [2, 0.4]]
    assert len(network["points"]["tsne"]) == 2 * COUNT


def test_cold_fakes_count_apart():
    seen, base = made_up("a"), made_up("b")
    inside = seen.inside["raw"]["gradcam"]
    seen.inside["raw"]["gradcam"] = inside._replace(
        share=np.where(np.arange(COUNT) < 4, np.nan, inside.share)
    )
    rows = heat_differences([base, seen], columns()["video"])
    row = next(row for row in rows if (row["quality"], row["method"]) == ("raw", "gradcam"))
    assert (row["network"], row["images"]) == ("a", 10)


def test_without_masks_teacher_and_curves_what_needs_them_is_left_out(tmp_path):
    seen = made_up("alone", masks=False)
    seen.gap, seen.curves = {}, {}
    source, found = write(tmp_path, [seen])
    sections = [attrs["id"] for tag, attrs in Page(source).elements if tag == "section"]
    assert sections == ["mask", "heat", "errors", "embeddings", "numbers"]
    assert "These images have no masks" in source
    assert (found["cka"], found["frequency_gap"], found["heat_differences"]) == ({}, {}, [])


def test_errors_are_the_surest_and_each_video_counts_once():
    seen = made_up("a")
    label = columns()["label"]
    seen.scores = {"raw": np.where(label == 1, 2.0, -2.0), "c40": np.where(label == 1, 2.0, -2.0)}
    seen.scores["raw"][[3, 4]] = (-5.0, 1.0)
    seen.scores["c40"][[3, 6]] = (-7.0, 3.0)
    alone, frames = np.arange(COUNT), np.arange(COUNT) // 4
    wanted = [(3, "c40", -7.0), (6, "c40", 3.0), (4, "raw", 1.0)]
    assert confident_errors(seen, label, alone) == wanted
    assert confident_errors(seen, label, alone, count=1) == wanted[:1]
    # 4 and 6 are frames of one video
    assert confident_errors(seen, label, frames) == wanted[:2]


def test_a_second_call_leaves_no_pictures_of_the_first(tmp_path):
    seen = [made_up("a")]
    (tmp_path / "heat").mkdir()
    (tmp_path / "heat" / "old.png").write_bytes(b"")
    write(tmp_path, seen)
    # it lay there before anything of ours did
    assert (tmp_path / "heat" / "old.png").exists()
    before = {path.name for path in (tmp_path / "heat").iterdir()} - {"old.png"}
    (tmp_path / "heat" / "mine.txt").write_text("")
    write(tmp_path, seen)
    assert {path.name for path in (tmp_path / "heat").iterdir()} == {*before, "mine.txt"}


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match=r"cannot write into .*x: "):
        write(tmp_path / "x", [made_up("a")])


def test_cold_is_the_face_itself_and_hot_is_bright():
    face = np.random.default_rng(0).integers(0, 120, (64, 64, 3), np.uint8)
    large = pictures.enlarge(face)
    assert large.shape == (192, 192, 3)
    np.testing.assert_array_equal(large[::3, ::3], face)
    np.testing.assert_array_equal(pictures.overlay(face, np.zeros((64, 64))), large)
    heat = np.zeros((64, 64))
    heat[20, 40] = 1e-3
    shown = pictures.overlay(face, heat).astype(int)
    assert np.unravel_index(shown.sum(-1).argmax(), (192, 192)) == (61, 121)
    np.testing.assert_array_equal(shown[:30], large[:30])
    # next to nothing beside the network's hottest stays faint
    faint = pictures.overlay(face, heat, hottest=1.0).astype(int)
    assert (faint - large).max() < (shown - large).max() / 3


def test_the_line_lies_around_the_mask():
    face, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    mask[16:32, 16:32] = 255
    drawn = pictures.outlined(pictures.enlarge(face), mask)
    found = np.argwhere((drawn == pictures.OUTLINE).all(-1))
    assert found.min() == 48
    assert found.max() == 95
    np.testing.assert_array_equal(pictures.outlined(face, np.zeros_like(mask)), face)
    np.testing.assert_array_equal(pictures.outlined(face, None), face)


def test_a_strip_has_a_column_each_and_is_a_picture():
    tile = np.full((192, 192, 3), 7, np.uint8)
    made = pictures.strip([("raw", {"": tile, "a" * 99: tile}), ("ü", {"": tile, "a" * 99: tile})])
    assert made.shape == (20 + 2 * 196, 64 + 2 * 196, 3)
    address = pictures.webp_address(tile)
    assert address.startswith("data:image/webp;base64,")


def test_heat_of_the_crop_and_its_mask_go_together():
    heat = cv2.resize(np.float32([[0, 1], [0, 0]]), (32, 32), interpolation=cv2.INTER_LINEAR)
    mask = np.zeros((32, 32), np.uint8)
    mask[:16, 16:] = 255
    assert heat_inside(heat[None], mask[None]).share[0] > 0.5
