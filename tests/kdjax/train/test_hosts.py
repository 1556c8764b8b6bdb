"""Several hosts, as processes of this machine that meet by JAX's runtime: the run of one process on as many devices."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.train import checkpoint, hosts
from kdjax.train.loop import train

# what takes two processes is of `make test-every` until it is ready: docs/hosts.md
SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "4",
    "train.validation_interval": "2",
    "train.log_every": "1",
    "optimizer.name": "sgd",
    "optimizer.schedule": "constant",
    "optimizer.learning_rate": "1e-2",
    "evaluation.batch_size": "6",
}
TAUGHT = ("ckd", "tokd", "add", "kd")


def settings(data, teacher="", **own):
    found = {**SETTINGS, "data.path": str(data)}
    if teacher:
        found["teacher.runs"] = str(teacher)
    return found | {key.replace("__", "."): str(value) for key, value in own.items()}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(spec, run, changed, *, count=2, devices=2, other=None):
    """Starts the processes of a run; `other` is what the last one's settings have instead."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=4", f"device_count={devices}")
    port = free_port()
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "kdjax", "train", f"--config={spec}", f"--workdir={run}"),
                *(f"--coordinator=127.0.0.1:{port}", f"--hosts={count}", f"--host={index}"),
                *(
                    f"--config.{key}={value}"
                    for key, value in (
                        changed | (other or {}) if index == count - 1 else changed
                    ).items()
                ),
            ],
            env={**os.environ, "XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def finish(processes, code=0):
    """Waits for processes; returns what each said on stderr."""
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), said
    return said


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_equal(found, expected):
    """Compares the weights and the logs of two runs, to what the order of sums leaves of float32."""
    for load in (checkpoint.load_latest, lambda run: checkpoint.load_best(run)[1]):
        leaves = jax.tree_util.tree_leaves_with_path(load(expected))
        others = dict(jax.tree_util.tree_leaves_with_path(load(found)))
        for path, leaf in leaves:
            np.testing.assert_allclose(
                others[path], leaf, rtol=1e-3, atol=2e-5 * max(1.0, np.abs(leaf).max()), err_msg=str(path)
            )  # fmt: skip
    ours, theirs = metrics(found), metrics(expected)
    assert [(row["kind"], row["step"]) for row in ours] == [
        (row["kind"], row["step"]) for row in theirs
    ]
    for own, other in zip(ours, theirs, strict=True):
        assert own.keys() == other.keys()
        if own["kind"] == "train":
            assert own["loss"] == pytest.approx(other["loss"], rel=1e-3)


@pytest.fixture(scope="module")
def teachers(tiny_dataset, tmp_path_factory):
    """A teacher of one branch, and one of two."""
    folder = tmp_path_factory.mktemp("teachers")
    for network in ("resnet_tiny", "dual_resnet_tiny"):
        own = {"student__qualities": "raw", "train__steps": 4, "seed__student": 7}
        train(
            configs.load(f"supervised:{network}", settings(tiny_dataset, **own)), folder / network
        )
    return {
        "tokd": folder / "dual_resnet_tiny",
        **dict.fromkeys(("ckd", "add", "kd"), folder / "resnet_tiny"),
    }


@pytest.mark.every
@pytest.mark.parametrize("method", ["supervised", "kd", "ckd", "add", "tokd", "qad"])
def test_two_hosts_of_two_devices_are_one_process_of_four_and_of_one(
    teachers, tiny_dataset, tmp_path, method
):
    changed = settings(tiny_dataset, teachers.get(method, ""))
    if method == "tokd":
        # rotations have to come to rest
        changed["optimizer.schedule"] = "one_cycle"
    spec = f"{method}:resnet_tiny"
    said = finish(start(spec, tmp_path / "hosts", changed))
    assert "validation accuracy" in said[0]
    # one speaks and writes for all
    assert "validation accuracy" not in said[1]
    for devices in (4, 1):
        run = tmp_path / f"devices{devices}"
        train(configs.load(spec, {**changed, "train.devices": str(devices)}), run)
        check_equal(tmp_path / "hosts", run)


@pytest.mark.every
def test_what_two_hosts_saved_one_goes_on_with(teachers, tiny_dataset, tmp_path):
    """One of them is asked to stop: both do, after the same step."""
    changed = settings(tiny_dataset, teachers["ckd"], train__steps=400, train__log_every=2)
    changed["train.validation_interval"] = "100"
    processes = start("ckd:resnet_tiny", tmp_path / "run", changed)
    deadline = time.monotonic() + 300
    log = tmp_path / "run" / "metrics.jsonl"
    while (not log.exists() or not log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [75, 75], said
    step = checkpoint.latest_step(tmp_path / "run")
    assert step is not None
    assert step % 2 == 0
    assert 0 < step < 400
    assert metrics(tmp_path / "run")[-1]["step"] == step
    config = configs.load("ckd:resnet_tiny", {**changed, "train.devices": "1"})
    assert train(config, tmp_path / "run")["step"] == 400
    train(config, tmp_path / "whole")
    assert [row["step"] for row in metrics(tmp_path / "run")] == [
        row["step"] for row in metrics(tmp_path / "whole")
    ]
    first = [metrics(tmp_path / run)[step // 2 - 1]["loss"] for run in ("run", "whole")]
    assert first[0] == pytest.approx(first[1], rel=1e-2)


@pytest.mark.every
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed.data": "5"}, "do not agree on seed.data: host 0 has 0, host 1 5"),
        ({"data.path": "elsewhere"}, "do not agree on the data set"),
    ],
)
def test_hosts_that_disagree_are_told_of_before_anything_is_written(
    tiny_dataset, labelled_dataset, tmp_path, other, words
):
    if "data.path" in other:
        other = {"data.path": str(labelled_dataset(lambda number: number % 3 == 0))}
    changed = settings(tiny_dataset)
    for said in finish(
        start("supervised:resnet_tiny", tmp_path / "run", changed, other=other), code=2
    ):
        assert words in said
        assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.every
def test_what_the_first_host_refuses_ends_all(tiny_dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    first, second = finish(
        start("supervised:resnet_tiny", tmp_path / "run", settings(tiny_dataset)), code=2
    )
    assert "is not empty and not a run" in first
    assert "host 0: " in second
    assert "is not empty and not a run" in second


MEET = """
import sys
from kdjax.checks import UserError
from kdjax.train import hosts
try:
    hosts.join(sys.argv[1], 2, 0, patience=3)
except UserError as error:
    print(error)
"""


@pytest.mark.every
def test_a_host_that_never_comes_is_named_in_time():
    place = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-c", MEET, place], capture_output=True, text=True, timeout=120
    )
    assert f"the hosts did not meet at {place} within 3 s" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "told",
    [
        {"coordinator": "host0", "count": 2, "index": 0},
        {"coordinator": "host0:port", "count": 2, "index": 0},
        {"coordinator": "host0:1234", "count": 0, "index": 0},
        {"coordinator": "host0:1234", "count": 2, "index": 2},
        {"coordinator": "host0:1234", "count": 2, "index": -1},
        {"count": 2},
        {"index": 0},
    ],
)
def test_numbers_that_do_not_fit_are_refused(told):
    with pytest.raises(UserError, match="HOST:PORT"):
        hosts.join(**told)


def test_one_process_is_a_whole():
    rows = {"scores": np.arange(5, dtype=np.float32)}
    assert hosts.is_first()
    assert hosts.gather_rows(rows) == rows
    assert [hosts.largest(value, meet=False) for value in (3, 0)] == [3, 0]
    assert hosts.on_first(lambda: 3) == 3
    hosts.check_agreement({"anything": object()})
