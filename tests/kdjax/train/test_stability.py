"""Every method at its defaults, at a low and a high learning rate and with a teacher of larger maps, does not break.

A teacher of no steps would teach nothing worth following: these have learned the tiny data set, with another seed. What
broke before: ADD's literal frequency term, whose weights explode (the last test shows that this file would see it).
"""

import importlib
import json
import math
from pathlib import Path

import pytest

from kdjax import configs
from kdjax.train import spikes
from kdjax.train.loop import train

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
STEPS = 60
SETTINGS = {
    "data.batch_size": "8",
    "train.steps": str(STEPS),
    "train.validation_interval": "20",
    "train.patience": "0",
    "train.devices": "1",
    "train.log_every": "1",
    "train.balance_steps": "5",
    "train.balance_every": "5",
    "train.gradient_ratio_every": "1",
    "evaluation.batch_size": "8",
    "optimizer.schedule": "one_cycle",
    "train.selection": "auc",
}
NETWORKS = {"tokd": "dual_resnet_tiny"}
SCALES = {"kd": 1.0, "ckd": 10.0, "add": 10.0, "tokd": 10.0, "qad": 1.0}
"""Factor on the teachers' features, by method; KD and QAD read none."""

MOST = 10.0
"""What no term's gradient may be beside the cross-entropy's, which a tiny data set makes small."""


@pytest.fixture(scope="module")
def teachers(tiny_dataset, tmp_path_factory):
    """Folders of trained teachers, by network."""
    found = {}
    for network in ("resnet_tiny", "dual_resnet_tiny"):
        found[network] = tmp_path_factory.mktemp("teachers") / network
        own = {"seed.student": "100", "student.qualities": "raw"}
        own |= {"optimizer.learning_rate": "2e-3", "data.path": str(tiny_dataset)}
        result = train(configs.load(f"supervised:{network}", {**SETTINGS, **own}), found[network])
        assert result["best_metric"] > 0.9
    return found


@pytest.fixture
def louder_teachers(monkeypatch):
    """The benchmarks' context manager that multiplies teachers' features."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("evidence_scale").louder_teachers


@pytest.fixture
def trained(tiny_dataset, teachers, tmp_path, louder_teachers):
    """The function that trains a student and returns its best AUC and its log."""

    def run(method, rate, scale=1.0, **changed):
        own = {"data.path": str(tiny_dataset), "optimizer.learning_rate": str(rate)}
        own |= {key.replace("__", "."): str(value) for key, value in changed.items()}
        if method not in ("supervised", "qad"):
            own["teacher.runs"] = str(teachers[NETWORKS.get(method, "resnet_tiny")])
        folder = tmp_path / method
        with louder_teachers(scale):
            result = train(configs.load(f"{method}:resnet_tiny", {**SETTINGS, **own}), folder)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if row["kind"] == "train"]
        assert len(rows) == STEPS
        return result["best_metric"], rows

    return run


@pytest.fixture(scope="module")
def known():
    """What students alone have reached, by learning rate."""
    return {}


def spiked(rows):
    """Returns the names of the teachers' terms that grew a hundredfold or were not finite."""
    # a value that is not finite is null in the log
    full = [
        {key: math.nan if value is None else value for key, value in row.items()} for row in rows
    ]
    found = spikes.watch_rows(spikes.Watch(), STEPS, full)[1]
    # a batch of one class throws a student alone off too: batch statistics
    excused = {
        spike.step for spike in found if spike.name == "cross_entropy" and math.isfinite(spike.size)
    }
    return {spike.name for spike in found if spike.step not in excused}


def late_shares(rows):
    """Returns the measured gradients over the cross-entropy's, from a tenth of the run on."""
    return [
        math.inf if value is None else value
        for row in rows
        if row["step"] > STEPS / 10
        for key, value in row.items()
        if key.startswith("gradient_ratio/")
    ]


@pytest.mark.parametrize(
    "rate",
    [pytest.param(2e-4, marks=pytest.mark.every), pytest.param(5e-3, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("method", SCALES)
def test_no_spike_no_harm_and_shares_that_stay(trained, known, method, rate):
    if rate not in known:
        known[rate], _ = trained("supervised", rate)
    best, rows = trained(method, rate, SCALES[method])
    assert not spiked(rows)
    assert best > known[rate] - 0.1
    shares = late_shares(rows)
    assert shares
    assert max(shares) < MOST


@pytest.mark.slow
def test_what_broke_before_would_be_seen(trained):
    _, rows = trained("add", 5e-3, 10.0, method__mode="paper", train__balance="none")
    assert max(late_shares(rows)) > MOST
