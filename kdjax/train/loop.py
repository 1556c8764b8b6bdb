"""The one training loop: batches in, checkpoints and metrics out, for every method."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.evaluate.evaluator import evaluate
from kdjax.extensions import NOTHING, Extensions
from kdjax.files import held
from kdjax.folder import RunFolder
from kdjax.train import batches, checkpoint, finite, hosts, parallel, programs, spikes
from kdjax.train.balancing import Gradients, ratio_steps
from kdjax.train.claim import agreed, claim_run
from kdjax.train.ema import used
from kdjax.train.feed import Feed
from kdjax.train.idle import idle_settings
from kdjax.train.initial import blank_batch, initial_state
from kdjax.train.interrupt import Interruption, catch_signals
from kdjax.train.log import Progress, RunLog
from kdjax.train.predict import compile_predict
from kdjax.train.pretrained import changed_teachers, teachers_of_own_seed
from kdjax.train.setup import Plan, make_plan
from kdjax.train.state import TrainState
from kdjax.train.step import make_train_step
from kdjax.train.tracing import Starvation, Trace
from kdjax.train.validation import (
    check_own_metrics,
    check_selection,
    own_metrics,
    validation_steps,
)
from kdjax.types import PyTree


def train(
    config: ConfigDict, run: str | Path, extensions: Extensions = NOTHING, *, profile: str = ""
) -> dict[str, Any]:
    """Trains a run to its end, going on from its last checkpoint when there is one.

    Args:
      config: the configuration; equal to the run's own when the run exists.
      run: folder of the run.
      extensions: methods, networks and so on of the user's own, which the configuration names.
      profile: `START:STOP`, the steps to trace into the run's folder `profile`; empty: none.

    Returns:
      `step`, `best_step`, `best_metric` and whether training `stopped_early`.

    Raises:
      UserError: for a configuration that does not fit, a folder of another run, or a diverged network.
    """
    run = Path(run)
    trace = Trace(profile, RunFolder(run).profile)
    plan = make_plan(config, extensions)
    trace.check(plan.total_steps)
    state = initial_state(plan, pretrained=not checkpoint.has_started(run))
    trainer = _Trainer(plan, run, trace)
    try:
        hosts.check_agreement(agreed(plan))
        with contextlib.ExitStack() as held_folder:
            trainer.changed = hosts.on_first(lambda: trainer.claim(state, held_folder)) or ""
            with contextlib.closing(checkpoint.Checkpoints(run)) as checkpoints:
                result = trainer.run(state, checkpoints)
            hosts.on_first(lambda: RunFolder(run).finish(result))
            return result
    except OSError as error:
        raise UserError(f"cannot write {run}: {error.strerror or error}") from error


class _Trainer:
    """The moving parts of one run: compiled functions, data, logs."""

    checkpoints: checkpoint.Checkpoints
    changed: str = ""

    def __init__(self, plan: Plan, run: Path, trace: Trace) -> None:
        config, devices = plan.config, plan.devices
        self.plan, self.folder, self.trace = plan, run, trace
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
        self.watch = spikes.Watch()
        self.starvation = Starvation()

    def claim(self, state: TrainState, held_folder: contextlib.ExitStack) -> str:
        """Holds the run's folder; returns what of its program has changed. UserError when it is no place for a run."""
        files, plan = RunFolder(self.folder), self.plan
        files.check_free()
        if not files.is_run:
            self.check(state)
        self.folder.mkdir(parents=True, exist_ok=True)
        held_folder.enter_context(held(files.lock, "is training"))
        claim_run(self.folder, plan.config, plan.inputs())
        return programs.remember(self.folder, plan.extensions)

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

    def run(self, state: TrainState, checkpoints: checkpoint.Checkpoints) -> dict[str, Any]:
        plan, self.checkpoints = self.plan, checkpoints
        restored = self.checkpoints.restore_latest(state)
        state = state if restored is None else restored
        start = int(state.step)
        known = (
            []
            if start
            else [
                *teachers_of_own_seed(plan.config),
                *changed_teachers(plan.config, plan.extensions),
                *idle_settings(plan.config, plan.extensions),
            ]
        )
        first = hosts.is_first()
        log = RunLog(self.folder, start_step=start, silent=not first)
        progress = Progress(f"train {self.folder.name}", plan.total_steps, start, silent=not first)
        if self.changed:
            progress.say(self.changed)
        if start:
            progress.say(f"{self.folder}: going on from step {start} of {plan.total_steps}")
        for line in known:
            progress.say(line)
        try:
            with catch_signals() as interruption:
                state = self._steps(state, log, progress, interruption)
        except KeyboardInterrupt:
            progress.say(
                f"interrupted; the same command goes on from the last checkpoint of {self.folder}"
            )
            raise
        finally:
            self.trace.close()
            progress.close()
            log.close()
        return {
            "step": int(state.step),
            "best_step": int(state.best_step),
            "best_metric": float(state.best_metric),
            "stopped_early": int(state.step) < plan.total_steps,
        }

    def _steps(
        self, state: TrainState, log: RunLog, progress: Progress, interruption: Interruption
    ) -> TrainState:
        plan, train = self.plan, self.plan.config.train
        replicated = parallel.replicate(state, plan.devices)
        step = int(state.step)
        if step in self.validation_steps and step not in log.validated:
            state = self._validate(state, log, progress)
            replicated = parallel.replicate(jax.device_get(state), plan.devices)
        if train.patience and int(state.stale) >= train.patience:
            return state
        pending: list[Mapping[str, Any]] = []
        feed = Feed(batches.training(plan, step), parallel.sender(plan.devices))
        clock = time.monotonic()
        while step < plan.total_steps:
            self.trace.before(step + 1)
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
            if self.trace.after(step, metrics):
                progress.say(f"trace of the steps to {step}: {RunFolder(self.folder).profile}")
            pending.append(metrics)
            validates = step in self.validation_steps
            logs = step % max(1, train.log_every) == 0 or validates
            stops = interruption.asked
            if jax.process_count() > 1:
                # hosts stop together, where they meet anyway
                stops = logs and hosts.any_host(stops)
            if logs or measured or stops:
                rows = self._fetch(pending)
                self.watch, found = spikes.watch_rows(self.watch, step, rows)
                for spike in found:
                    progress.say(f"{self.folder.name} {spikes.describe(spike)}")
                values = {**finite.average(self.folder, rows, step - len(rows)), **measured}
                log.write("train", step, step / plan.steps_per_epoch, values)
                seconds, clock = time.monotonic() - clock, time.monotonic()
                rate = len(pending) * plan.config.data.batch_size / max(seconds, 1e-9)
                timings = {"seconds": seconds, "input_seconds": feed.take_seconds()}
                log.write_timing(step, {**timings, "images_per_second": rate})
                if waits := self.starvation.watch(**timings):
                    progress.say(waits)
                progress.advance(len(pending), f"loss {values['loss']:.4g}, {rate:.0f} images/s")
                pending = []
            if validates:
                state = parallel.unreplicate(replicated, plan.devices)
                state = self._validate(state, log, progress)
                # metrics of selection changed on the host: send the state back to the devices
                replicated = parallel.replicate(jax.device_get(state), plan.devices)
                if train.patience and int(state.stale) >= train.patience:
                    progress.say(f"stopped early: {train.patience} validations without improvement")
                    break
                clock = time.monotonic()
            if stops:
                if not validates:
                    self._save(parallel.unreplicate(replicated, plan.devices))
                raise KeyboardInterrupt
        return parallel.unreplicate(replicated, plan.devices)

    def _fetch(self, pending: list[Mapping[str, Any]]) -> list[Mapping[str, float]]:
        return jax.device_get([parallel.unreplicate(row, self.plan.devices) for row in pending])

    def _validate(self, state: TrainState, log: RunLog, progress: Progress) -> TrainState:
        """Evaluates on the validation split, keeps the best weights, saves the state."""
        plan, config = self.plan, self.plan.config
        step = int(state.step)
        seen = used(state, evaluate=config.ema.evaluate)
        own, selection = plan.extensions, config.train.selection
        try:
            metrics = self._metrics(seen.chosen)
            for kind, variables in seen.beside.items():
                beside = self._metrics(variables)
                metrics |= {f"{kind}/{name}": value for name, value in beside.items()}
            value = metrics[selection]
            check_selection(selection, value, own.metrics, plan.dataset.where)
        except UserError:
            # what was trained stays; the same command validates it again
            self._save(state)
            raise
        better = value > float(state.best_metric)
        state = state.replace(
            best_metric=np.float32(max(value, float(state.best_metric))),
            best_step=np.int32(step if better else state.best_step),
            stale=np.int32(0 if better else int(state.stale) + 1),
        )
        log.write("validation", step, step / plan.steps_per_epoch, metrics)
        shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("accuracy", "auc"))
        progress.say(f"{self.folder.name} step {step}: validation {shown}{' (best)' * better}")
        # the best first: a crash in between repeats this validation and finds it saved
        if better:
            self.checkpoints.save_best(step, seen)
        self._save(state)
        return state

    def _metrics(self, variables: PyTree) -> dict[str, Any]:
        """Returns what the validation split says of variables, over all qualities."""
        plan = self.plan
        sent = parallel.replicate(jax.device_get(variables), plan.devices, alone=True)
        result = evaluate(
            lambda images: self.predict(sent, images),
            batches.validation(plan),
            plan.config.student.qualities,
            gather=hosts.gather_rows,
        )
        return {**result.metrics["overall"], **own_metrics(plan.extensions, result)}

    def _save(self, state: TrainState) -> None:
        self.checkpoints.save_latest(state, configs.to_json(self.plan.config))
