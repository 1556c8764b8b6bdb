"""Run folders with plausible content, for the tests of what reads them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kdjax.evaluate.evaluator import summarize

COUNT = 60
LABELS = (np.arange(COUNT) % 2).astype(np.int32)
FORGERY = np.where(LABELS == 1, 1 + np.arange(COUNT) // 2 % 3, 0).astype(np.int32)


def make_config(**changes):
    config = {
        "method": {"name": "add", "views": 12},
        "student": {"network": "resnet18_thin", "qualities": ["c40"]},
        "teacher": {"runs": ["runs/teacher"], "quality": "raw"},
        "optimizer": {"learning_rate": 2e-4},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


def make_evaluation(strength=1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores, points = {}, {}
    for quality, factor in (("raw", 3.0), ("c23", 2.0), ("c40", 1.0)):
        margin = strength * factor * (LABELS - 0.5) + rng.standard_normal(COUNT)
        scores[quality] = (1 / (1 + np.exp(-margin))).astype(np.float32)
        points[quality] = margin[:, None]
    columns = {
        "labels": LABELS.copy(),
        "forgery": FORGERY,
        "video": (np.arange(COUNT) // 4 * 2 + LABELS).astype(np.int32),
        "identity": (np.arange(COUNT) // 10).astype(np.int32),
        "index": np.arange(COUNT, dtype=np.int32),
    }
    return summarize(
        scores, columns, points, step=40, parameters=1234567, dataset={"name": "synthfaces"}
    )


def make_lines(steps=50):
    for step in range(10, steps + 1, 10):
        yield {
            "step": step,
            "epoch": step / 25,
            "kind": "train",
            "loss": 3 / step + 0.2,
            "cross_entropy": 2 / step,
            "frequency_attention": 0.0 if step < 20 else 1 / step + 0.2,
            "accuracy": 0.5 + step / 200,
            "gradient_ratio/frequency_attention": 0.4,
            "learning_rate": 1e-4,
        }
        yield {"step": step, "epoch": step / 25, "kind": "validation", "accuracy": 0.7, "auc": 0.8}


def make_run(folder, *, config=None, evaluation=None, lines=None):
    """Writes a whole run; a part given as False is left out."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(make_config() if config is None else config))
    if lines is not False:
        rows = make_lines() if lines is None else lines
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(text)
    if evaluation is not False:
        (evaluation or make_evaluation()).save(folder / "evaluation", "test")
    return folder


@pytest.fixture(scope="session")
def make():
    """The functions above by their names: `make.run(folder)`, `make.config(...)`, ..."""
    return SimpleNamespace(
        config=make_config, evaluation=make_evaluation, lines=make_lines, run=make_run
    )
