"""Which frames are taken from a video, and how a still image moves."""

import numpy as np
import pytest

from kdjax.data_pipeline import clips, video


def numbered(make, path, count):
    """Writes a video whose frame k is grey of brightness 40 + 4 k."""
    frames = np.stack([np.full((32, 32, 3), 40 + 4 * k, np.uint8) for k in range(count)])
    return make.write_video(path, frames, crf="1")


def numbers(frames):
    return [round((float(frame.mean()) - 40) / 4) for frame in frames]


def sample(path, count, length, max_side=64):
    with video.open_media(path) as media:
        return list(clips.sample_clips(media, count, length, max_side=max_side))


def test_clips_are_evenly_spread_with_their_neighbours(make, tmp_path):
    found = sample(numbered(make, tmp_path / "a.mp4", 30), 3, 6)
    assert [clip.position for clip in found] == [5, 15, 25]
    # The wanted frame lies at index 2 * 6 // 3 = 4; the last clip is moved to fit: 24..29.
    assert [numbers(clip.frames) for clip in found] == [
        [1, 2, 3, 4, 5, 6],
        [11, 12, 13, 14, 15, 16],
        [21, 22, 23, 24, 25, 26],
    ]
    assert [clip.anchor for clip in found] == [4, 4, 4]


def test_clips_at_the_ends_stay_inside_and_may_overlap(make, tmp_path):
    found = sample(numbered(make, tmp_path / "a.mp4", 8), 8, 6)
    assert [clip.position for clip in found] == list(range(8))
    for clip in found:
        assert numbers(clip.frames[clip.anchor : clip.anchor + 1]) == [clip.position]
        assert len(clip.frames) == 6


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_short_video_gives_what_it_has(make, tmp_path, count):
    found = sample(numbered(make, tmp_path / "a.mp4", count), 16, 8)
    assert [clip.position for clip in found] == list(range(count))
    assert all(len(clip.frames) == count for clip in found)


def test_large_frames_shrink_in_proportion(make, tmp_path):
    path = make.write_image(tmp_path / "a.png", make.moving_frames(1, 100, 200)[0])
    assert sample(path, 1, 8, max_side=50)[0].frames.shape == (1, 25, 50, 3)
    assert sample(path, 1, 8, max_side=200)[0].frames.shape == (1, 100, 200, 3)


def test_a_still_becomes_a_clip_whose_wanted_frame_is_itself(make):
    image = make.moving_frames(1)[0]
    clip = clips.still_to_clip(image, 9, seed=5)
    assert clip.frames.shape == (9, 64, 96, 3)
    assert clip.anchor == 6
    np.testing.assert_array_equal(clip.frames[clip.anchor], image)


def test_a_still_moves_slowly_and_the_same_way_for_the_same_seed(make):
    image = make.moving_frames(1)[0]
    clip = clips.still_to_clip(image, 9, seed=5)
    distance = [np.abs(frame.astype(float) - image).mean() for frame in clip.frames]
    assert distance[0] > distance[3] > distance[5] > distance[6] == 0 < distance[7] < distance[8]
    assert distance[0] < np.abs(np.roll(image, 5, 1).astype(float) - image).mean()
    np.testing.assert_array_equal(clip.frames, clips.still_to_clip(image, 9, seed=5).frames)
    assert (clip.frames != clips.still_to_clip(image, 9, seed=6).frames).any()
