"""The one training loop: batches in, checkpoints and metrics out, for every method."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.evaluate.evaluator import evaluate
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import batches, checkpoint, finite, hosts, interrupt, parallel, programs, saving
from kdjax.train.balancing import Gradients, ratio_steps
from kdjax.train.claim import agreed, claim_run
from kdjax.train.ema import used
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
from kdjax.train.tracing import Starvation, Trace
from kdjax.train.validation import (
    check_own_metrics,
    check_selection,
    own_metrics,
    validation_steps,
)
from kdjax.types import PyTree


def train(
    config: ConfigDict,
    run: str | Path,
    extensions: Extensions = NOTHING,
    *,
    profile: str = "",
    accept_config_changes: bool = False,
) -> dict[str, Any]:
    """Trains a run to its end, going on from its last checkpoint when there is one.

    Args:
      config: the configuration; equal to the run's own when the run exists.
      run: folder of the run.
      extensions: methods, networks and so on of the user's own, which the configuration names.
      profile: `START:STOP`, the steps to trace into the run's folder `profile`; empty: none.
      accept_config_changes: whether other values of `claim.ACCEPTED_KEYS` are taken over by a run that exists: more
        steps make a finished run longer.

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
            trainer.said = (
                hosts.on_first(
                    lambda: trainer.claim(state, held_folder, accept=accept_config_changes)
                )
                or ()
            )
            keep = plan.config.train.keep_best
            with contextlib.closing(saving.Checkpoints(run, keep)) as checkpoints:
                result = trainer.run(state, checkpoints)
            hosts.on_first(lambda: RunFolder(run).finish(result))
            return result
    except OSError as error:
        raise UserError(f"cannot write {run}: {error.strerror or error}") from error


class _Trainer:
    """The moving parts of one run: compiled functions, data, logs."""

    owner: Owner | None = None
    keeper: Keeper
    interruption: Interruption
    said: Sequence[str] = ()

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
        self.starvation = Starvation()

    def claim(
        self, state: TrainState, held_folder: contextlib.ExitStack, *, accept: bool
    ) -> Sequence[str]:
        """Holds the run's folder; returns what has changed. UserError when it is no place for a run."""
        files, plan = RunFolder(self.folder), self.plan
        files.check_free()
        if not files.is_run:
            self.check(state)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.owner = held_folder.enter_context(owned(files, say))
        changed = claim_run(
            *(self.folder, plan.config, plan.inputs()), total_steps=plan.total_steps, accept=accept
        )
        return changed, programs.remember(self.folder, plan.extensions)

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
        first = hosts.is_first()
        validated = restored.journal.get("validated")
        log = RunLog(self.folder, start_step=start, silent=not first, validated=validated)
        progress = Progress(f"train {self.folder.name}", plan.total_steps, start, silent=not first)
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
            self.trace.close()
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
            self.keeper.rows.add(metrics)
            validates = step in self.validation_steps
            logs = step % max(1, train.log_every) == 0 or validates or bool(measured)
            # hosts stop, and save by the clock, together: where they meet anyway
            stops = hosts.largest(self.interruption.number, meet=logs)
            due = self.keeper.due.by_step(step) or hosts.largest(
                self.keeper.due.by_time(), meet=logs
            )
            saves = not validates and bool(stops or due)
            if logs or saves:
                self.keeper.look(replicated, step, progress.say)
            if logs:
                values = {**self.keeper.rows.take(), **measured}
                log.write("train", step, step / plan.steps_per_epoch, values)
                seconds, clock = time.monotonic() - clock, time.monotonic()
                rate = (step - shown) * plan.config.data.batch_size / max(seconds, 1e-9)
                timings = {"seconds": seconds, "input_seconds": feed.take_seconds()}
                log.write_timing(step, {**timings, "images_per_second": rate})
                if waits := self.starvation.watch(**timings):
                    progress.say(waits)
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
                raise interrupt.error_of(stops)
        return parallel.unreplicate(replicated, plan.devices)

    def _validate(self, state: TrainState, log: RunLog, progress: Progress) -> TrainState:
        """Evaluates on the validation split, keeps the best weights, saves the state."""
        plan, config = self.plan, self.plan.config
        step = int(state.step)
        self.keeper.check(state)
        seen = used(state, evaluate=config.ema.evaluate)
        own, selection = plan.extensions, config.train.selection
        try:
            metrics = self._metrics(seen.chosen)
            for kind, variables in seen.beside.items():
                beside = self._metrics(variables)
                metrics |= {f"{kind}/{name}": value for name, value in beside.items()}
            value = metrics[selection]
            check_selection(selection, value, own.metrics, plan.dataset.where)
        except (UserError, KeyboardInterrupt):
            # what was trained stays; the same command begins with this validation
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
        self.keeper.save_validated(state, value, seen)
        return state

    def _metrics(self, variables: PyTree) -> dict[str, Any]:
        """Returns what the validation split says of variables, over all qualities."""
        plan = self.plan
        sent = parallel.replicate(jax.device_get(variables), plan.devices, alone=True)
        seen = batches.validation(plan)
        result = evaluate(
            lambda images: self.predict(sent, images),
            # hosts must not leave each other waiting for scores
            self.interruption.between(seen) if jax.process_count() == 1 else seen,
            plan.config.student.qualities,
            gather=hosts.gather_rows,
        )
        return {**result.metrics["overall"], **own_metrics(plan.extensions, result)}
