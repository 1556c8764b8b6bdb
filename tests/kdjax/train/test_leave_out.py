"""Kinds of forgery that a run neither trains nor is validated on."""

import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.train import batches
from kdjax.train.examples import kept_indices, training_facts, training_indices
from kdjax.train.setup import make_plan


@pytest.fixture
def config(forged_dataset):
    """Makes a configuration on three kinds of forgery."""

    def make(**data):
        values = {"data.path": str(forged_dataset), "data.batch_size": "4", "train.devices": "1"}
        values |= {"train.balance": "none", "train.steps": "1"}
        return configs.load(
            "supervised:resnet_tiny", values | {f"data.{k}": v for k, v in data.items()}
        )

    return make


def kinds_in(dataset, split, indices):
    """Returns the names of the kinds of forgery of some examples, `none` of reals."""
    ids = dataset.labels(split)["forgery"][indices]
    return {dataset.forgeries[kind] for kind in ids}


def test_what_is_left_out_is_in_no_batch_of_training_and_validation(config):
    plan = make_plan(config(leave_out="mouth,graphics"))
    assert kinds_in(plan.dataset, "train", plan.indices) == {"none", "expression"}
    reals = plan.dataset.labels("train")["label"] == 0
    assert set(np.flatnonzero(reals)) <= set(plan.indices)
    names = {plan.dataset.forgeries[k] for b in batches.validation(plan) for k in b["forgery"]}
    assert names == {"none", "expression"}
    stream = batches.training(plan, 0)
    seen = {int(kind) for _ in range(12) for kind in next(stream)["forgery"]}
    assert {plan.dataset.forgeries[kind] for kind in seen} == {"none", "expression"}


def test_a_subset_is_of_what_is_left(config):
    made = config(leave_out="mouth", subset="12")
    dataset = open_dataset(made.data.path)
    found = training_indices(made, dataset)
    assert len(found) == 12
    assert kinds_in(dataset, "train", found) == {"none", "graphics", "expression"}
    assert dataset.labels("train")["label"][found].sum() == 6


def test_nothing_left_out_is_everything(config):
    made = config()
    assert kept_indices(made, open_dataset(made.data.path), "train") is None
    assert make_plan(made).validated is None


def test_a_run_knows_what_it_is_trained_on(config):
    counts = {"expression": 8, "graphics": 8, "mouth": 8}
    plan = make_plan(config())
    assert plan.inputs()["training"] == {"images": 48, "of": 48, "fakes": counts}
    plan = make_plan(config(leave_out="mouth"))
    del counts["mouth"]
    assert plan.inputs()["training"] == {"images": 40, "of": 48, "fakes": counts}
    few = make_plan(config(subset="8"))
    assert few.inputs()["training"] == training_facts(few.dataset, few.indices)
    assert few.inputs()["training"]["images"] == 8
    assert sum(few.inputs()["training"]["fakes"].values()) == 4


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("mouht", "data.leave_out names 'mouht'; did you mean 'mouth'?"),
        ("none", "data.leave_out names 'none'; "),
        ("mouth,graphics,expression", "leaves no fake in split 'train' of"),
    ],
)
def test_what_cannot_be_left_out_is_one_line(config, named, message):
    with pytest.raises(UserError) as error:
        make_plan(config(leave_out=named))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
