"""The one training loop: batches in, checkpoints and metrics out, for every method."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.data_pipeline.loader import training_batches
from kdjax.data_pipeline.made import seen_batches
from kdjax.evaluate.evaluator import evaluate
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import checkpoint, finite, parallel, programs, saving
from kdjax.train.balancing import Gradients, ratio_steps
from kdjax.train.claim import claim_run
from kdjax.train.feed import Feed
from kdjax.train.idle import idle_settings
from kdjax.train.initial import blank_batch, initial_state
from kdjax.train.interrupt import Interruption, catch_signals
from kdjax.train.keeping import Keeper
from kdjax.train.log import Progress, RunLog, say
from kdjax.train.owner import Owner, owned
from kdjax.train.predict import compile_predict
from kdjax.train.pretrained import changed_teachers, teachers_of_own_seed
from kdjax.train.setup import Plan, make_plan
from kdjax.train.state import TrainState
from kdjax.train.step import make_train_step
from kdjax.train.validation import (
    check_own_metrics,
    check_selection,
    own_metrics,
    reading,
    round_up,
    validation_steps,
)


def train(
    config: ConfigDict,
    run: str | Path,
    extensions: Extensions = NOTHING,
    *,
    accept_config_changes: bool = False,
) -> dict[str, Any]:
    """Trains a run to its end, going on from its last checkpoint when there is one.

    Args:
      config: the configuration; equal to the run's own when the run exists.
      run: folder of the run.
      extensions: methods, networks and so on of the user's own, which the configuration names.
      accept_config_changes: whether other values of `claim.ACCEPTED_KEYS` are taken over by a run that exists: more
        steps make a finished run longer.

    Returns:
      `step`, `best_step`, `best_metric` and whether training `stopped_early`.

    Raises:
      UserError: for a configuration that does not fit, a folder of another run, or a diverged network.
    """
    run = Path(run)
    plan = make_plan(config, extensions)
    state = initial_state(plan, pretrained=not checkpoint.has_started(run))
    trainer = _Trainer(plan, run)
    try:
        files = RunFolder(run)
        files.check_free()
        if not files.is_run:
            trainer.check(state)
        run.mkdir(parents=True, exist_ok=True)
        with owned(files, say) as trainer.owner:
            changed = claim_run(
                *(run, plan.config, plan.inputs()),
                total_steps=plan.total_steps,
                accept=accept_config_changes,
            )
            trainer.said = [changed, programs.remember(run, extensions)]
            keep = plan.config.train.keep_best
            with contextlib.closing(saving.Checkpoints(run, keep)) as checkpoints:
                result = trainer.run(state, checkpoints)
            files.finish(result)
            return result
    except OSError as error:
        raise UserError(f"cannot write {run}: {error.strerror or error}") from error


class _Trainer:
    """The moving parts of one run: compiled functions, data, logs."""

    owner: Owner
    keeper: Keeper
    interruption: Interruption
    said: Sequence[str] = ()

    def __init__(self, plan: Plan, run: Path) -> None:
        config, devices = plan.config, plan.devices
        self.plan, self.folder = plan, run
        axis = parallel.axis_name(devices)
        self.train_step = parallel.compile_step(
            make_train_step(plan.parts, axis), devices, donate=True
        )
        self.predict = compile_predict(plan.student, plan.image_size, devices)
        self.teachers = parallel.replicate(plan.teacher_variables, devices)
        self.gradients = Gradients(plan.parts, config.train, self.teachers, devices)
        self.validation_steps = validation_steps(plan)
        self.ratio_steps = ratio_steps(
            plan.total_steps, self.validation_steps, config.train.gradient_ratio_every
        )

    def check(self, state: TrainState) -> None:
        """Raises UserError when the step cannot be built: traced here, compiled when it first runs."""
        devices = self.plan.devices
        check_own_metrics(self.plan.extensions)
        batch = parallel.shard(self.plan.records.attach(blank_batch(self.plan)), devices)
        replicated = parallel.replicate(state, devices)
        try:
            jax.eval_shape(self.train_step, replicated, self.teachers, batch)
        except (ValueError, TypeError) as error:
            name = self.plan.config.method.name
            where = programs.place_of(error, self.plan.extensions)
            line = str(error).splitlines()[0]
            raise UserError(f"method {name} cannot be built: {line}{where}") from error

    def run(self, state: TrainState, checkpoints: saving.Checkpoints) -> dict[str, Any]:
        plan = self.plan
        restored = checkpoints.restore_latest(state) or saving.Restored(state, {}, ())
        state = restored.state
        start = int(state.step)
        self.keeper = Keeper(
            plan, self.folder, self.owner, checkpoints, restored.journal, int(state.skipped)
        )
        known = (
            []
            if start
            else [
                *teachers_of_own_seed(plan.config),
                *changed_teachers(plan.config, plan.extensions),
                *idle_settings(plan.config, plan.extensions),
            ]
        )
        log = RunLog(self.folder, start_step=start)
        progress = Progress(f"train {self.folder.name}", plan.total_steps, start)
        for line in filter(None, (*self.said, *restored.said)):
            progress.say(line)
        if start:
            progress.say(f"{self.folder}: going on from step {start} of {plan.total_steps}")
        for line in known:
            progress.say(line)
        try:
            with catch_signals() as self.interruption:
                state = self._steps(state, log, progress)
        except KeyboardInterrupt:
            progress.say(
                f"interrupted; the same command goes on from the last checkpoint of {self.folder}"
            )
            raise
        finally:
            progress.close()
            log.close()
        return {
            "step": int(state.step),
            "best_step": int(state.best_step),
            "best_metric": float(state.best_metric),
            "stopped_early": int(state.step) < plan.total_steps,
        }

    def _steps(self, state: TrainState, log: RunLog, progress: Progress) -> TrainState:
        plan, train = self.plan, self.plan.config.train
        replicated = parallel.replicate(state, plan.devices)
        step = int(state.step)
        if step in self.validation_steps and step not in log.validated:
            state = self._validate(state, log, progress)
            replicated = parallel.replicate(jax.device_get(state), plan.devices)
        if train.patience and int(state.stale) >= train.patience:
            progress.say(f"{self.folder} had stopped early; a larger train.patience goes on")
            return state
        shown = step
        feed = Feed(self._training_batches(step), parallel.sender(plan.devices))
        clock = time.monotonic()
        while step < plan.total_steps:
            batch = next(feed)
            replicated = self.gradients.balance(replicated, batch, step)
            measured = {}
            if step + 1 in self.ratio_steps:
                measured = self.gradients.ratios(replicated, batch)
                for line in finite.idle_terms(self.folder, measured, step, plan.parts.ramps):
                    progress.say(line)
                measured = {key: value for key, value in measured.items() if not np.isnan(value)}
            replicated, metrics = self.train_step(replicated, self.teachers, batch)
            step += 1
            self.keeper.rows.add(metrics)
            validates = step in self.validation_steps
            stops = self.interruption.asked
            saves = not validates and (stops or self.keeper.due.at(step))
            logs = step % max(1, train.log_every) == 0 or validates or bool(measured)
            if logs or saves:
                self.keeper.look(replicated, step, progress.say)
            if logs:
                values = {**self.keeper.rows.take(), **measured}
                log.write("train", step, step / plan.steps_per_epoch, values)
                seconds, clock = time.monotonic() - clock, time.monotonic()
                rate = (step - shown) * plan.config.data.batch_size / max(seconds, 1e-9)
                timings = {"seconds": seconds, "input_seconds": feed.take_seconds()}
                log.write_timing(step, {**timings, "images_per_second": rate})
                progress.advance(step - shown, f"loss {values['loss']:.4g}, {rate:.0f} images/s")
                shown = step
            if validates:
                state = parallel.unreplicate(replicated, plan.devices)
                state = self._validate(state, log, progress)
                # metrics of selection changed on the host: send the state back to the devices
                replicated = parallel.replicate(jax.device_get(state), plan.devices)
                if train.patience and int(state.stale) >= train.patience:
                    progress.say(f"stopped early: {train.patience} validations without improvement")
                    break
                clock = time.monotonic()
            if saves:
                self.keeper.save(parallel.unreplicate(replicated, plan.devices))
            if stops:
                raise self.interruption.error()
        return parallel.unreplicate(replicated, plan.devices)

    def _validate(self, state: TrainState, log: RunLog, progress: Progress) -> TrainState:
        """Evaluates on the validation split, keeps the best weights, saves the state."""
        plan, config = self.plan, self.plan.config
        step = int(state.step)
        weights = self.keeper.weights(state)
        variables = parallel.replicate(weights, plan.devices)
        try:
            result = evaluate(
                lambda images: self.predict(variables, images),
                self._validation_batches(),
                config.student.qualities,
            )
        except KeyboardInterrupt:
            # the same command begins with this validation
            self.keeper.save(state)
            raise
        own, selection = plan.extensions, config.train.selection
        try:
            metrics = {**result.metrics["overall"], **own_metrics(own, result)}
            value = metrics[selection]
            check_selection(selection, value, own.metrics, plan.dataset.where)
        except UserError:
            # what was trained stays; the same command validates it again
            self.keeper.save(state)
            raise
        # as the state has it: equal values are no better one than the other
        value = float(np.float32(value))
        better = value > float(state.best_metric)
        state = state.replace(
            best_metric=np.float32(max(value, float(state.best_metric))),
            best_step=np.int32(step if better else state.best_step),
            stale=np.int32(0 if better else int(state.stale) + 1),
        )
        log.write("validation", step, step / plan.steps_per_epoch, metrics)
        shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("accuracy", "auc"))
        progress.say(f"{self.folder.name} step {step}: validation {shown}{' (best)' * better}")
        self.keeper.save_validated(state, value)
        return state

    def _training_batches(self, start: int) -> Iterator[Any]:
        plan, data = self.plan, self.plan.config.data
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

    def _validation_batches(self) -> Iterator[Any]:
        config = self.plan.config
        batches = seen_batches(
            self.plan.dataset,
            config.student.qualities,
            split="validation",
            batch_size=round_up(config.evaluation.batch_size, self.plan.devices),
            limit=config.evaluation.validation_limit,
            threads=config.data.threads,
        )
        for batch in reading(batches, self.plan.dataset.where, "validation", self.plan.extensions):
            self.interruption.check()
            yield batch
