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

from kdjax import cli, configs, termination
from kdjax.checks import UserError
from kdjax.train import checkpoint, hosts
from kdjax.train.claim import agreed, source_digest
from kdjax.train.loop import train
from kdjax.train.setup import make_plan

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


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("ckd", marks=pytest.mark.slow),
        *(
            pytest.param(name, marks=pytest.mark.every)
            for name in ("supervised", "kd", "add", "tokd", "qad")
        ),
    ],
)
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    sys.exit(str(error))
"""


@pytest.mark.slow
def test_a_host_that_never_comes_ends_the_wait_in_time():
    place = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-c", MEET, place], capture_output=True, text=True, timeout=120
    )
    assert f"waiting for all hosts at {place}, for 3 s at most" in done.stderr
    assert f"the hosts did not meet at {place} within 3 s; this is host 0 of 2" in done.stderr
    assert done.returncode == 1


@pytest.mark.slow
def test_hosts_that_were_told_of_other_numbers_end_at_once():
    place = f"127.0.0.1:{free_port()}"
    code = MEET.replace("2, 0, patience=3", "int(sys.argv[2]), int(sys.argv[3]), patience=60")
    code = code.replace(
        "sys.exit(str(error))", "print(error, file=sys.stderr); termination.leave(2)"
    )
    code = code.replace("import sys", "import sys\nfrom kdjax import termination")
    first, second = finish(
        [
            subprocess.Popen(
                [sys.executable, "-c", code, place, count, index],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for count, index in (("2", "0"), ("3", "1"))
        ],
        code=2,
    )
    said = "the hosts do not agree on --hosts: host {} was told {}, host {} {}; start all with the same"
    assert said.format(0, 2, 1, 3) in first
    assert said.format(1, 3, 0, 2) in second


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("host0", 2, 0), "--coordinator=host0 must be HOST:PORT"),
        (("host0:port", 2, 0), "--coordinator=host0:port must be HOST:PORT"),
        ((":1234", 2, 0), "--coordinator=:1234 must be HOST:PORT"),
        (("host0:70000", 2, 0), "a port from 1 to 65535"),
        (("host0:0", 2, 0), "a port from 1 to 65535"),
        (("host0:1234", None, 0), "also needs --hosts=N"),
        (("host0:1234", 2, None), "also needs --host=I"),
        (("host0:1234", 0, 0), "--hosts=0 must be at least 1"),
        (("host0:1234", 2, 2), "--host=2: with --hosts=2 they are counted from 0 to 1"),
        (("host0:1234", 2, -1), "--host=-1: with --hosts=2"),
        (("", 2, None), "--hosts=2 needs --coordinator"),
        (("", None, 0), "--host=0 needs --coordinator"),
    ],
)
def test_flags_that_do_not_fit_are_refused_by_name(told, said):
    with pytest.raises(UserError) as refused:
        hosts.join(*told)
    assert said in str(refused.value)


def test_a_cluster_and_an_address_are_not_both_taken(capsys, tmp_path):
    words = ["train", "--config=supervised", f"--workdir={tmp_path / 'run'}", "--distributed"]
    assert cli.main([*words, "--coordinator=host0:1234", "--host=1"]) == 2
    assert "leave it out, or --coordinator and --host\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text", "kind"),
    [
        (2, "UNKNOWN: Gloo AllGather failed: Connection reset by peer", UserError),
        (2, "RESOURCE_EXHAUSTED: Out of memory", jax.errors.JaxRuntimeError),
        (1, "UNKNOWN: Gloo AllGather failed", jax.errors.JaxRuntimeError),
    ],
)
def test_only_what_another_hosts_end_raises_is_told_as_such(count, text, kind, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: count)
    monkeypatch.setattr(termination, "_abandoned", False)
    with pytest.raises(kind), hosts.losses_told():
        raise jax.errors.JaxRuntimeError(text)
    assert termination._abandoned == (kind is UserError)


def test_one_process_is_a_whole():
    rows = {"scores": np.arange(5, dtype=np.float32)}
    assert hosts.is_first()
    assert hosts.gather_rows(rows) == rows
    assert [hosts.largest(value, meet=False) for value in (3, 0)] == [3, 0]
    assert hosts.on_first(lambda: 3) == 3
    hosts.check_agreement({"anything": object()})


def test_hosts_of_other_code_are_told_apart(tmp_path):
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "one.py").write_text("x = 1\n")
    first = source_digest(folder)
    assert first == source_digest(folder) != source_digest(tmp_path)
    (folder / "notes.txt").write_text("no code")
    assert source_digest(folder) == first
    (folder / "inner" / "one.py").write_text("x = 2\n")
    assert source_digest(folder) != first


@pytest.mark.parametrize(
    "name", ["kdjax's code", "JAX's version", "your program", "kdjax's version"]
)
def test_code_is_agreed_on(name, tiny_dataset):
    own = settings(tiny_dataset)
    plan = make_plan(configs.load("supervised:resnet_tiny", own))
    assert agreed(plan)[name] == agreed(plan)[name]
    assert name == "your program" or agreed(plan)[name]
