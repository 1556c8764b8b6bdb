"""What each kind of tree is mapped to: labels, people, splits, qualities, masks, and what is left out or refused."""

import json
import os
import pickle
from pathlib import Path

import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline.builders import items
from kdjax.data_pipeline.builders.options import TreeConfig
from kdjax.data_pipeline.trees import (
    celebdf,
    deepfakebench,
    dfdc,
    faceforensics,
    ffiw,
    table,
)
from kdjax.data_pipeline.trees.item import Item, state_key, summary


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def scan(tree, source, **options):
    return tree.scan(source, source.parent / "elsewhere", **options)


def facts(tree):
    return {
        item.name.rsplit("/", 1)[-1]: (item.label, item.forgery, item.people, item.split)
        for item in tree.items
    }


def reasons(tree):
    return {entry["item"]: entry["reason"] for entry in tree.skipped}


@pytest.fixture
def ffpp(tmp_path):
    """Two pairs of the official lists, 071 and 054 of training and 953 and 974 of the test, and strangers."""
    youtube = "original_sequences/youtube"
    fakes = "manipulated_sequences"
    return touch(
        tmp_path / "ffpp",
        *(f"{youtube}/{q}/videos/{n}.mp4" for q in ("c23", "c40") for n in ("071", "054", "953")),
        f"{youtube}/raw/videos/071.mp4",
        f"{youtube}/c23/videos/holiday.mp4",
        f"{youtube}/c23/videos/.DS_Store",
        f"{youtube}/c23/videos/list.txt",
        f"{fakes}/Deepfakes/c23/videos/071_054.mp4",
        f"{fakes}/Deepfakes/c40/videos/071_054.mp4",
        f"{fakes}/Deepfakes/masks/videos/071_054.mp4",
        f"{fakes}/FaceShifter/c23/videos/953_974.mp4",
        f"{fakes}/FaceShifter/c23/videos/071_953.mp4",
        "original_sequences/actors/c23/videos/01__kitchen_pan.mp4",
        f"{fakes}/DeepFakeDetection/c23/videos/01_02__kitchen_pan__1A2B3C4D.mp4",
    )


def test_faceforensics_has_the_official_splits(ffpp):
    tree = scan(faceforensics, ffpp)
    assert facts(tree) == {
        "071.mp4": (0, "none", ("071",), "train"),
        "054.mp4": (0, "none", ("054",), "train"),
        "953.mp4": (0, "none", ("953",), "test"),
        "071_054.mp4": (1, "deepfakes", ("071", "054"), "train"),
        "953_974.mp4": (1, "faceshifter", ("953", "974"), "test"),
    }
    assert [item.name for item in tree.items] == sorted(item.name for item in tree.items)
    assert tree.forgeries == ("none", *faceforensics.MANIPULATIONS)
    # of 1000 listed videos 071, 054 and 953 are there, as themselves or as a target
    assert tree.notes == {"listed_videos_that_are_absent": 997}
    assert set(reasons(tree).values()) == {
        "its name is not like 000",
        "in none of the lists of pairs",
    }


def test_faceforensics_qualities_and_masks_are_of_their_own_files(ffpp):
    items = {item.name.rsplit("/", 1)[-1]: item for item in scan(faceforensics, ffpp).items}
    assert list(items["071.mp4"].files) == ["raw", "c23", "c40"]
    assert items["071.mp4"].name == "original_sequences/youtube/raw/videos/071.mp4"
    assert list(items["071_054.mp4"].files) == ["c23", "c40"]
    assert items["071_054.mp4"].mask.read_text().endswith("masks/videos/071_054.mp4")
    assert items["953_974.mp4"].mask is None
    assert pickle.loads(pickle.dumps(items["071.mp4"])) == items["071.mp4"]


def test_what_older_scripts_call_c0_is_raw(ffpp):
    (ffpp / "original_sequences/youtube/raw").rename(ffpp / "original_sequences/youtube/c0")
    items = {item.name.rsplit("/", 1)[-1]: item for item in scan(faceforensics, ffpp).items}
    assert items["071.mp4"].files["raw"].read_text().endswith("raw/videos/071.mp4")


def test_a_part_of_faceforensics_has_its_own_originals(ffpp):
    tree = scan(faceforensics, ffpp, part="deepfakes")
    assert {item.forgery for item in tree.items} == {"none", "deepfakes"}
    actors = scan(faceforensics, ffpp, part="deepfakedetection")
    assert facts(actors) == {
        "01__kitchen_pan.mp4": (0, "none", ("01",), "test"),
        "01_02__kitchen_pan__1A2B3C4D.mp4": (1, "deepfakedetection", ("01", "02"), "test"),
    }


def test_drawn_splits_keep_what_is_in_no_list(ffpp):
    tree = scan(faceforensics, ffpp, splits="drawn")
    assert facts(tree)["071_953.mp4"] == (1, "faceshifter", ("071", "953"), "")
    assert {item.split for item in tree.items} == {""}


def test_files_that_differ_in_their_ending_alone_are_all_accounted_for(ffpp, celeb, tmp_path):
    touch(ffpp / "original_sequences/youtube/c23/videos", "071.avi", "big.day.mov")
    found = reasons(scan(faceforensics, ffpp))
    assert (
        found["original_sequences/youtube/c23/videos/071.mp4"] == "is there with another ending too"
    )
    assert found["original_sequences/youtube/c23/videos/big.day.mov"] == "its name is not like 000"
    assert len(facts(scan(faceforensics, ffpp))) == 5
    touch(celeb / "Celeb-real", "id0_0000.avi")
    assert {"id0_0000.avi", "id0_0000.mp4"} <= set(facts(scan(celebdf, celeb)))


def test_lists_of_ones_own(ffpp, tmp_path):
    lists = {"train": [["071", "953"]], "val": [["054", "055"]], "test": []}
    for name, pairs in lists.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(pairs))
    tree = scan(faceforensics, ffpp, splits=str(tmp_path))
    assert facts(tree)["071_953.mp4"][3] == "train"
    assert facts(tree)["054.mp4"][3] == "validation"
    (tmp_path / "test.json").write_text('[["071", "000"]]')
    with pytest.raises(UserError, match="071 is in the lists train, test"):
        scan(faceforensics, ffpp, splits=str(tmp_path))
    for broken in ("[1]", "{", '[["071"]]', "[" * 9999):
        (tmp_path / "test.json").write_text(broken)
        with pytest.raises(UserError, match=r"test\.json (cannot be read|must be a list of pairs)"):
            scan(faceforensics, ffpp, splits=str(tmp_path))


def test_the_official_lists_are_whole():
    """360, 70 and 70 pairs, each of the thousand videos in one."""
    counts = {
        split: len(faceforensics._pairs("official", n)) for split, n in faceforensics.LISTS.items()
    }
    assert counts == {"train": 360, "validation": 70, "test": 70}
    splits = faceforensics._split_of("official")
    assert {name for name in splits if "_" not in name} == {f"{k:03d}" for k in range(1000)}


@pytest.fixture
def celeb(tmp_path):
    source = touch(
        tmp_path / "celeb",
        *("Celeb-real/id0_0000.mp4", "Celeb-real/id1_0001.mp4", "Celeb-real/strange.mp4"),
        *("YouTube-real/00170.mp4", "Celeb-synthesis/id0_id1_0000.mp4"),
        "Celeb-synthesis/id1_id0_0003.mp4",
    )
    (source / celebdf.LIST).write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id1_id0_0003.mp4\n1 Celeb-real/id9_0000.mp4\n\n"
    )
    return source


def test_in_the_list_of_celebdf_1_means_real(celeb):
    tree = scan(celebdf, celeb)
    assert facts(tree) == {
        "id0_0000.mp4": (0, "none", ("id0",), ""),
        "id1_0001.mp4": (0, "none", ("id1",), ""),
        "00170.mp4": (0, "none", ("youtube 00170",), "test"),
        "id0_id1_0000.mp4": (1, "celeb_synthesis", ("id0", "id1"), ""),
        "id1_id0_0003.mp4": (1, "celeb_synthesis", ("id1", "id0"), "test"),
    }
    assert reasons(tree) == {
        "Celeb-real/strange.mp4": "its name is not as Celeb-real has them",
        "Celeb-real/id9_0000.mp4": f"is in {celebdf.LIST} and nowhere else",
    }
    assert {item.split for item in scan(celebdf, celeb, splits="drawn").items} == {""}


def test_a_list_of_celebdf_that_is_wrong_or_missing(celeb):
    (celeb / celebdf.LIST).write_text("0 YouTube-real/00170.mp4\n")
    assert "other class" in reasons(scan(celebdf, celeb))["YouTube-real/00170.mp4"]
    (celeb / celebdf.LIST).write_text("1 a.mp4\nYouTube-real/00170.mp4\n")
    with pytest.raises(UserError, match="line 2"):
        scan(celebdf, celeb)
    (celeb / celebdf.LIST).unlink()
    with pytest.raises(UserError, match="--splits=drawn goes without"):
        scan(celebdf, celeb)


def test_ffiw_has_its_splits_in_folders(tmp_path):
    source = touch(
        tmp_path / "ffiw",
        *("source/train/a.mp4", "source/val/a.mp4", "target/test/b.mp4", "target/train/a.mp4"),
    )
    found = {item.name: (item.label, item.people, item.split) for item in scan(ffiw, source).items}
    assert found == {
        "source/train/a.mp4": (0, ("train a",), "train"),
        "source/val/a.mp4": (0, ("val a",), "validation"),
        "target/test/b.mp4": (1, ("test b",), "test"),
        "target/train/a.mp4": (1, ("train a",), "train"),
    }


def test_a_fake_of_dfdc_belongs_to_its_original(tmp_path):
    source = touch(
        tmp_path / "dfdc",
        *(f"dfdc_train_part_0/{name}.mp4" for name in "abc"),
        *("dfdc_train_part_1/d.mp4", "dfdc_train_part_1/e.mp4"),
    )
    first = {"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": "a.mp4"}}
    first["gone.mp4"] = {"label": "REAL"}
    second = {"d.mp4": {"label": "FAKE", "original": None}, "e.mp4": {"label": "MAYBE"}}
    (source / "dfdc_train_part_0/metadata.json").write_text(json.dumps(first))
    (source / "dfdc_train_part_1/metadata.json").write_text(json.dumps(second))
    tree = scan(dfdc, source)
    assert facts(tree) == {
        "a.mp4": (0, "none", ("a",), ""),
        "b.mp4": (1, "dfdc", ("a",), ""),
        "d.mp4": (1, "dfdc", ("d",), ""),
    }
    said = "metadata.json does not say REAL or FAKE of it"
    assert reasons(tree) == {
        "dfdc_train_part_0/c.mp4": said,
        "dfdc_train_part_1/e.mp4": said,
        "dfdc_train_part_0/gone.mp4": "is in metadata.json and nowhere else",
    }
    one = scan(dfdc, source / "dfdc_train_part_0")
    assert set(facts(one)) == {"a.mp4", "b.mp4"}


def bench(source, kinds, name="FaceForensics++"):
    (source / "dataset_json").mkdir(parents=True, exist_ok=True)
    (source / f"dataset_json/{name}.json").write_text(json.dumps({name: kinds}))


def entry(label, folder, **more):
    return {"label": label, "frames": [f"{folder}/000.png", f"{folder}/017.png"], **more}


def test_deepfakebench_finds_its_frames_wherever_they_were(tmp_path):
    source = tmp_path / "bench"
    real, fake = (
        "FaceForensics++/original_sequences/youtube",
        "FaceForensics++/manipulated_sequences/FaceSwap",
    )
    touch(source, *(f"rgb/{real}/{q}/frames/071/000.png" for q in ("c23", "c40")))
    touch(source, f"rgb/{fake}/c23/frames/071_054/000.png", f"rgb/{fake}/c23/masks/071_054/000.png")
    lab = "/data/someone/rgb"
    masked = entry("FF-FS", f"{lab}/{fake}/c23/frames/071_054")
    masked["masks"] = [f"{lab}/{fake}/c23/masks/071_054/000.png"]
    videos = {
        "FF-real": {
            "train": {
                q: {"071": entry("FF-real", f"./{real}/{q}/frames/071".replace("/", "\\"))}
                for q in ("c23", "c40")
            },
        },
        "FF-FS": {
            "train": {"c23": {"071_054": masked, "gone": entry("FF-FS", f"{lab}/nowhere")}},
            "val": {"label": "FF-FS", "frames": ["x"]},
        },
    }
    bench(source, videos)
    with pytest.raises(UserError, match="frames of both classes"):
        scan(deepfakebench, source)
    (source / "rgb").rename(source / "moved")
    for folder in (source / "moved").iterdir():
        folder.rename(source / folder.name)
    tree = scan(deepfakebench, source)
    assert facts(tree) == {
        "071": (0, "none", ("071",), "train"),
        "071_054": (1, "ff-fs", ("071", "054"), "train"),
    }
    real_item, fake_item = sorted(tree.items, key=lambda item: item.label)
    assert list(real_item.files) == ["c23", "c40"]
    assert real_item.cropped
    assert fake_item.mask == source / fake / "c23/masks/071_054"
    assert tree.forgeries == ("none", "ff-fs")
    assert reasons(tree) == {"FF-FS/gone": "its frames are not where the list says"}


def test_deepfakebench_a_video_of_several_splits_is_of_the_test(tmp_path):
    source = touch(
        tmp_path / "bench", "Celeb/frames/id0_0001/0.png", "Celeb/frames/id0_id1_0002/0.png"
    )
    real = {"id0_0001": entry("CelebDFv2_real", "Celeb/frames/id0_0001")}
    fake = {"id0_id1_0002": entry("CelebDFv2_fake", "Celeb/frames/id0_id1_0002")}
    kinds = {
        "CelebDFv2_real": {"train": real, "val": real, "test": real},
        "CelebDFv2_fake": {"train": fake, "val": {}, "test": {}},
    }
    bench(source, kinds, "Celeb-DF-v2")
    tree = scan(deepfakebench, source)
    assert facts(tree) == {
        "id0_0001": (0, "none", ("id0",), "test"),
        "id0_id1_0002": (1, "celebdfv2_fake", ("id0", "id1"), "train"),
    }


def test_deepfakebench_never_leaves_its_source(tmp_path):
    outside = touch(tmp_path, "outside/0.png")
    source = touch(tmp_path / "bench", "a/0.png", "b/0.png")
    kinds = {
        "X_real": {"test": {"1": entry("r", "a"), "2": entry("r", "../outside")}},
        "X_fake": {"test": {"3": entry("f", "b"), "4": entry("f", str(outside / "outside"))}},
    }
    bench(source, kinds, "X")
    assert set(reasons(scan(deepfakebench, source))) == {"X_real/2", "X_fake/4"}


@pytest.mark.parametrize("text", ["[]", "3", '{"X": 3}', "{", '{"X": {"A_real": 3}}', "[" * 9999])
def test_deepfakebench_json_that_is_none(tmp_path, text):
    source = touch(tmp_path / "bench", "a/0.png")
    (source / "X.json").write_text(text)
    with pytest.raises(
        UserError, match=r"X\.json(: frames of both classes| is no list of DeepfakeBench)"
    ):
        scan(deepfakebench, source)


def test_of_several_lists_one_is_named(tmp_path):
    source = touch(tmp_path / "bench", "A.json", "B.json")
    with pytest.raises(
        UserError, match="has the lists A, B; name one, as --dataset=deepfakebench/A"
    ):
        scan(deepfakebench, source)


ROWS = "path,label,split,identity,source,video,forgery,mask,c40\n"


def write_table(path, text):
    path.write_text(text)
    return path


def test_a_table_says_what_its_columns_say(tmp_path):
    path = write_table(
        tmp_path / "t.csv",
        ROWS + "a.mp4,real,train,anna,,,,,low/a.mp4\nb.png,FAKE,val,anna,ben,v1,swap,m.png,\n"
        "c.png,1,test,,,v2,,,\nd.png,1,test,,,v2,,,\n",
    )
    tree = scan(table, path)
    assert facts(tree) == {
        "a.mp4": (0, "none", ("anna",), "train"),
        "b.png": (1, "swap", ("anna", "ben"), "validation"),
        "c.png": (1, "unknown", ("v2",), "test"),
        "d.png": (1, "unknown", ("v2",), "test"),
    }
    first, second, third, fourth = tree.items
    assert first.files == {"raw": tmp_path / "a.mp4", "c40": tmp_path / "low/a.mp4"}
    assert second.mask == tmp_path / "m.png"
    assert (second.video, third.video, fourth.video) == ("v1", "v2", "v2")
    assert tree.forgeries == ("none", "swap", "unknown")
    assert {item.split for item in scan(table, path, splits="drawn").items} == {""}


def test_a_table_of_json_lines(tmp_path):
    lines = [{"path": "a b's.mp4", "label": 0}, {"raw": "ö.mp4", "label": "fake", "forgery": "x"}]
    path = write_table(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines)) + "\n")
    assert facts(scan(table, path)) == {
        "a b's.mp4": (0, "none", ("a b's.mp4",), ""),
        "ö.mp4": (1, "x", ("ö.mp4",), ""),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n", "has no row"),
        ("path,label\na,real\n", "of one class alone"),
        ("path,label\na,perhaps\n", "row 1: label='perhaps' must be real or fake"),
        ("path,label,splt\na,real,train\n", "column 'splt'; did you mean 'split'"),
        ("path,label,split\na,real,dev\n", "split='dev' must be train"),
        ("path,label,split\na,real,train\nb,fake,\n", "some rows have a split and some have none"),
        ("path,label\na,real\na,fake\n", "row 2: a is there twice"),
        ("path,label\na,real\n./b/../a,fake\n", "row 2: ./b/../a is there twice"),
        ("path,label\n,real\n", "row 1 has no path"),
        ("path,label\na,real,what\n", "row 1 is not as the first line says"),
        ("path,label,forgery\na,fake,a/b\n", "forgery='a/b' must be a short name"),
        ("path,label,forgery\na,real,swap\n", "row 1 is real and has the forgery 'swap'"),
        ("path,label,forgery\na,fake,none\n", "row 1 is fake and has the forgery 'none'"),
        (
            "path,label,video\na,fake,v\nb,real,v\n",
            "a and b are of one video, 'v', and differ in label",
        ),
        (
            "path,label,video,identity\na,fake,v,x\nb,fake,v,y\nc,real,,\n",
            "a and b are of one video, 'v', and differ in identity",
        ),
        (
            "path,label,video,split\na,fake,v,train\nb,fake,v,test\nc,real,,test\n",
            "a and b are of one video, 'v', and differ in split",
        ),
    ],
)
def test_a_table_that_is_wrong_is_one_line(tmp_path, text, words):
    with pytest.raises(UserError, match=words) as caught:
        scan(table, write_table(tmp_path / "t.csv", text))
    assert "\n" not in str(caught.value)


def test_what_is_no_table(tmp_path):
    (tmp_path / "t.jsonl").write_text("[1]\n")
    with pytest.raises(UserError, match="row 1 is not as the first line says"):
        scan(table, tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text("{\n")
    with pytest.raises(UserError, match="line 1 is no JSON object"):
        scan(table, tmp_path / "t.jsonl")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(UserError, match="is no table that can be read"):
        scan(table, tmp_path / "t.csv")
    with pytest.raises(UserError, match="is no table that can be read"):
        scan(table, tmp_path)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (faceforensics, "holds notes.txt; expected is original_sequences"),
        (celebdf, "holds notes.txt; expected is Celeb-real, YouTube-real"),
        (ffiw, "holds notes.txt; expected is source/{train,val,test}"),
        (dfdc, "holds notes.txt; expected is folders as dfdc_train_part_0"),
        (deepfakebench, "holds notes.txt; expected is dataset_json/NAME.json"),
    ],
)
def test_another_tree_is_refused_by_what_it_holds(tmp_path, tree, words):
    source = touch(tmp_path / "source", "notes.txt")
    with pytest.raises(UserError) as caught:
        scan(tree, source)
    assert words in str(caught.value)
    with pytest.raises(UserError, match="is not a folder that can be read"):
        scan(tree, tmp_path / "missing")
    with pytest.raises(UserError, match="lies inside"):
        tree.scan(source, source / "out")


@pytest.mark.parametrize("tree", [faceforensics, celebdf, ffiw, dfdc, table])
def test_parts_and_splits_that_there_are_not(tmp_path, tree):
    source = touch(tmp_path / "source", "source/train/a.mp4", "original_sequences/a")
    with pytest.raises(UserError, match="has no part 'everything'; known: all"):
        scan(tree, source, part="everything")
    with pytest.raises(UserError, match="--splits=nowhere"):
        scan(tree, source, splits="nowhere")


def test_a_state_changes_with_every_file(ffpp):
    item = next(item for item in scan(faceforensics, ffpp).items if item.mask)
    before = state_key(item)
    assert state_key(item) == before
    for path in (item.files["c40"], item.mask):
        path.write_text(path.read_text() + ".")
        assert state_key(item) != before
        before = state_key(item)
    item.mask.unlink()
    assert state_key(item) != before


def test_the_state_of_a_folder_is_that_of_its_files(tmp_path):
    """What a folder itself has for a size depends on the disk that it lies on."""
    folder = touch(tmp_path, "frames/0.png", "frames/1.png") / "frames"
    item = Item("frames", {"raw": folder}, 0, "none", ("a",))
    before, size = state_key(item), summary([item])
    for number in range(200):
        (folder / f"{number:0200d}").touch()
    for number in range(200):
        (folder / f"{number:0200d}").unlink()
    assert (state_key(item), summary([item])) == (before, size)
    (folder / "1.png").write_text("another frame")
    assert state_key(item) != before
    assert summary([item]) != size


def test_a_folder_that_cannot_be_looked_into_costs_itself_alone(tmp_path, monkeypatch):
    touch(tmp_path, "frames/0.png")
    item = Item("frames", {"raw": tmp_path / "frames"}, 0, "none", ("a",))

    def refuse(path, *arguments, **more):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refuse)
    task = items.Task(item, TreeConfig(image_size=16), ("raw",))
    assert len(items.content_of(task)) == 64
    assert items.process_item(task)["reason"] == "cannot be looked into"
    assert state_key(item)


def test_a_source_is_another_when_what_is_said_of_it_changes(tmp_path):
    files = {"raw": touch(tmp_path, "a.png") / "a.png"}
    item = Item("a.png", files, 0, "none", ("anna",))
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks/0.npy").write_text("marks")
    changes = [
        {"people": ("ben",)},
        {"split": "test"},
        {"forgery": "swap"},
        {"video": "v"},
        {"files": {"c23": files["raw"]}},
        {"landmarks": tmp_path / "marks"},
    ]
    found = {summary([Item(**{**vars(item), **each})])["fingerprint"] for each in ({}, *changes)}
    assert len(found) == 1 + len(changes)
    marked = Item(**{**vars(item), "landmarks": tmp_path / "marks"})
    before = state_key(marked)
    (tmp_path / "marks/0.npy").write_text("other marks")
    assert state_key(marked) != before


def test_what_is_no_file_costs_itself_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    long = tmp_path / ("x" * 300 + ".mp4")
    for place in (tmp_path / "pipe.mp4", long, Path(os.devnull)):
        item = Item("odd", {"raw": place}, 0, "none", ("a",))
        task = items.Task(item, TreeConfig(image_size=16), ("raw",))
        assert len(items.content_of(task)) == 64
        assert items.process_item(task)["reason"]
        assert state_key(item)


def test_odd_paths_of_a_table(tmp_path):
    lines = [{"path": "\ud800.mp4", "label": 0}, {"path": "b.mp4", "label": 1}]
    path = write_table(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(UserError, match=r"row 1: .* is no path"):
        scan(table, path)
    path = write_table(tmp_path / "t.csv", "path,label\n~nobody at all/x.mp4,0\n~$b.mp4,1\n")
    assert [item.files["raw"] for item in scan(table, path).items] == [
        *(tmp_path / "~$b.mp4", tmp_path / "~nobody at all/x.mp4")
    ]


def test_metadata_of_dfdc_with_a_strange_label(tmp_path):
    folder = touch(tmp_path, "p/a.mp4", "p/b.mp4", "p/c.mp4") / "p"
    content = {"a.mp4": {"label": ["REAL"]}, "b.mp4": {"label": "REAL"}, "c.mp4": {"label": "FAKE"}}
    (folder / "metadata.json").write_text(json.dumps(content))
    assert reasons(scan(dfdc, tmp_path)) == {
        "p/a.mp4": "metadata.json does not say REAL or FAKE of it"
    }
