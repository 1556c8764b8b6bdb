"""The rendered faces and their forgeries, before they become records."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from kdjax.data_pipeline.builders.synthfaces import forgeries, plan, render
from kdjax.data_pipeline.builders.synthfaces.identity import draw_identity, draw_scene, swapped
from kdjax.data_pipeline.builders.synthfaces.motion import (
    State,
    draw_track,
    with_mouth_of,
    with_pose_of,
)
from kdjax.data_pipeline.builders.synthfaces.performance import Performance
from kdjax.data_pipeline.builders.synthfaces.produce import produce
from kdjax.data_pipeline.work import Work
from kdjax.types import FORGERIES

SIZE = plan.Size(
    image_size=48, seed=5, identities=12, clips_per_identity=1, frames_per_clip=2, clip_length=3
)
STILL = State(0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0, 0)


def performance(identity, clip=0, *, size=48, length=3):
    return Performance(5, identity, clip, length=length, size=size)


def forged(kind, target):
    return forgeries.forge(kind, target, performance(90), np.random.default_rng(0))


def detail(image):
    return np.abs(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F)).mean(axis=-1)


def test_a_person_is_made_the_same_twice_and_in_another_process():
    task = plan.tasks(SIZE, "train")[0]
    here, again = produce(task), produce(task)
    (there,) = Work(workers=1).run(produce, [task], keys=["one"])
    for name in ("raw", "c23", "c40", "masks"):
        np.testing.assert_array_equal(here[name], again[name])
        np.testing.assert_array_equal(here[name], there[name])


def test_the_seed_decides_everything():
    first = plan.tasks(SIZE, "train")[0]
    other = first._replace(size=replace(SIZE, seed=6))
    assert np.abs(produce(first)["raw"].astype(int) - produce(other)["raw"]).mean() > 10


def test_real_and_fake_take_turns_at_the_stored_positions():
    task = plan.tasks(SIZE, "test")[0]
    made = produce(task)
    target = Performance(5, task.identity, 0, length=3, size=48)
    assert SIZE.stored.tolist() == [0, 2]
    np.testing.assert_array_equal(made["raw"][0], target.frames[[0, 2]])
    assert not made["masks"][0].any()
    assert made["masks"][1].any()


def test_a_number_of_people_that_is_enough_is_told():
    with pytest.raises(ValueError, match="12 are enough"):
        replace(SIZE, identities=11)
    for identities in range(12, 200):
        replace(SIZE, identities=identities)


@pytest.mark.parametrize("identities", [12, 61])
@pytest.mark.parametrize("clips", [1, 3])
def test_no_person_crosses_splits_not_even_as_a_source(identities, clips):
    size = replace(SIZE, identities=identities, clips_per_identity=clips)
    members = {split: {task.identity for task in plan.tasks(size, split)} for split in plan.SPLITS}
    everyone = [identity for own in members.values() for identity in own]
    assert sorted(everyone) == list(range(identities))
    for split, own in members.items():
        for task in plan.tasks(size, split):
            sources = {forgery.source for forgery in task.forgeries}
            assert sources <= own - {task.identity}
            assert all(forgery.source_clip < clips for forgery in task.forgeries)


@pytest.mark.parametrize("split", plan.SPLITS)
def test_the_five_kinds_are_equally_frequent(split):
    size = replace(SIZE, identities=97, clips_per_identity=2)
    kinds = [forgery.kind for task in plan.tasks(size, split) for forgery in task.forgeries]
    counts = [kinds.count(kind) for kind in FORGERIES[1:6]]
    assert sum(counts) == len(kinds)
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("image_size", 31), ("image_size", 1024), ("seed", -1), ("clips_per_identity", 0)],
        *[("frames_per_clip", 4), ("frames_per_clip", 0), ("identities", 5)],
    ],
)
def test_sizes_that_cannot_be_made_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SIZE, **{field: value})


@pytest.mark.parametrize("kind", plan.KINDS)
def test_a_mask_marks_what_was_changed_and_nothing_else(kind):
    target = performance(2)
    made = forged(kind, target)
    changed = (made.frames != target.frames).any(axis=-1)
    inside = made.masks == 255
    assert set(np.unique(made.masks)) == {0, 255}
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.75
    assert 0.02 < inside.mean() < 0.5


def test_the_mouth_forgery_leaves_the_eyes_alone():
    target = performance(3)
    made = forged("mouth", target)
    grid, layout = target.renderer.head.grid, target.person.layout
    upper = (grid.y < layout.nose_y - 0.1).astype(np.float32)
    for state, mask in zip(target.states, made.masks, strict=True):
        assert not (mask[target.renderer.moved(upper, state) > 0.99]).any()
    assert (made.masks > 0).mean() < 0.5 * (forged("expression", target).masks > 0).mean()


def test_occlusion_keeps_a_hand_in_front_of_the_face():
    target = performance(4)
    target.scene = replace(target.scene, hand=True)
    made, whole = forged("occlusion", target), forged("autoencoder", target)
    kept = 0
    for state, frame, old, over in zip(
        target.states, made.frames, target.frames, whole.masks, strict=True
    ):
        hidden = target.renderer.occluders(state) > 0.99
        np.testing.assert_array_equal(frame[hidden], old[hidden])
        kept += (hidden & (over > 0)).sum()
    assert kept > 0


@pytest.mark.parametrize("kind", ["autoencoder", "expression", "mouth"])
def test_generated_faces_lack_the_camera_noise(kind):
    target = performance(6)
    made = forged(kind, target)
    inside = cv2.erode(made.masks[0], np.ones((9, 9))) > 0
    real, fake = detail(target.frames[0])[inside].mean(), detail(made.frames[0])[inside].mean()
    assert fake < 0.8 * real


def test_forgeries_keep_the_brightness_of_the_face():
    differences = [
        (forged(kind, target).frames.astype(float) - target.frames).mean()
        for target in map(performance, range(4))
        for kind in plan.KINDS
    ]
    assert abs(np.mean(differences)) < 1.0


def test_a_swap_takes_the_face_and_keeps_head_and_hair():
    first, second = (draw_identity(np.random.default_rng(seed)) for seed in (0, 1))
    person = swapped(first, second)
    assert person.appearance == second.appearance
    assert (person.layout, person.hair) == (first.layout, first.hair)
    scene = draw_scene(np.random.default_rng(0))
    old, new = (render.Renderer(who, scene, 48).frame(STILL) for who in (first, person))
    difference = np.abs(old - new).mean(axis=-1)
    assert difference[20:36, 16:32].mean() > 5
    assert difference[:4].max() == 0


def test_people_look_different_and_one_person_alike():
    scene = draw_scene(np.random.default_rng(0))
    people = [draw_identity(np.random.default_rng([7, index])) for index in range(8)]
    frames = [render.Renderer(person, scene, 48).frame(STILL) for person in people]
    for index, frame in enumerate(frames):
        same = render.Renderer(people[index], scene, 48).frame(STILL)
        np.testing.assert_array_equal(frame, same)
        for other in frames[:index]:
            assert np.abs(frame - other)[10:40, 12:36].mean() > 6


def test_the_camera_noise_is_signal_dependent_and_the_same_everywhere():
    scene = replace(draw_scene(np.random.default_rng(0)), read_noise=3.0, shot_noise=0.1)
    image = np.full((256, 256, 3), 60.0, np.float32)
    image[:, 128:] = 160.0
    noise = render.record(image, scene, np.random.default_rng(1)) - image
    rounding = 1 / 12
    for half, level in ((noise[:, :128], 60.0), (noise[:, 128:], 160.0)):
        np.testing.assert_allclose(half.var(), 9.0 + 0.1 * level + rounding, rtol=0.04)
        channels = np.corrcoef(half.reshape(-1, 3).T)
        np.testing.assert_allclose(channels[np.triu_indices(3, 1)], 0.5, atol=0.04)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ({"yaw": 0.2}, 1.0),
        ({"mouth_open": 0.15}, 0.5),
        ({"blink": 1.0}, 0.2),
        ({"brow": 0.03}, 0.05),
        ({"smile": 0.08}, 0.1),
        ({"roll": 0.1}, 2.0),
    ],
)
def test_every_movement_shows(change, least):
    renderer = performance(8).renderer
    moved = renderer.frame(replace(STILL, **change))
    assert np.abs(moved - renderer.frame(STILL)).mean() > least


def test_poses_and_mouths_are_carried_over_alone():
    first, second = (draw_track(np.random.default_rng(seed), 4) for seed in (0, 1))
    posed, voiced = with_pose_of(first, second)[2], with_mouth_of(first, second)[2]
    assert (posed.yaw, posed.scale, posed.smile) == (second[2].yaw, second[2].scale, first[2].smile)
    assert (voiced.mouth_open, voiced.yaw) == (second[2].mouth_open, first[2].yaw)


@pytest.mark.parametrize("kind", plan.KINDS)
def test_swaps_bring_another_face_and_reenactments_keep_it(kind):
    target, sources = performance(2), [performance(90), performance(91)]
    sources[1].states, sources[1].scene = sources[0].states, sources[0].scene
    first, second = (
        forgeries.forge(kind, target, source, np.random.default_rng(0)).frames for source in sources
    )
    assert (first == second).all() == (kind in ("expression", "mouth"))


def test_a_swapped_face_takes_on_the_colour_of_the_target():
    pale, dark = (performance(index) for index in (2, 2))
    dark.person = replace(
        dark.person, appearance=replace(dark.person.appearance, skin=(95.0, 62.0, 48.0))
    )
    pale.person = replace(
        pale.person, appearance=replace(pale.person.appearance, skin=(236.0, 196.0, 172.0))
    )
    for kind in ("autoencoder", "graphics", "occlusion"):
        made = forgeries.forge(kind, pale, dark, np.random.default_rng(0))
        inside = cv2.erode(made.masks[0], np.ones((9, 9))) > 0
        shift = made.frames[0][inside].mean(axis=0) - pale.frames[0][inside].mean(axis=0)
        assert np.abs(shift).max() < 25


def test_the_lens_blurs_the_whole_frame():
    person, scene = performance(1).person, performance(1).scene
    sharp, soft = (
        detail(render.Renderer(person, replace(scene, blur=blur), 48).frame(STILL))
        for blur in (0.3, 1.2)
    )
    for part in (np.s_[:20, :10], np.s_[16:32, 16:32]):
        assert soft[part].mean() < 0.7 * sharp[part].mean()
