"""Students side by side on one stream of lessons: each ends as it would alone, bit for bit, whatever befalls others."""

import signal

import jax
import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import Terminated, UserError
from kdjax.defaults import PARTS, TRACED
from kdjax.folder import RunFolder
from kdjax.models.weights.runs import best_steps, last_step, restore
from kdjax.train import lessons, loop, room, trainer
from kdjax.train.grouping import check_alike, group_key, plan_like, traced_keys
from kdjax.train.initial import blank_batch, initial_state
from kdjax.train.lessons import Kept
from kdjax.train.loop import Member, train, train_group
from kdjax.train.setup import make_plan
from kdjax.train.step import make_lesson, make_student_step

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "12",
    "train.validation_interval": "3",
    "train.validations_per_epoch": "2",
    "train.patience": "0",
    "train.devices": "1",
    "train.log_every": "4",
    "train.gradient_ratio_every": "1",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}
OTHERS = [
    {"seed__student": 1, "method__contrast_weight": 0.2},
    {"seed__student": 2, "optimizer__learning_rate": 3e-3, "method__temperature": 0.2},
]


@pytest.fixture(scope="module")
def teacher(tiny_dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "teacher"
    train(configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(tiny_dataset)}), run)
    return run


@pytest.fixture
def config_for(tiny_dataset, teacher):
    def make(spec="ckd:resnet_tiny", **changed):
        own = {key.replace("__", "."): str(value) for key, value in changed.items()}
        paths = {"data.path": str(tiny_dataset)}
        if not spec.startswith(("supervised", "qad")):
            paths["teacher.runs"] = str(teacher)
        return configs.load(spec, {**SETTINGS, **paths, **own})

    return make


def members_of(configurations, folder):
    return [Member(each, folder / str(number)) for number, each in enumerate(configurations)]


def assert_same_runs(one, other):
    for name in ("metrics.jsonl", "finished.json", "config.json", "inputs.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert best_steps(one) == best_steps(other)
    for kind, step in (
        ("checkpoints", last_step(one / "checkpoints")),
        ("best", best_steps(one)[0]),
    ):
        item = "state" if kind == "checkpoints" else "default"
        trees = (restore(run / kind, step, item) for run in (one, other))
        jax.tree.map(np.testing.assert_array_equal, *trees)


@pytest.mark.parametrize(
    "devices",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.every)],
)
def test_each_ends_as_it_would_alone_and_batches_and_teachers_are_asked_once(
    config_for, tmp_path, monkeypatch, devices
):
    own = [config_for(train__devices=devices, **changed) for changed in ({}, *OTHERS)]
    for member in members_of(own, tmp_path / "alone"):
        train(*member)
    given, read = [], []
    give, validation = lessons.Lessons.give, loop.batches.validation
    monkeypatch.setattr(
        lessons.Lessons, "give", lambda self, state: given.append(1) or give(self, state)
    )
    monkeypatch.setattr(loop.batches, "validation", lambda plan: read.append(1) or validation(plan))
    found = train_group(members_of(own, tmp_path / "group"))
    assert [each["step"] for each in found] == [12] * 3
    assert (len(given), len(read)) == (12, 1)
    for number in range(3):
        assert_same_runs(*(tmp_path / kind / str(number) for kind in ("alone", "group")))
    runs = [tmp_path / f"group/{number}" for number in range(2)]
    first, second = (restore(run / "best", best_steps(run)[0], "default") for run in runs)
    assert not np.array_equal(*(jax.tree.leaves(each)[0] for each in (first, second)))


@pytest.mark.slow
def test_one_stops_early_and_the_others_go_on(config_for, tmp_path):
    # a rate that moves nothing: no validation is better than the first
    changed = {"train__patience": 2}
    own = [
        config_for("supervised:resnet_tiny", **changed, optimizer__learning_rate=rate)
        for rate in (1e-12, 5e-3)
    ]
    for member in members_of(own, tmp_path / "alone"):
        train(*member)
    found = train_group(members_of(own, tmp_path / "group"))
    assert found[0]["stopped_early"]
    assert found[0]["step"] < found[1]["step"]
    for number in range(2):
        assert_same_runs(*(tmp_path / kind / str(number) for kind in ("alone", "group")))


def test_one_diverges_and_the_others_go_on(config_for, tmp_path, capsys):
    spec = "supervised:resnet_tiny"
    own = [config_for(spec, optimizer__learning_rate=rate) for rate in (1e30, 5e-3)]
    found = train_group(members_of(own, tmp_path / "group"))
    assert isinstance(found[0], UserError)
    assert "not finite" in str(found[0]) or "diverged" in str(found[0])
    assert RunFolder(tmp_path / "group/0").broken.is_dir()
    assert found[1]["step"] == 12
    train(own[1], tmp_path / "alone")
    assert_same_runs(tmp_path / "alone", tmp_path / "group/1")
    # its folder is free
    with pytest.raises(UserError, match=r"not finite|diverged"):
        train(own[0], tmp_path / "group/0")


def test_one_whose_folder_is_no_place_fails_alone(config_for, tmp_path):
    own = [config_for("supervised:resnet_tiny", seed__student=seed) for seed in (1, 2)]
    (tmp_path / "0").write_text("a file")
    found = train_group(members_of(own, tmp_path))
    assert isinstance(found[0], UserError)
    assert found[1]["step"] == 12


@pytest.mark.slow
def test_a_signal_saves_all_and_the_same_group_goes_on_bit_for_bit(
    config_for, tmp_path, monkeypatch, handled
):
    own = [config_for(**changed) for changed in ({}, *OTHERS)]
    whole, cut = members_of(own, tmp_path / "whole"), members_of(own, tmp_path / "cut")
    train_group(whole)
    # the first is ahead of the others
    advance = trainer.Trainer.advance

    def asked(self, *given):
        metrics = advance(self, *given)
        if self.step == 5 and self.folder.name == "0":
            signal.raise_signal(signal.SIGTERM)
        return metrics

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "advance", asked)
        with pytest.raises(KeyboardInterrupt) as caught:
            train_group(cut)
    assert isinstance(caught.value, Terminated)
    steps = [last_step(member.run / "checkpoints") for member in cut]
    # the signal came when the first had done its step, and it has been saved at its last validation
    assert steps == [3, 5, 5]
    assert [each["step"] for each in train_group(cut)] == [12] * 3
    for one, other in zip(whole, cut, strict=True):
        assert_same_runs(one.run, other.run)


@pytest.mark.slow
def test_those_who_are_ahead_go_on_where_the_one_behind_has_failed(
    config_for, tmp_path, monkeypatch
):
    own = [config_for("supervised:resnet_tiny", seed__student=seed) for seed in (1, 2)]
    members, advance = members_of(own, tmp_path / "group"), trainer.Trainer.advance

    def failing(self, *given):
        if self.step == 4 and self.folder.name == "0":
            raise UserError("broken")
        if self.step == 9 and not (tmp_path / "cut").exists():
            (tmp_path / "cut").touch()
            raise KeyboardInterrupt
        return advance(self, *given)

    monkeypatch.setattr(trainer.Trainer, "advance", failing)
    with pytest.raises(KeyboardInterrupt):
        train(*members[1])
    assert last_step(members[1].run / "checkpoints") == 9
    found = train_group(members)
    assert isinstance(found[0], UserError)
    monkeypatch.undo()
    train(own[1], tmp_path / "alone")
    assert_same_runs(tmp_path / "alone", members[1].run)


def test_a_finished_one_joins_without_a_step(config_for, tmp_path):
    own = [config_for("supervised:resnet_tiny", seed__student=seed) for seed in (1, 2)]
    members = members_of(own, tmp_path)
    (first,) = train_group(members[:1])
    before = (members[0].run / "metrics.jsonl").read_bytes()
    assert train_group(members)[0] == first
    assert (members[0].run / "metrics.jsonl").read_bytes() == before
    assert RunFolder(members[1].run).is_finished


@pytest.mark.slow
def test_those_that_find_no_room_are_told_and_can_follow(config_for, tmp_path, monkeypatch):
    own = [config_for("supervised:resnet_tiny", seed__student=seed) for seed in (1, 2, 3)]
    members = members_of(own, tmp_path)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(initial_state(make_plan(own[0]))))
    monkeypatch.setattr(room, "free_bytes", lambda device: 2 * room.COPIES * size * 2)
    found = train_group(members)
    assert [type(each) for each in found] == [dict, dict, MemoryError]
    assert not members[2].run.exists()
    assert train_group(members[2:])[0]["step"] == 12


def test_free_memory_is_the_machines(monkeypatch, tmp_path):
    (device,) = jax.local_devices()[:1]
    assert 2**20 < room.free_bytes(device) < 2**50
    (tmp_path / "meminfo").write_text("MemTotal:  10 kB\nMemAvailable:   7 kB\n")
    monkeypatch.setattr(room, "MEMORY", tmp_path / "meminfo")
    assert room.free_bytes(device) == 7 * 1024
    state = np.zeros(64, np.float32)
    # half of 7168 bytes over 3 copies of 256, on one device and on four that share the memory
    assert [room.room(state, devices) for devices in (1, 4)] == [4, 1]
    monkeypatch.setattr(room, "MEMORY", tmp_path / "none")
    assert room.room(state, 1) == 10**6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data__batch_size": 16}, r"data\.batch_size is 8 and 16 in two students"),
        ({"method__negatives": 7}, r"method\.negatives is 32 and 7"),
        ({"method__contrast_weight": 0}, r"method\.contrast_weight is 0\.1 and 0"),
        ({"seed__data": 5}, r"seed\.data is 0 and 5"),
    ],
)
def test_what_differs_in_more_than_numbers_is_no_group(config_for, tmp_path, changed, message):
    pair = [config_for(), config_for(**changed)]
    assert group_key(pair[0]) != group_key(pair[1])
    with pytest.raises(UserError, match=message):
        train_group(members_of(pair, tmp_path))
    assert not list(tmp_path.iterdir())


def test_notes_and_numbers_may_differ(config_for):
    pair = [config_for(), config_for(**OTHERS[1], optimizer__rotation_learning_rate=1e-4)]
    assert group_key(pair[0]) == group_key(pair[1])
    check_alike(pair, [None, None])


def test_batches_that_are_too_many_are_read_each_time():
    read = []

    def batches():
        read.append(1)
        yield from [{"image": {"raw": np.zeros(10, np.uint8)}}] * 3

    few, many = Kept(batches, 30), Kept(batches, 29)
    assert [len(list(few())) for _ in range(3)] == [3] * 3
    assert len(read) == 1
    assert [len(list(many())) for _ in range(3)] == [3] * 3
    assert len(read) == 4
    # one that was not read to its end is not kept
    cut = Kept(batches, 30)
    next(cut())
    assert len(list(cut())) == 3


def test_the_numbers_that_are_told_to_be_traced_are_those_that_methods_trace(config_for):
    for part, names in TRACED.items():
        assert set(names) <= set(PARTS[part]), part
        assert all(isinstance(PARTS[part][name], float) for name in names)
    config = config_for("combine:resnet_tiny", method__parts="kd,qad")
    assert {"method.kd.kd_weight", "method.qad.gamma"} < traced_keys(config)
    assert "method.ckd.temperature" not in traced_keys(config)
    assert traced_keys(config) <= dict(configs.flatten(config)).keys()


CASES = [
    ("supervised", {}),
    ("kd", {}),
    ("ckd", {}),
    ("baselines", {"loss": "rkd", "weight": 0.5}),
    *(
        pytest.param("baselines", {"loss": loss, "weight": 0.5}, marks=pytest.mark.every)
        for loss in ("fitnet", "crd")
    ),
    pytest.param("baselines", {"loss": "sam"}, marks=pytest.mark.slow),
    pytest.param("add", {}, marks=pytest.mark.slow),
    pytest.param("qad", {"student.qualities": "raw,c40"}, marks=pytest.mark.slow),
    pytest.param("combine", {"parts": "kd,ckd"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_number_is_no_constant_of_the_step(config_for, name, options):
    """The step of a student with other numbers is the same program, to the letter."""
    changed = {key if "." in key else f"method.{key}": value for key, value in options.items()}
    if options.get("loss") == "sam":
        changed["teacher.runs"] = ""
    config = config_for(f"{name}:resnet_tiny", **changed)
    numbers = {
        key: 1.5 * value
        for key, value in configs.flatten(config)
        if key in traced_keys(config) - {"seed.student"} and value > 0
    }
    plan = make_plan(config)
    other = plan_like(plan, config_for(f"{name}:resnet_tiny", **{**changed, **numbers}))
    assert all(other.method.hyper[key] != value for key, value in plan.method.hyper.items())
    state = initial_state(plan)
    given = (state.data_key, state.step, plan.teacher_variables, blank_batch(plan))
    lesson = jax.eval_shape(make_lesson(plan.parts), *given)
    steps = [jax.jit(make_student_step(each.parts)) for each in (plan, other)]
    one, two = (step.lower(state, lesson).as_text() for step in steps)
    assert one == two
