"""The batches of a run: those it trains on from some step on, and those it is validated on."""

from collections.abc import Iterator
from typing import Any

import jax

from kdjax.data_pipeline.loader import training_batches
from kdjax.data_pipeline.made import seen_batches
from kdjax.train.setup import Plan
from kdjax.train.validation import reading, round_up


def training(plan: Plan, start: int) -> Iterator[Any]:
    """Returns this process' share of the batches from a step on, without end, with what recorded teachers say."""
    data = plan.config.data
    batches = training_batches(
        plan.dataset,
        plan.qualities,
        batch_size=data.batch_size,
        seed=plan.config.seed.data,
        indices=plan.indices,
        groups=plan.groups,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=data.threads,
        read_ahead=data.read_ahead,
        workers=data.workers,
        start=start,
    )
    read = reading(batches, plan.dataset.where, "train", plan.extensions)
    return (plan.records.attach(batch) for batch in read)


def validation(plan: Plan) -> Iterator[Any]:
    """Returns this process' share of the batches of the validation split, once."""
    config = plan.config
    batches = seen_batches(
        plan.dataset,
        config.student.qualities,
        split="validation",
        batch_size=round_up(config.evaluation.batch_size, plan.devices),
        indices=plan.validated,
        limit=config.evaluation.validation_limit,
        threads=config.data.threads,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return reading(batches, plan.dataset.where, "validation", plan.extensions)
