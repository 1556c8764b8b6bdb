import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from kdjax.checks import UserError
from kdjax.evaluate.intervals import evaluation_intervals
from kdjax.evaluate.report import write_page, write_report
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.samples import Sample, pick_samples
from kdjax.evaluate.spectrum import spectrum_difference
from kdjax.types import FORGERIES
from kdjax.version import __version__

HOSTILE = "<script>alert(1)<\\script>\"'&{{7*7}}<img src=x onerror=alert(2)>"
SECTIONS = (
    *("summary", "runs", "results", "roc", "forgeries", "calibration", "robustness", "samples"),
    *("heat", "embeddings", "spectrum", "curves", "costs", "configuration", "reproduce"),
)


class Page(HTMLParser):
    """Collects what a browser would make of a page: elements, texts outside scripts, section ids."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.scripts, self.sections = [], [], [], []
        self.in_raw = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.in_raw = tag in ("script", "style")
        if tag == "section":
            self.sections.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        self.in_raw = False

    def handle_data(self, data):
        (self.scripts if self.in_raw else self.texts).append(data)

    def text(self):
        return " ".join(" ".join(self.texts).split())

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def read_page(path):
    """Returns the page and its source without Plotly's own script, which is checked to be there once."""
    source = path.read_text("utf-8")
    assert source.count(get_plotlyjs()) == 1
    own = source.replace(get_plotlyjs(), "")
    return Page(own), own


def make_samples(size=16):
    labels, forgery = np.arange(60) % 2, np.where(np.arange(60) % 2, 1 + np.arange(60) // 2 % 3, 0)
    rng = np.random.default_rng(0)
    return [
        Sample(
            int(index),
            int(labels[index]),
            FORGERIES[forgery[index]],
            {
                quality: rng.integers(0, 256, (size, size, 3)).astype(np.uint8)
                for quality in ("raw", "c23", "c40")
            },
            np.full((size, size, 1), 255 * labels[index], np.uint8),
        )
        for index in pick_samples(labels, forgery)
    ]


@pytest.fixture(scope="module")
def report(make, tmp_path_factory):
    """A report on three runs: whole, hostile, bare."""
    tmp_path = tmp_path_factory.mktemp("report")
    hostile = make.config(
        method__name=HOSTILE, student__network="</script><b>x", teacher__runs=[HOSTILE]
    )
    hostile["optimizer"][HOSTILE] = HOSTILE
    lines = [{**line, HOSTILE: 1.0, f"gradient_ratio/{HOSTILE}": 1.0} for line in make.lines()]
    evaluation = make.evaluation(strength=0.5, seed=1)
    evaluation.dataset["name"] = HOSTILE
    evaluation.per_forgery["c40"][HOSTILE] = {"auc": 0.25}
    evaluation.metrics[HOSTILE] = {"auc": 0.25}
    runs = [
        make.run(tmp_path / "add"),
        make.run(tmp_path / HOSTILE, config=hostile, lines=lines, evaluation=evaluation),
        make.run(tmp_path / "bare", evaluation=False, lines=False),
    ]
    noted = [(0, {"jax": "0.10.2"}), (20, {"jax": HOSTILE})]
    listed = [{"step": step, "versions": versions} for step, versions in noted]
    (runs[0] / "versions.json").write_text(json.dumps(listed))
    path = tmp_path / "out" / "report.html"
    written = write_report(runs, path, title=f"Title {HOSTILE}", samples=make_samples())
    assert written == path
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return path


def test_every_section_is_there_and_linked(report):
    page, _ = read_page(report)
    assert page.sections == list(SECTIONS)
    # the first leads past the others
    skip, *links = [link.removeprefix("#") for link in page.attributes("href")]
    assert skip == "summary"
    assert links == list(SECTIONS)


def test_the_page_loads_nothing(report):
    page, own = read_page(report)
    assert all(address.startswith("data:image/png;base64,") for address in page.attributes("src"))
    assert not [
        tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base")
    ]
    assert not re.findall(r"@import|url\(|https?://|\bfetch\(|XMLHttpRequest|import\(", own)
    (policy,) = [attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none';")


def test_hostile_texts_stay_texts(report):
    page, own = read_page(report)
    assert "img src=x" not in own.replace("&lt;img src=x", "")
    assert not page.attributes("onerror")
    assert "<b>x" not in own
    assert "alert(1)<" not in own
    assert f"Title {HOSTILE}" in page.text()
    for script in page.scripts:
        assert "<script" not in script
        assert "<img" not in script


def test_plotly_is_given_escaped_texts(report):
    page, _ = read_page(report)
    scripts = "".join(page.scripts)
    assert r"\u0026lt;img src=x" in scripts or "&lt;img src=x" in scripts
    assert r"\u003cimg" not in scripts


def test_the_summary_comes_first_and_says_what_it_does_not_know(report):
    _, own = read_page(report)
    lead = own[own.index('<section id="summary"') : own.index('<section id="runs"')]
    assert "add cannot be compared with the others (AUC" in lead
    assert "one seed and 30 videos" in lead
    assert "Not compared, as evaluated on other images: &lt;script&gt;" in lead
    assert own.index('id="summary"') < own.index('id="runs"') < own.index('id="results"')


def test_intervals_are_those_of_the_evaluation(report, make):
    _, own = read_page(report)
    found = evaluation_intervals(make.evaluation(), "c40", ("auc",))["auc"]
    assert f"<small>{found.low:.3f} to {found.high:.3f}</small>" in own


def test_what_is_missing_names_the_command_that_makes_it(report):
    text = read_page(report)[0].text()
    for command in (
        "evaluate RUN --calibrate",
        "evaluate RUN --protocol corruptions",
        "explain RUN",
    ):
        assert f"kdjax {command}" in text


def test_the_whole_configuration_is_there(report):
    own = read_page(report)[1]
    assert "<dt>optimizer.learning_rate</dt><dd>0.0002</dd>" in own
    assert f"kdjax {__version__}" in own
    assert "<h4>trained with, from step 0 on</h4>" in own
    assert "<dt>jax</dt><dd>0.10.2</dd>" in own
    assert "<h4>trained with, from step 20 on</h4>" in own


def test_every_table_has_a_caption_and_headings_with_scope(report):
    page, _ = read_page(report)
    tables = [
        attrs for tag, attrs in page.elements if tag == "table" and attrs.get("class") == "data"
    ]
    assert len(tables) == sum(tag == "caption" for tag, _ in page.elements) > 10
    heads = [attrs for tag, attrs in page.elements if tag == "th"]
    assert all(attrs.get("scope") in ("row", "col") for attrs in heads)
    regions = [attrs["aria-label"] for _, attrs in page.elements if attrs.get("role") == "region"]
    assert len(regions) == len(set(regions))


def test_every_picture_and_figure_is_told_in_words(report):
    page, _ = read_page(report)
    pictures = [attrs for tag, attrs in page.elements if tag == "img" and "src" in attrs]
    assert pictures
    assert all(attrs["alt"] for attrs in pictures)
    figures = sum(tag == "figure" for tag, _ in page.elements)
    told = [attrs for tag, attrs in page.elements if tag == "div" and attrs.get("role") == "img"]
    assert len(told) == figures > 5
    assert all(attrs["aria-label"] for attrs in told)


def test_scores_from_elsewhere_have_no_sections_of_runs(make, tmp_path):
    run = read_runs([make.run(tmp_path / "add")])[0]
    path = write_page(
        [run],
        tmp_path / "r.html",
        split="scores",
        title="t",
        commands=["c"],
        unit="images",
        of_runs=False,
    )
    page, _ = read_page(path)
    assert page.sections == ["summary", "results", "roc", "forgeries", "reproduce"]
    assert "30 videos" not in page.text()
    assert "the only one to use" in page.text()


def test_results_are_shown_and_the_best_is_marked(report, make):
    _, own = read_page(report)
    value = f"{make.evaluation().metrics['c40']['auc']:.3f}"
    assert f'<span class="best">{value}</span>' in own
    assert "1,234,567" in own
    assert "60 images (30 real, 30 fake) of 30 videos and 6 identities" in own
    assert "not all evaluated on the same data" in own


def test_missing_parts_are_noted(report):
    text = read_page(report)[0].text()
    assert "bare : it has no metrics.jsonl" in text
    assert "bare : it has no evaluation on test" in text


def test_samples_show_images_and_verdicts(report, make):
    page, own = read_page(report)
    samples = make_samples()
    assert len(page.attributes("src")) == sum(3 + sample.label for sample in samples)
    assert own.count("<article>") == len(samples)
    first = make.evaluation().scores["raw"][samples[0].index]
    verdict = "✗" if (first > 0.5) != samples[0].label else "✓"
    card = " ".join(own.split("<article>")[1].split())
    assert f"{verdict}</span> {first:.2f}" in card


def test_scores_of_another_data_set_are_not_shown(make, tmp_path):
    sample = make_samples()[0]
    strange = Sample(sample.index, 1 - sample.label, "mouth", sample.images)
    path = write_report([make.run(tmp_path / "add")], tmp_path / "r.html", samples=[strange])
    assert "aria-label" not in read_page(path)[1].split("article>")[1]


def test_terms_ratios_roc_and_spectra_are_drawn(report):
    page, _ = read_page(report)
    identifiers = page.attributes("id")
    for name in ("terms-0", "ratios-0", "roc-0", "roc-2", "validation-auc", "train-accuracy"):
        assert name in identifiers
    for name in ("spectrum-real", "spectrum-fake", "spectrum-profile"):
        assert name in identifiers
    assert "terms-2" not in identifiers
    assert len(identifiers) == len(set(identifiers))


def test_a_given_spectrum_takes_the_place_of_the_samples(make, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    batch = {"image": {"raw": images, "c40": images // 2}, "label": np.zeros(5)}
    path = write_report(
        [make.run(tmp_path / "add")], tmp_path / "r.html", spectrum=spectrum_difference([batch])
    )
    text = read_page(path)[0].text()
    assert "real , mean of 5 images" in text or "real, mean of 5 images" in text


def test_runs_without_anything_still_make_a_report(make, tmp_path):
    bare = make.run(tmp_path / "bare", config={}, evaluation=False, lines=False)
    page, _ = read_page(write_report([bare], tmp_path / "r.html"))
    assert page.sections == list(SECTIONS)
    assert "No run has an evaluation" in page.text()


def test_one_class_alone_makes_a_report_without_curves(make, tmp_path):
    evaluation = make.evaluation()
    evaluation.columns["labels"][:] = 1
    evaluation.metrics["c40"]["auc"] = float("nan")
    run = make.run(tmp_path / "add", evaluation=evaluation)
    page, _ = read_page(write_report([run], tmp_path / "r.html"))
    assert "No run has scores of both classes" in page.text()


def test_the_report_is_the_same_when_written_again(make, tmp_path):
    run = make.run(tmp_path / "add")
    write = lambda: write_report([run], tmp_path / "r.html", samples=make_samples()).read_bytes()  # noqa: E731
    assert write() == write()


def test_commands_are_relative_and_quoted(make, tmp_path):
    run = make.run(tmp_path / "runs" / "my add")
    path = write_report([run], tmp_path / "r.html", defaults=lambda _: make.config())
    page, _ = read_page(path)
    text = page.text()
    assert "kdjax train --config=add:resnet18_thin '--workdir=runs/my add'" in text
    assert "kdjax evaluate 'runs/my add' --split=test" in text
    assert "kdjax report 'runs/my add' --output=r.html" in text
    assert str(tmp_path) not in text


def test_what_cannot_be_written_is_an_error(make, tmp_path):
    run = make.run(tmp_path / "add")
    with pytest.raises(UserError, match="cannot write the report"):
        write_report([run], run / "config.json" / "report.html")
    with pytest.raises(UserError, match="cannot write the report"):
        write_report([run], run)
