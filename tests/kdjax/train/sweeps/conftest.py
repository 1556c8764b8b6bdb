"""What stands in for training and evaluating in tests of sweeps: folders as a finished run leaves them, in no time."""

import csv

import numpy as np
import pytest

from kdjax import configs
from kdjax.evaluate.evaluator import summarize
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.train.sweeps import attempts, work

COUNT = 40


class StandIns:
    """Notes what was trained and evaluated, and writes the files that say so.

    Attributes:
      trained: `(folder, seed, steps)` of each training.
      evaluated: the folder of each evaluation.
      failing: by steps, what a training raises.
      groups: the seeds of each group.
    """

    def __init__(self):
        self.trained, self.evaluated, self.failing, self.groups = [], [], {}, []

    def train(self, config, run, extensions):
        run.mkdir(parents=True, exist_ok=True)
        files = RunFolder(run)
        if not files.is_run:
            write_json(files.config, configs.to_json(config))
        self.trained.append((run.name, config.seed.student, config.train.steps))
        if error := self.failing.get(config.train.steps):
            raise error
        (files.best / "3").mkdir(parents=True, exist_ok=True)
        files.finish({"step": 3})

    def train_group(self, members):
        self.groups.append([member.config.seed.student for member in members])
        found = []
        for member in members:
            try:
                found.append(self.train(*member))
            except Exception as error:
                found.append(error)
        return found

    def evaluate(self, run, split, extensions):
        self.evaluated.append(run.name)
        config = RunFolder(run).read_config()
        found = evaluation(config["seed"]["student"], 3.0 if config["train"]["steps"] else 0.5)
        found.save(RunFolder(run).evaluation, split)
        return found


def evaluation(seed, strength):
    """Returns scores of a network that tells fakes by so much."""
    rng = np.random.default_rng(seed)
    labels = np.arange(COUNT) % 2
    logits = rng.normal(size=COUNT) + labels * strength
    names = ("labels", "forgery", "video", "identity", "index")
    columns = dict.fromkeys(names, np.arange(COUNT)) | {"labels": labels}
    return summarize({"c40": 1 / (1 + np.exp(-logits))}, columns, step=3)


@pytest.fixture
def stand_ins(monkeypatch):
    """Stands in for training and evaluating; evaluations on the disk are read as they are."""
    found = StandIns()
    monkeypatch.setattr(attempts, "train_group", found.train_group)
    monkeypatch.setattr(attempts, "evaluated", found.evaluate)
    monkeypatch.setattr(work, "check_plan", lambda config, extensions: None)
    return found


@pytest.fixture
def sweep():
    """The function that runs a sweep of tiny runs in a folder, one after the other unless a `group` is given."""

    def run(folder, rows, *, group=1, **options):
        common = {"seed.student": "3"}
        return work.sweep(rows, "supervised:resnet_tiny", common, folder, group=group, **options)

    return run


@pytest.fixture
def table():
    """The function that reads a table of a sweep."""

    def read(path):
        with path.open() as file:
            return list(csv.DictReader(file))

    return read
