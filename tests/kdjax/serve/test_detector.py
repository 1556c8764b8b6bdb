"""Images and videos judged, good ones and bad ones."""

import io
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import kdjax
from kdjax.checks import UserError
from kdjax.data_pipeline.faces import find_face
from kdjax.data_pipeline.faces import make_detector as hog
from kdjax.data_pipeline.video import open_media
from kdjax.serve import runs
from kdjax.serve.detector import Judged
from kdjax.serve.options import Options
from kdjax.serve.origins import Faces
from kdjax.serve.page import FACES, Page
from kdjax.serve.runs import load_run
from kdjax.serve.watching import Prediction
from kdjax.train import checkpoint
from kdjax.train.predict import make_predict


@pytest.fixture
def dark(heads, write_clip, tmp_path):
    """A clip whose faces are dark: a real one to a detector by brightness."""
    return write_clip(tmp_path / "dark.mp4", heads(3) // 2)


@pytest.fixture
def bright(heads, write_clip, tmp_path):
    """A clip whose faces are bright."""
    frames = np.clip(heads(3).astype(int) // 2 + 150, 0, 255).astype(np.uint8)
    return write_clip(tmp_path / "bright.mp4", frames)


def write(path, pixels, *options):
    done, encoded = cv2.imencode(path.suffix, pixels[..., ::-1], options)
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def only(found):
    (each,) = found
    return each


def test_videos_are_real_or_fake_by_their_faces(make_detector, dark, bright):
    one, other = make_detector().predict([dark, bright])
    assert (one.verdict, other.verdict) == ("real", "fake")
    assert one.score < 0.2
    assert other.score > 0.9
    for found in (one, other):
        assert found.low <= found.score <= found.high
        assert found.seen.frames == found.scored == 30
        assert found.seen.kind == "video"
        assert [face.name for face in found.faces] == [1]
        assert found.threshold.value == 0.8
        assert not found.problem


def test_each_frame_tells_its_faces(make_detector, bright):
    judged = [
        found for found in make_detector().watch(bright, Options()) if isinstance(found, Judged)
    ]
    assert [found.sight.number for found in judged] == list(range(30))
    assert judged[25].sight.time == 1.0
    with open_media(bright) as media:
        box = find_face(next(iter(media)), hog("hog"))
    first = judged[0].sight.faces[0]
    assert np.abs(np.subtract(first.box, box)).max() <= 4
    assert first.crop.shape == (64, 64, 3)


def test_scores_of_frames_are_calibrated(make_detector, bright):
    detector = make_detector()
    hot = make_detector()
    hot.spec = hot.spec._replace(calibration=hot.spec.calibration._replace(temperature=3.0))
    plain, cooled = (
        [found.scores[0] for found in each.watch(bright, Options()) if isinstance(found, Judged)]
        for each in (detector, hot)
    )
    odds = np.log(np.divide(plain, np.subtract(1, plain)))
    np.testing.assert_allclose(cooled, 1 / (1 + np.exp(-odds / 3)), atol=1e-6)


def test_faces_beside_each_other_are_told_apart(make_detector, heads, write_clip, tmp_path):
    lit = np.clip(heads(0).astype(int) // 2 + 150, 0, 255).astype(np.uint8)
    path = write_clip(tmp_path / "two.mp4", np.concatenate([heads(3) // 2, lit], axis=2))
    found = only(make_detector().predict(path))
    assert found.verdict == "fake"
    fake, real = found.faces
    assert (fake.verdict, real.verdict) == ("fake", "real")
    assert {fake.name, real.name} == {1, 2}
    assert min(fake.frames, real.frames) >= 25
    assert f"face {fake.name}" in found.reason
    assert any("2 faces were judged" in note for note in found.notes)


def test_only_some_frames_are_scored_if_asked(make_detector, bright):
    found = only(make_detector().predict(bright, score_every=3))
    assert found.scored == 10
    assert found.verdict == "fake"


def test_too_few_frames_say_nothing(make_detector, heads, write_clip, tmp_path):
    found = only(make_detector().predict(write_clip(tmp_path / "x.mp4", heads(3)[:6])))
    assert (found.verdict, found.why) == ("cannot say", "too_few_frames")


def test_no_face_says_nothing(make_detector, write_clip, tmp_path):
    grey = np.full((20, 112, 128, 3), 128, np.uint8)
    for path in (write_clip(tmp_path / "x.mp4", grey), write(tmp_path / "x.png", grey[0])):
        found = only(make_detector().predict(path))
        assert (found.verdict, found.why) == ("cannot say", "no_face")
        assert not found.problem


def test_another_quality_than_the_validated_says_nothing(
    make_detector, heads, write_clip, tmp_path
):
    path = write_clip(tmp_path / "x.mp4", heads(3) // 2, crf="18")
    found = only(make_detector().predict(path))
    assert (found.verdict, found.why) == ("cannot say", "quality")
    assert "finer than c40" in found.reason
    assert only(make_detector().predict(path, any_quality=True)).verdict == "real"
    assert only(make_detector(qualities=("c23", "c40")).predict(path)).verdict == "real"


def test_another_codec_than_the_validated_is_a_note(make_detector, bright):
    known = make_detector(codecs=("mjpeg",))
    found = only(known.predict([bright]))
    assert found.verdict == "fake"
    assert found.notes == ("compressed by h264, and the detector was validated on mjpeg alone",)
    assert only(make_detector(codecs=("h264",)).predict([bright])).notes == ()


def test_small_faces_say_nothing(make_detector, dark):
    found = only(make_detector(stored_size=256, image_size=256).predict(dark))
    assert (found.verdict, found.why) == ("cannot say", "small_faces")
    assert (
        only(make_detector(stored_size=256, image_size=256).predict(dark, any_quality=True)).verdict
        == "real"
    )


def test_without_calibration_nothing_is_called_real_or_fake(make_detector, bright):
    detector = make_detector(calibrated=False)
    assert any("was not calibrated" in note for note in detector.notes(Options()))
    found = only(detector.predict(bright))
    assert (found.verdict, found.why) == ("cannot say", "not_calibrated")
    assert found.score > 0.9
    assert only(detector.predict(bright, threshold=0.5)).verdict == "fake"


def test_a_threshold_that_was_given_is_what_is_told_of(make_detector):
    given = Options(threshold=0.6)
    (note,) = make_detector(calibrated=False, faces=Faces("hog", 1.5, "", 3)).notes(given)
    assert note == (
        "the threshold 0.6 was given: no rate of false alarms is known of it, and scores are not calibrated"
    )
    (note,) = make_detector(faces=Faces("hog", 1.5, "", 3)).notes(given)
    assert note == "the threshold 0.6 was given: no rate of false alarms is known of it"
    (note,) = make_detector(calibrated=False, faces=Faces("hog", 1.5, "", 3)).notes(Options())
    assert "was not calibrated" in note


def test_an_image_is_judged_by_its_faces(make_detector, heads, tmp_path):
    path = write(tmp_path / "x.png", heads(3)[0] // 2)
    found = only(make_detector().predict(path))
    assert (found.verdict, found.seen.kind) == ("real", "image")
    assert np.isnan(found.low)
    assert any("loses nothing" in note for note in found.notes)


def test_a_crowd_is_judged_by_its_largest_faces(make_detector, heads, tmp_path):
    crowd = np.tile((heads(3)[0] // 2).repeat(2, 0).repeat(2, 1), (3, 3, 1))
    path = write(tmp_path / "crowd.png", crowd)
    found = only(make_detector().predict(path, max_faces=4))
    assert len(found.faces) == 4
    assert found.seen.most > 4
    assert any("the 4 largest were judged" in note for note in found.notes)


def test_a_face_cut_out_already_is_taken_whole(make_detector, tmp_path):
    path = write(tmp_path / "x.png", np.full((80, 64, 3), 250, np.uint8))
    found = only(make_detector().predict(path, cropped=True))
    assert found.verdict == "fake"
    assert found.faces[0].side == 64
    assert found.score == pytest.approx(1 / (1 + np.exp(8 - 250 / 16)))


def test_a_video_of_faces_cut_out_already_is_taken_whole(make_detector, write_clip, tmp_path):
    path = write_clip(tmp_path / "x.mp4", np.full((30, 240, 240, 3), 90, np.uint8))
    found = only(make_detector(qualities=()).predict(path, cropped=True))
    assert (found.verdict, found.scored) == ("real", 30)


def test_how_faces_were_cut_is_said_where_it_is_a_guess(make_detector):
    assert any("does not tell how its faces" in note for note in make_detector().notes(Options()))
    known = make_detector(faces=Faces("hog", 1.5, "", 3))
    assert known.notes(Options()) == ()
    other = make_detector(faces=Faces("centerface 09189deaaf8646c5", 1.3, "", 5))
    (note,) = other.notes(Options(detector="hog"))
    assert "found by hog" in note


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (Faces("yunet 0123", 1.3, "", 5), "a yunet model found .* --detector=FILE.onnx"),
        (Faces("hog", 1.3, "dlib 0123", 5), "turned upright by landmarks .* --landmarks=FILE"),
    ],
)
def test_files_that_a_detector_was_trained_with_are_asked_for(make_detector, faces, message):
    with pytest.raises(UserError, match=message):
        make_detector(faces=faces).predict("x.mp4")


def test_a_folder_of_frames_is_one_video_if_asked(make_detector, heads, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number, pixels in enumerate(heads(3)[:12]):
        write(folder / f"{number}.png", pixels // 2)
    assert len(list(make_detector().predict(folder))) == 12
    found = only(make_detector().predict(folder, frames=True))
    assert (found.seen.kind, found.scored, found.verdict) == ("video", 12, "real")


@pytest.fixture
def broken(heads, tmp_path, write_clip):
    """A video of 30 frames of which one in the middle is damaged."""
    path = write_clip(tmp_path / "broken.mp4", heads(3) // 2, g="1", bf="0")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[20]
    content[position + 20 : position + size] = bytes(255 for _ in range(size - 20))
    path.write_bytes(content)
    return path


def test_a_video_damaged_in_the_middle_is_never_real(make_detector, broken):
    found = only(make_detector().predict(broken))
    assert (found.verdict, found.why) == ("cannot say", "incomplete")
    assert "damaged" in found.problem
    assert 10 <= found.scored <= 25
    assert "what was seen is real" in found.reason


BAD = {
    "empty.mp4": b"",
    "text.mp4": b"not a video at all\n" * 50,
    "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
    "list.avi": b"ffconcat version 1.0\nfile /etc/passwd\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_and_the_others_go_on(make_detector, dark, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD[name])
    bad, good = make_detector().predict([path, dark])
    assert (bad.verdict, bad.why) == ("cannot say", "unreadable")
    assert bad.problem
    assert not bad.faces
    assert good.verdict == "real"


def test_missing_files_folders_and_odd_names_are_told(make_detector, tmp_path):
    (tmp_path / "hollow").mkdir()
    given = [tmp_path / "absent.mp4", tmp_path / "hollow", "/dev/zero", "a\0b.mp4"]
    reasons = [found.problem for found in make_detector().predict(given)]
    assert "does not exist" in reasons[0]
    assert reasons[1] == "a folder without files"
    assert reasons[2] == "not a regular file"
    assert "zero byte" in reasons[3]


def test_images_of_any_size_are_borne(make_detector, tmp_path):
    one = write(tmp_path / "one.png", np.zeros((1, 1, 3), np.uint8))
    flat = write(tmp_path / "flat.png", np.zeros((2, 3000, 3), np.uint8))
    # what a header says is enough to refuse it: nothing so large is decoded
    large = write(tmp_path / "large.png", np.zeros((8, 8, 3), np.uint8))
    content = bytearray(large.read_bytes())
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    large.write_bytes(content)
    found = list(make_detector().predict([one, flat, large]))
    assert [each.why for each in found] == ["no_face", "no_face", "unreadable"]
    assert found[2].problem


def test_a_list_comes_on_standard_input(make_detector, dark, tmp_path, monkeypatch):
    lines = f"{dark}\r\n\n{tmp_path / 'absent.mp4'}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    one, other = make_detector().predict("-")
    assert one.verdict == "real"
    assert other.path == tmp_path / "absent.mp4"


def test_nothing_to_judge_is_an_error(make_detector, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    for given in ([], ["-"]):
        with pytest.raises(UserError, match="nothing to judge"):
            list(make_detector().predict(given))


def test_a_score_that_is_no_number_is_told(make_detector, dark):
    detector = make_detector(scorer=lambda images: np.full(len(images), np.nan, np.float32))
    found = only(detector.predict(dark))
    assert (found.verdict, found.why) == ("cannot say", "no_score")
    assert any("no finite number" in note for note in found.notes)


def test_memory_does_not_grow_with_length(make_detector, heads, write_clip, tmp_path):
    """Peaks of a video and of one ten times as long, of what Python allocates, frames among it."""
    frames = heads(3) // 2
    peaks = []
    for times in (2, 20):
        path = write_clip(tmp_path / f"{times}.mp4", np.concatenate([frames] * times))
        tracemalloc.start()
        found = only(make_detector().predict(path))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.seen.frames == 30 * times
    assert peaks[1] < 1.15 * peaks[0] + 200_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_every": 0}, "score_every=0 must be between 1 and 1000"),
        ({"threshold": 1.5}, "threshold=1.5 must lie between 0 and 1"),
        ({"margin": 0.1}, "margin=0.1 must be between 0.5 and 4"),
        ({"detector": "absent.onnx"}, "absent.onnx"),
        ({"landmarks": "absent.dat"}, "absent.dat"),
    ],
)
def test_wrong_options_are_one_line_before_anything_is_looked_at(make_detector, options, message):
    with pytest.raises(UserError, match=message):
        make_detector().predict(["absent.mp4"], **options)


def test_a_run_scores_as_its_evaluation_does(trained, tiny_dataset):
    spec, scorer, heater = load_run(trained)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    network, variables, step = checkpoint.load_best(trained)
    scores, _ = make_predict(network, variables, spec.image_size)(images)
    np.testing.assert_allclose(1 / (1 + np.exp(-scorer(images))), scores, atol=2e-6)
    assert (spec.step, spec.image_size) == (step, 24)
    np.testing.assert_array_equal(heater(images), kdjax.Run(trained).heat_maps(images))


def test_heat_is_shown_beside_a_face_where_the_detector_tells(
    trained, dark, make_detector, tmp_path
):
    for detector, count in ((kdjax.Detector.load(trained), 2), (make_detector(), 1)):
        found = only(detector.predict(dark, any_quality=True, threshold=0.5))
        page = Page(detector, Path("run"))
        page.add(found)
        assert page.text().count("<img") == count * min(len(found.faces), FACES)
        assert ("what speaks for fake" in page.text()) == (count == 2)


def test_a_network_without_such_a_map_has_no_heat(trained, monkeypatch):
    monkeypatch.setattr(runs, "STAGE", "pooled")
    *_, heater = load_run(trained)
    assert heater(np.zeros((1, 32, 32, 3), np.uint8)) is None


def test_a_run_is_loaded_as_a_detector(trained, dark):
    detector = kdjax.Detector.load(trained)
    found = only(detector.predict(dark, any_quality=True, threshold=0.5))
    assert isinstance(found, Prediction)
    assert found.path == Path(dark)
    assert 0 < found.score < 1
    assert detector.score(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3,)


def test_what_is_no_detector_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"is not a run of `kdjax train`"):
        kdjax.Detector.load(tmp_path)


def test_what_judges_needs_no_jax_where_the_model_needs_none():
    program = (
        "import sys, kdjax.serve.detector, kdjax.serve.records, kdjax.serve.page\n"
        "found = {'jax', 'flax', 'orbax', 'tensorflow', 'tensorflow_datasets', 'grain'} & set(sys.modules)\n"
        "raise SystemExit(str(found) if found else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_export_judges_as_its_run_does(trained, bright, tmp_path):
    pytest.importorskip("flatbuffers")
    folder = kdjax.serve.export_run(trained, tmp_path / "export", formats=("stablehlo",)).folder
    options = {"any_quality": True, "threshold": 0.5}
    one, other = (
        only(kdjax.Detector.load(place).predict(bright, **options)) for place in (trained, folder)
    )
    assert other.score == pytest.approx(one.score, abs=1e-5)
    assert (other.verdict, other.scored) == (one.verdict, one.scored)


def test_an_export_of_a_newer_version_is_one_line(trained, tmp_path):
    pytest.importorskip("flatbuffers")
    folder = kdjax.serve.export_run(trained, tmp_path / "export", formats=("stablehlo",)).folder
    path = folder / "export.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99', 1))
    with pytest.raises(UserError, match="newer version of kdjax"):
        kdjax.Detector.load(folder)
