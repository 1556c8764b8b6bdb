"""The report in a real browser: what it says, what it asks for, and how it is used."""

import json

import numpy as np
import pytest

from kdjax.data_pipeline.builders.schema import encode_png
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.report import write_page, write_report
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.samples import Sample

pytestmark = pytest.mark.slow

HOSTILE = "<script>window.hurt=1<\\script>\"'&{{7*7}}<img src=x onerror=hurt=1>"
LONG = "a_very_long_name_" * 6
FACES = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def page(make, tmp_path_factory):
    """A report that has all sections, on runs of which one means harm and another has a name without an end."""
    folder = tmp_path_factory.mktemp("page")
    config = make.config(method__name=HOSTILE, student__network=HOSTILE)
    config[HOSTILE] = HOSTILE
    lines = [{**line, HOSTILE: 1.0} for line in make.lines()]
    weak = make.evaluation(strength=0.3, seed=1)
    weak.per_forgery["c40"][HOSTILE] = {"auc": 0.25}
    runs = [
        make.run(folder / "add"),
        make.run(folder / HOSTILE, config=config, lines=lines, evaluation=weak),
        make.run(folder / LONG, evaluation=make.evaluation(strength=0.6, seed=2)),
        *(make.run(folder / f"r{n}", evaluation=make.evaluation(seed=n)) for n in range(3, 8)),
    ]
    clean = make.evaluation()
    names = ("raw", *(f"blur-{n}" for n in range(1, 6)))
    scores = {name: make.evaluation(seed=n).scores["c40"] for n, name in enumerate(names)}
    Evaluation(scores, clean.columns, {}, {}, 40).save(runs[0] / "evaluation", "test-under-blur")
    points = {
        "label": [0, 1, 0, 1],
        "quality": [HOSTILE, "raw", "raw", "c40"],
        "pca": [[0, 1], [1, 0], [2, 2], [3, 1]],
        "tsne": [[0, 1], [1, 0], [2, 2], [3, 1]],
        "explained": [0.5, 0.25],
    }
    found = {
        "data": HOSTILE,
        "split": HOSTILE,
        "stage": HOSTILE,
        "method": HOSTILE,
        "images": {"real": 2, "fake": 2},
        "networks": {"add": {"points": points}, HOSTILE: {"points": points}},
    }
    heat = runs[0] / "explain" / "heat"
    heat.mkdir(parents=True)
    (heat.parent / "explain.json").write_text(json.dumps(found))
    (heat / "000007-mouth.png").write_bytes(encode_png(np.full((40, 90, 3), 90, np.uint8)))
    images = dict(zip(("raw", "c23", "c40"), FACES, strict=True))
    mask = np.full((24, 24, 1), 255, np.uint8)
    samples = [Sample(0, 0, "none", images), Sample(1, 1, HOSTILE, images, mask)]
    return write_report(runs, folder / "report.html", title=f"On {HOSTILE}", samples=samples)


def test_it_says_nothing_and_asks_for_nothing_and_runs_nothing_of_others(browser, page):
    browser.open(page.as_uri())
    draw_all(browser)
    assert browser.errors == []
    asked = [address for address in browser.requests if not address.startswith("data:image/")]
    assert asked == [page.as_uri()]
    assert browser.run("window.hurt") is None
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert HOSTILE in browser.run("document.body.textContent")
    # in figures too, whose texts Plotly reads as HTML
    assert browser.run("document.querySelectorAll('svg script, svg image[href=x]').length") == 0


@pytest.mark.parametrize("width", [375, 768, 1400])
def test_nothing_scrolls_sideways(browser, page, width):
    browser.open(page.as_uri(), width=width)
    draw_all(browser)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("innerWidth") == width
    wide = (
        "[...document.querySelectorAll('.region, .wide')].filter((e) => e.scrollWidth > e.clientWidth)"
        ".map((e) => e.getAttribute('aria-label'))"
    )
    assert browser.run(wide) == []


def draw_all(browser):
    """Has every figure drawn that is not hidden, as printing does."""
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.run("dispatchEvent(new Event('afterprint'))")
    shown = "[...document.querySelectorAll('.plotly-graph-div')].filter((e) => e.offsetParent)"
    assert browser.run(f"{shown}.length") > 10
    browser.until(f"{shown}.every((e) => e.querySelector('.main-svg'))")


def test_a_figure_is_drawn_when_it_is_seen(browser, page):
    browser.open(page.as_uri())
    drawn = "document.querySelector('#spectrum-profile .main-svg') !== null"
    assert not browser.run(drawn)
    browser.run("document.getElementById('spectrum-profile').scrollIntoView()")
    browser.until(drawn)
    # of another run, once it is chosen
    chosen = "document.getElementById('run-select')"
    browser.run(f"{chosen}.scrollIntoView()")
    browser.run(f"{chosen}.value = '1'; {chosen}.dispatchEvent(new Event('change'))")
    browser.until("document.querySelector('#terms-1 .main-svg') !== null")
    width = "document.getElementById('terms-1').getBoundingClientRect().width"
    assert browser.run(
        f"document.querySelector('#terms-1 .main-svg').width.baseVal.value === {width}"
    )


def test_on_paper_every_figure_fits(browser, page):
    browser.open(page.as_uri(), width=1400)
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    size = {"width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    widest = "Math.max(...[...document.querySelectorAll('.main-svg')].map((e) => e.getBoundingClientRect().right))"
    browser.until(f"{widest} <= 700")
    assert browser.run("document.documentElement.scrollWidth") <= 700


def table_of(caption):
    tables = "[...document.querySelectorAll('table.data')]"
    return f"{tables}.find((table) => table.caption.textContent === '{caption}')"


def areas(browser):
    table = table_of("Results: c40")
    return browser.run(
        f"[...{table}.tBodies[0].rows].map((row) => row.cells[1].dataset.value)"
    ), table


def test_tables_sort_by_keyboard_and_say_so(browser, page):
    browser.open(page.as_uri())
    before, table = areas(browser)
    assert len(before) == 8
    ordered = sorted(map(float, before), reverse=True)
    assert [*map(float, before)] != ordered
    browser.run(f"{table}.tHead.rows[0].cells[1].querySelector('button').focus()")
    enter(browser)
    assert [*map(float, areas(browser)[0])] == ordered
    assert browser.run(f"{table}.tHead.rows[0].cells[1].getAttribute('aria-sort')") == "descending"
    enter(browser)
    assert [*map(float, areas(browser)[0])] == ordered[::-1]
    assert browser.run(f"{table}.querySelectorAll('[aria-sort]').length") == 1


def test_what_is_missing_comes_last_either_way(browser, page):
    browser.open(page.as_uri())
    table = table_of("AUC by kind of forgery: c40")
    last = f"{table}.tHead.rows[0].cells.length - 1"
    known = f"[...{table}.tBodies[0].rows].map((row) => row.cells[{last}].dataset.value ?? null)"
    for _ in range(2):
        browser.run(f"{table}.tHead.rows[0].cells[{last}].querySelector('button').click()")
        values = browser.run(known)
        assert values[0] == "0.25"
        assert set(values[1:]) == {None}


def test_on_a_phone_rows_are_lists_that_sort_too(browser, page):
    browser.open(page.as_uri(), width=375)
    before, table = areas(browser)
    assert browser.run(f"getComputedStyle({table}.rows[1]).display") == "block"
    assert browser.run(f"getComputedStyle({table}.rows[1].cells[1], '::before').content") == '"AUC"'
    # laid out as blocks, they are a table to a screen reader all the same
    assert browser.run(f"{table}.rows[1].cells[1].getAttribute('role')") == "cell"
    chosen = f"{table}.previousElementSibling.querySelector('select')"
    browser.run(f"{chosen}.value = '1 down'; {chosen}.dispatchEvent(new Event('change'))")
    assert [*map(float, areas(browser)[0])] == sorted(map(float, before), reverse=True)
    browser.run(f"{chosen}.value = ''; {chosen}.dispatchEvent(new Event('change'))")
    assert areas(browser)[0] == before


def test_a_picture_opens_and_closes_by_keyboard(browser, page):
    browser.open(page.as_uri())
    for selector in (".sample .zoomer", ".gallery .zoomer"):
        browser.run(f"document.querySelector('{selector}').focus()")
        enter(browser)
        assert browser.run("document.getElementById('zoom').open")
        source = f"document.querySelector('{selector} img').src"
        browser.until("document.querySelector('#zoom img').complete")
        assert browser.run(f"document.querySelector('#zoom img').src === {source}")
        assert (
            browser.run("document.querySelector('#zoom img').getBoundingClientRect().width") > 400
        )
        press(browser, "Escape", 27)
        assert not browser.run("document.getElementById('zoom').open")
        assert browser.run(f"document.activeElement === document.querySelector('{selector}')")


def test_the_first_tab_leads_past_the_links(browser, page):
    browser.open(page.as_uri())
    press(browser, "Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0
    enter(browser)
    assert browser.run("location.hash") == "#summary"


def test_it_is_dark_or_light_as_the_reader_likes_and_light_on_paper(browser, page):
    colors = []
    for media, scheme in (("screen", "dark"), ("screen", "light"), ("print", "dark")):
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", media=media, features=wanted)
        browser.open(page.as_uri())
        colors.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        draw_all(browser)
        text = "[...document.querySelectorAll('.xtick text')].map((e) => getComputedStyle(e).fill)"
        colors.append(browser.run(f"{text}[0]"))
    dark, dark_text, light, light_text, paper, paper_text = colors
    assert dark == "rgb(20, 23, 29)"
    assert light == paper == "rgb(255, 255, 255)"
    assert brightness(dark_text) > 128 > brightness(light_text)
    assert brightness(paper_text) < 128


def test_scores_from_elsewhere_are_as_well_behaved(browser, make, tmp_path):
    runs = read_runs([make.run(tmp_path / name) for name in ("first", "second")])
    path = write_page(
        runs, tmp_path / "r.html", split="scores", title=HOSTILE, commands=[HOSTILE], of_runs=False
    )
    browser.open(path.as_uri(), width=375)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") <= 375
    assert browser.run("window.hurt") is None


def brightness(color):
    return np.mean([float(part) for part in color[4:-1].split(",")])


def enter(browser):
    press(browser, "Enter", 13, text="\r")


def press(browser, key, code, **more):
    for kind in ("keyDown", "keyUp"):
        options = more if kind == "keyDown" else {}
        browser.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **options,
        )
