"""Tables of scores as people have them, and what is wrong with others, in one line each."""

import doctest
import math

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.evaluate import scorewords
from kdjax.evaluate.scorefile import read_scores
from kdjax.evaluate.scorewords import COLUMNS, FAKE, REAL, parse_label

PLAIN = "id,label,score\na,0,0.25\nb,1,0.75\n"


@pytest.fixture
def read(tmp_path):
    """Reads a table with a content, text or bytes."""

    def reader(content, name="scores.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_scores(path)

    return reader


def the_same(found, labels=(0, 1), scores=(0.25, 0.75), ids=("a", "b")):
    assert found.ids.tolist() == list(ids)
    assert found.labels.tolist() == list(labels)
    assert found.scores.tolist() == list(scores)
    return True


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(scorewords).failed == 0


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.rstrip("\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", " , "),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "\n\n" + PLAIN + "\n  \n,,\n",
        "id;label;score\na;0;0,25\nb;1;0,75\n",
        "id\tlabel\tscore\na\t0\t,25\nb\t1\t7,5e-1\n",
        'id,label,score\na,0,"0,25"\nb,1,"0,75"\n',
        '"id","label","score"\n"a","0","0.25"\n"b","1","0.75"\n',
        "score,path,label\n0.25,a,real\n.75,b,FAKE\n",
        "Image-ID,Ground Truth,Probability\na,Genuine,0.25\nb,Manipulated,7.5e-1\n",
        "file,is_fake,pred\na,False,0.25\nb,True,0.75\n",
        "id,label,score,\na,0.0,0.25,\nb,1.0,0.75,\n",
        "id,label,score\na,0,0.25,\nb,1,0.75,,\n",
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.encode("utf-16"),
    ],
)
def test_tables_come_in_many_forms(read, content):
    found = read(content)
    assert the_same(found)
    assert not found.logits
    assert found.missing == 0


def test_every_name_of_a_column_and_every_word_for_a_class_is_known(read):
    for name in COLUMNS["id"]:
        assert the_same(read(PLAIN.replace("id", name)))
    for name in COLUMNS["label"]:
        assert the_same(read(PLAIN.replace("label", name)))
    for name in COLUMNS["score"]:
        assert read(PLAIN.replace("score", name)).logits == name.startswith("logit")
    assert not REAL & FAKE
    for word in REAL | FAKE:
        assert parse_label(f" {word.upper()}") == (word in FAKE)


def test_what_else_a_table_names_is_kept(read):
    found = read(
        "id,label,score,video,generator,quality,dataset\n"
        "a,fake,0.5,v1,swap,c40,one\nb,real,0.5,v2,,c40,two\na,fake,0.7,v1,swap,raw,one\n"
        "c,fake,0.6,v3,,raw,one\n"
    )
    assert found.video.names == ("v1", "v2", "v3")
    assert found.video.codes.tolist() == [0, 1, 0, 2]
    assert [found.forgery.names[code] for code in found.forgery.codes] == [
        *("swap", "none", "swap", "unnamed")
    ]
    assert [found.quality.names[code] for code in found.quality.codes] == [
        "c40",
        "c40",
        "raw",
        "raw",
    ]
    assert found.dataset.names == ("one", "two")
    assert found.lines.tolist() == [2, 3, 4, 5]


def test_quoted_cells_may_hold_separators_and_lines(read):
    found = read('id,label,score\n"a,\n""1""",0,0.25\n"b;c",1,0.75\n')
    assert the_same(found, ids=('a,\n"1"', "b;c"))
    assert found.lines.tolist() == [3, 4]


def test_numbers_beyond_probabilities_are_logits_and_that_is_said(read):
    found = read("id,label,score\na,0,-3.5\nb,1,12\n")
    assert found.logits
    assert found.scores.tolist() == [-3.5, 12]
    (note,) = [note for note in found.notes if "logits" in note]
    assert note.startswith("scores.csv: scores lie in [-3.5, 12] and are taken as logits: where")
    percent = read("id,label,score\na,0,3.5\nb,1,97\n").notes
    assert any("percentages would have to be divided by 100" in note for note in percent)
    assert not any("logits" in note for note in read(PLAIN).notes)


def test_probabilities_that_were_rounded_are_cut(read):
    found = read("id,label,score\na,0,-0.000001\nb,1,1.000001\n")
    assert the_same(found, scores=(0.0, 1.0))
    assert not found.logits


@pytest.mark.parametrize("cell", ["", " ", "NaN", "nan", "NA", "null", "None", "-", "#N/A"])
def test_missing_scores_are_counted_and_said(read, cell):
    found = read(f"id,label,score\na,0,0.25\nc,1,{cell}\nd,1,{cell}\nb,1,0.75\n")
    assert the_same(found)
    assert found.missing == 2
    assert any(
        note.startswith("scores.csv: 2 of 4 rows have no score, the first in line 3;")
        for note in found.notes
    )


def test_unused_columns_and_words_that_may_mean_either_are_said(read):
    notes = read("id,label,score,age,video\na,false,0.25,3,v\nb,true,0.75,4,w\n").notes
    assert notes == (
        "scores.csv: columns that are not used: age",
        "scores.csv: labels are read as of 'is it fake?': false as real, true as fake",
    )
    assert any("no column video" in note for note in read(PLAIN).notes)


MISTAKES = {
    "empty": ("", "scores.csv is empty; it needs a header"),
    "blank": (" \n\n", "scores.csv is empty"),
    "header alone": ("id,label,score\n", "scores.csv: it has no row; it needs a header"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file; save the table as CSV"),
    "latin-1": (PLAIN.encode() + "é,1,0.5\n".encode("latin-1"), "line 4: not text in UTF-8; save"),
    "no header": ("a,0,0.25\nb,1,0.75\n", "line 1: no column 'id' among a, 0, 0.25 (read as separated by commas"),
    "misnamed": ("id,label,scor\na,0,1\n", "no column 'score' among id, label, scor"),
    "no separator": ("id label score\na 0 1\n", "no column 'id' among id_label_score"),
    "twice named": ("id,label,score,Score\na,0,1,1\n", "line 1: two columns are called 'score'; rename one"),
    "too few": ("id,label,score\na,0,1\nb,1\n", "line 3: 2 cells where the header has 3"),
    "decimal commas": ("id,label,score\na,0,0,25\n", "line 2: 4 cells where the header has 3; quote a cell"),
    "strange label": ("id,label,score\na,maybe,1\n", "line 2: label 'maybe' is neither real nor fake; write 0 or real"),
    "label 2": ("id,label,score\na,2,1\n", "label '2' is neither"),
    "no label": ("id,label,score\na,,1\n", "line 2: label '' is neither"),
    "a word": ("id,label,score\na,1,high\n", "line 2: score 'high' is no finite number; write one as 0.93"),
    "infinite": ("id,label,score\na,1,inf\n", "score 'inf' is no finite number"),
    "too large": ("id,label,score\na,1,1e999\n", "score '1e999' is no finite number"),
    "thousands": ("id;label;score\na;1;1.234,5\n", "score '1.234,5' is no finite number"),
    "percent": ("id,label,score\na,1,93%\n", "score '93%' is no finite number"),
    "no id": ("id,label,score\n ,1,0.5\n", "line 2: no id; give every row a name of its own"),
    "twice": (PLAIN + "a,0,0.3\n", "line 4: id 'a' is in line 2 too; leave one of the two out"),
    "twice, once without": (PLAIN + "a,0,\n", "line 4: id 'a' is in line 2 too"),
    "twice in a quality": (
        "id,label,score,quality\na,0,0.1,raw\na,0,0.2,c40\na,0,0.3,raw\n",
        "line 4: id 'a' is in line 2 too in the same quality",
    ),
    "no video": ("id,label,score,video\na,0,0.1,\n", "line 2: no video; fill the cell, or leave the column out"),
    "overall": ("id,label,score,quality\na,0,0.1,overall\n", "stands for all of them together; rename it"),
    "no score at all": ("id,label,score\na,0,\nb,1,nan\n", "none of its 2 rows has a score"),
    "open quote": ('id,label,score\na,0,"0.1\nb,1,0.5\n', "cannot be told apart"),
    "long line": ("x" * 2_000_000, "holds no table"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_line_and_way_out(read, mistake):
    content, message = MISTAKES[mistake]
    with pytest.raises(UserError) as error:
        read(content)
    text = str(error.value)
    assert message in text
    assert "scores.csv" in text
    assert "\n" not in text
    assert len(text) < 500


def test_what_is_no_file_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            read_scores(path)


def test_a_large_table_is_read_in_time(tmp_path):
    path = tmp_path / "large.csv"
    rows = (f"v{n // 10}/{n}.png,{n % 2},{n % 97 / 97:.4f},v{n // 10}\n" for n in range(50_000))
    path.write_text("path,label,score,video\n" + "".join(rows))
    found = read_scores(path)
    assert len(found.scores) == 50_000
    assert found.scores.sum() == pytest.approx(sum(n % 97 / 97 for n in range(50_000)), rel=1e-3)
    assert len(found.video.names) == 5000
    assert not np.isnan(found.scores).any()
    assert math.isclose(found.scores.max(), 96 / 97, abs_tol=1e-4)
