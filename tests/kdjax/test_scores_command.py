"""`kdjax evaluate --scores`, as it is called."""

import numpy as np
import pytest

from kdjax import cli


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Two tables in the working folder, the second with a missing score and semicolons."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, gain, mark, point in (("ours.csv", 2.0, ",", "."), ("<b>theirs.csv", 0.5, ";", ",")):
        lines = [mark.join(("path", "label", "score", "video", "generator"))]
        for number in range(80):
            label = number // 4 % 2
            score = 1 / (1 + np.exp(-(gain * (label - 0.5) + rng.standard_normal())))
            text = f"{score:.4f}".replace(".", point) if number != 7 or mark == "," else ""
            kind = ("swap", "mouth")[number // 8 % 2] if label else ""
            lines.append(
                mark.join((f"{number}.png", ("REAL", "FAKE")[label], text, f"v{number // 4}", kind))
            )
        (tmp_path / name).write_text("\n".join(lines))
    return ["ours.csv", "<b>theirs.csv"]


def test_tables_are_printed_with_intervals_and_what_is_missing(tables, capsys):
    assert cli.main(["evaluate", "--scores", *tables]) == 0
    shown = capsys.readouterr()
    assert "<b>theirs.csv: 1 of 80 rows have no score, the first in line 9;" in shown.err
    assert (
        "compared on the 79 rows that all tables have a score of: ours.csv has 1 more" in shown.err
    )
    lines = shown.out.splitlines()
    assert lines[0].split("  ")[0] == "scores"
    (auc,) = [line for line in lines if line.startswith("AUC ")]
    assert auc.count("[") == auc.count("]") == 2
    assert "compared with ours.csv, by a bootstrap over videos:" in lines
    assert "by forgery, against all reals:" in lines
    assert not [line for line in shown.err.splitlines() if not line.startswith("note: ")]


def test_a_table_that_cannot_be_read_stops_none_of_the_others(tables, capsys, tmp_path):
    (tmp_path / "broken.csv").write_text("id,label,score\na,maybe,0.5\n")
    assert cli.main(["evaluate", "--scores", "broken.csv", *tables, "absent.csv"]) == 2
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if "error" in line]
    assert [line.split(" ")[2] for line in errors] == ["broken.csv,", "absent.csv", "2"]
    assert errors[-1].endswith("2 of 4 tables of scores could not be read, as said above")
    assert "compared with ours.csv, by a bootstrap over videos:" in shown.out.splitlines()
    assert cli.main(["evaluate", "--scores", "broken.csv", "absent.csv"]) == 2
    assert not capsys.readouterr().out


def test_the_page_is_written_and_escapes_names(tables, capsys, tmp_path):
    assert cli.main(["evaluate", "--scores", *tables, "--output=page.html"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "page.html"
    page = (tmp_path / "page.html").read_text()
    assert "<b>theirs" not in page
    assert "&lt;b&gt;theirs.csv" in page
    assert "79 images (40 real, 39 fake) of 20 videos" in page
    assert "identities" not in page
    assert "not all evaluated on the same data" not in page
    assert "</strong>: 1 of 80 rows have no score" in page
    assert "kdjax evaluate --scores ours.csv" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scores", "absent.csv"), "absent.csv cannot be read: No such file"),
        (("run", "--scores", "ours.csv"), "runs and --scores are evaluated by calls of their own"),
        (("--scores", "ours.csv", "--calibrate"), "--calibrate goes with runs"),
        (("--scores", "ours.csv", "--limit=3"), "--limit goes with runs"),
        ((), "name one or more runs, or tables of scores"),
        (("run", "--output=x.html"), "--output goes with --scores"),
        (("run", "--false_alarms=0.1"), "--false_alarms goes with --calibrate"),
        (
            ("run", "--calibrate", "--split=train"),
            "validation split as it is, without --split=train",
        ),
        (("run", "--calibrate", "--corruptions=all"), "as it is, without --corruptions"),
    ],
)
def test_mistakes_are_one_line(tables, capsys, arguments, message):
    assert cli.main(["evaluate", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("kdjax: error: ")
    assert message in line


def test_nothing_in_a_table_steers_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = ["path,label,score,generator,quality"]
    for number in range(40):
        quality = ("raw\x1b[31m", "c40")[number % 2]
        kind = "swap\x1b[2J" if number // 2 % 2 else ""
        lines.append(
            f"{number // 2}\x1b]0;x\x07.png,{number // 2 % 2},{number / 40},{kind},{quality}"
        )
    for name in ("a\x1b[1m.csv", "b.csv"):
        (tmp_path / name).write_text("\n".join(lines))
    assert cli.main(["evaluate", "--scores", "a\x1b[1m.csv", "b.csv"]) == 0
    shown = capsys.readouterr()
    assert "raw\\x1b[31m, 95 % intervals" in shown.out
    assert cli.main(["evaluate", "--scores", "absent\x1b[1m.csv", "b\x1b.csv"]) == 2
    failed = capsys.readouterr()
    assert "absent\\x1b[1m.csv" in failed.err
    for text in (shown.out, shown.err, failed.out, failed.err):
        assert "\x1b" not in text
        assert "\x07" not in text


def test_a_split_means_nothing_without_a_run(tables, capsys):
    assert cli.main(["evaluate", "--scores", *tables, "--split=train"]) == 2
    assert "--split goes with runs, not with --scores" in capsys.readouterr().err


def test_a_decimal_comma_that_was_taken_for_a_separator_is_suspected(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("id,label,score,video\na,0,0,3\nb,1,1,7\nc,0,0,1\n")
    assert cli.main(["evaluate", "--scores", "a.csv"]) == 0
    assert "a.csv: every score is 0 or 1, a decision instead of a score" in capsys.readouterr().err


def test_a_column_that_is_nearly_there_is_named_as_the_users(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("id,labl,score\na,0,0.1\n")
    assert cli.main(["evaluate", "--scores", "a.csv"]) == 2
    assert "; is 'labl' meant?; it needs" in capsys.readouterr().err
