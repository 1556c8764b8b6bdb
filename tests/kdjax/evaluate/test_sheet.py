"""The contact sheet of a data set: faces of every class and kind, escaped, in one file."""

import re

from kdjax.checks import counted
from kdjax.cli import main
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.evaluate.sheet import write_sheet


def test_it_shows_every_kind_in_every_quality(tiny_dataset, tmp_path, capsys):
    path = tmp_path / "sheet.html"
    assert main(["info", str(tiny_dataset), f"--sheet={path}"]) == 0
    assert f"contact sheet: {path}" in capsys.readouterr().out
    page = path.read_text()
    dataset = open_dataset(tiny_dataset)
    for split, size in dataset.sizes.items():
        assert f"{split}: {size} images" in page
    kinds = {name for name in dataset.forgeries if f"<h3>{name}: " in page}
    stored = {dataset.forgeries[kind] for kind in set(dataset.labels("train")["forgery"].tolist())}
    assert stored - {"none"} <= kinds
    captions = re.findall(r"<figcaption>(\w+)</figcaption>", page)
    assert captions.count("raw") == captions.count("c23") == captions.count("c40") > 12
    assert "mask" in captions
    assert 'src="data:image/png;base64,' in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_what_was_left_out_is_listed_and_escaped(tiny_dataset, tmp_path):
    manifest = {
        "concerns": ["`raw` is <compressed> already"],
        "notes": {"videos_with_cuts": 2},
        "skipped": {"total": 700, "items": [{"item": "<script>x", "reason": "no & face"}] * 700},
    }
    page = write_sheet(open_dataset(tiny_dataset), manifest, tmp_path / "s.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;x") == 500
    assert "`raw` is &lt;compressed&gt; already" in page
    assert "videos with cuts: 2" in page
    assert "700 items" in page


def test_one_is_no_plural(labelled_dataset, tmp_path, capsys):
    """In the sheet and in what `info` prints: of its one place, `checks.counted`."""
    assert [counted(n, "video") for n in (0, 1, 2)] == ["0 videos", "1 video", "2 videos"]
    assert [counted(n, "person", "people") for n in (1, 2)] == ["1 person", "2 people"]
    dataset = open_dataset(labelled_dataset(lambda number: int(number > 0)))
    skipped = {"total": 1, "items": [{"item": "a", "reason": "b"}]}
    page = write_sheet(dataset, {"skipped": skipped}, tmp_path / "s.html").read_text()
    assert "real: 1 image of 1 video and 1 person</h3>" in page
    assert "Left out: 1 item<" in page


def test_a_sheet_is_of_a_data_set(tmp_path, capsys):
    assert main(["info", f"--sheet={tmp_path / 's.html'}"]) == 2
    assert "--sheet goes with the folder of a data set" in capsys.readouterr().err
