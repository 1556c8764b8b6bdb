"""One student in training: its state on the devices, its folder, log and checkpoints; a lesson in, a step done."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.evaluator import evaluate
from kdjax.folder import RunFolder
from kdjax.train import finite, hosts, interrupt, parallel, programs, saving, versions
from kdjax.train.balancing import ratio_steps
from kdjax.train.claim import claim_run
from kdjax.train.compiled import Compiled
from kdjax.train.ema import used
from kdjax.train.idle import idle_settings
from kdjax.train.initial import blank_batch
from kdjax.train.interrupt import Interruption
from kdjax.train.keeping import Keeper
from kdjax.train.log import News, Progress, RunLog, say
from kdjax.train.owner import Owner, owned
from kdjax.train.pace import Meter, Pace
from kdjax.train.pretrained import changed_teachers, teachers_of_own_seed
from kdjax.train.setup import Plan
from kdjax.train.state import TrainState
from kdjax.train.step import Lesson
from kdjax.train.tracing import Starvation
from kdjax.train.utilisation import operations
from kdjax.train.validation import (
    check_own_metrics,
    check_selection,
    own_metrics,
    validation_steps,
)
from kdjax.types import Batch, PyTree


class Trainer:
    """A run's moving parts.

    Attributes:
      plan: the run.
      folder: the run's.
      step: steps done.
      is_done: whether there are no more: all were done, or it stopped early.
    """

    step: int
    is_done: bool
    _owner: Owner | None = None
    _news: News | None = None
    _keeper: Keeper
    _log: RunLog
    _said: Sequence[str] = ()

    def __init__(
        self,
        plan: Plan,
        run: Path,
        compiled: Compiled,
        validation: Callable[[], Iterator[Batch]],
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        """Takes what it shares with others of its group, where it is one of several; writes nothing.

        Args:
          plan: the run.
          run: its folder.
          compiled: the programs.
          validation: reads the batches of the validation split.
          progress: shows what is done.
          interruption: says whether to stop.
        """
        self.plan, self.folder, self._compiled = plan, run, compiled
        self._validation, self._progress = validation, progress
        self._interruption = interruption
        self._gradients = compiled.gradients.of_another()
        self._validation_steps = validation_steps(plan)
        self._ratio_steps = ratio_steps(
            plan.total_steps, self._validation_steps, plan.config.train.gradient_ratio_every
        )
        self._starvation = Starvation()

    def claim(self, state: TrainState, held_folder: contextlib.ExitStack, *, accept: bool) -> None:
        """Holds the run's folder. UserError when it is no place for a run, or another process' place."""
        self._said = hosts.on_first(lambda: self._claim(state, held_folder, accept=accept)) or ()

    def _claim(
        self, state: TrainState, held_folder: contextlib.ExitStack, *, accept: bool
    ) -> Sequence[str]:
        files, plan = RunFolder(self.folder), self.plan
        files.check_free()
        if not files.is_run:
            self._check(state)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._owner = held_folder.enter_context(owned(files, say))
        changed = claim_run(
            *(self.folder, plan.config, plan.inputs()), total_steps=plan.total_steps, accept=accept
        )
        return changed, programs.remember(self.folder, plan.extensions)

    def _check(self, state: TrainState) -> None:
        """Raises UserError when the step cannot be built: traced here, compiled when it first runs."""
        check_own_metrics(self.plan.extensions)
        batch = self.plan.records.attach(blank_batch(self.plan))
        try:
            self._compiled.check(state, batch)
        except (ValueError, TypeError) as error:
            name = self.plan.config.method.name
            where = programs.place_of(error, self.plan.extensions)
            line = str(error).splitlines()[0]
            raise UserError(f"method {name} cannot be built: {line}{where}") from error

    def begin(self, state: TrainState, checkpoints: saving.Checkpoints) -> None:
        """Goes on from the last checkpoint, or begins with a state."""
        plan, say_line = self.plan, self._progress.say
        restored = checkpoints.restore_latest(state) or saving.Restored(state, {}, ())
        state = restored.state
        self.step = start = int(state.step)
        self._keeper = Keeper(
            plan, self.folder, self._owner, checkpoints, restored.journal, int(state.skipped)
        )
        self._log = RunLog(
            self.folder,
            start_step=start,
            silent=not hosts.is_first(),
            validated=restored.journal.get("validated"),
        )
        for line in filter(None, (*self._said, *restored.said)):
            say_line(line)
        if start:
            say_line(f"{self.folder}: going on from step {start} of {plan.total_steps}")
        else:
            for line in (
                *teachers_of_own_seed(plan.config),
                *changed_teachers(plan.config, plan.extensions),
                *idle_settings(plan.config, plan.extensions),
            ):
                say_line(line)
        self._replicated = parallel.replicate(state, plan.devices)
        if start in self._validation_steps and start not in self._log.validated:
            self._validate()
        self.is_done = self.step >= plan.total_steps
        if plan.config.train.patience and self._stale() >= plan.config.train.patience:
            say_line(f"{self.folder} had stopped early; a larger train.patience goes on")
            self.is_done = True
        if not self.is_done and hosts.is_first():
            versions.note(self.folder, start, plan.devices)
        self._meter = Meter(plan.config.data.batch_size, start)

    @property
    def replicated(self) -> TrainState:
        """The state as it is on the devices."""
        return self._replicated

    def _state(self) -> TrainState:
        return parallel.unreplicate(self._replicated, self.plan.devices)

    def _stale(self) -> int:
        return int(parallel.unreplicate(self._replicated.stale, self.plan.devices))

    def advance(self, lesson: Lesson, pace: Pace) -> Any:
        """Does a step.

        Args:
          lesson: the step's.
          pace: what is known of the steps beside.

        Returns:
          The step's metrics, on the devices.

        Raises:
          KeyboardInterrupt: when it was asked to stop; the state is saved.
          UserError: when training has diverged, or nothing more can be saved.
        """
        plan, train = self.plan, self.plan.config.train
        self._replicated = self._gradients.balance(self._replicated, lesson, self.step)
        measured = {}
        if self.step + 1 in self._ratio_steps:
            measured = self._gradients.ratios(self._replicated, lesson)
            for line in finite.idle_terms(self.folder, measured, self.step, plan.parts.ramps):
                self._progress.say(line)
            measured = {key: value for key, value in measured.items() if not np.isnan(value)}
        if self._compiled.operations is None:
            given = (self._compiled.student_step, self._replicated, lesson)
            self._compiled.operations = operations(*given)
        self._replicated, metrics = self._compiled.student_step(self._replicated, lesson)
        self.step += 1
        self._keeper.rows.add(metrics)
        validates = self.step in self._validation_steps
        logs = self.step % train.log_every == 0 or validates or bool(measured)
        # hosts stop, and save by the clock, together: where they meet anyway
        stops = hosts.largest(self._interruption.number, meet=logs)
        due = self._keeper.due.by_step(self.step) or hosts.largest(
            self._keeper.due.by_time(), meet=logs
        )
        saves = not validates and bool(stops or due)
        if logs or saves:
            self._keeper.look(self._replicated, self.step, self._progress.say)
        if logs:
            self._log_line(measured, pace)
        if validates:
            self._validate()
            self._meter.restart()
            if train.patience and self._stale() >= train.patience:
                said = f"{train.patience} validations without improvement"
                self._progress.say(f"{self.folder.name} stopped early: {said}")
                self.is_done = True
                return metrics
        if saves:
            self._keeper.save(self._state())
        self.is_done = self.step >= plan.total_steps
        if stops:
            raise interrupt.error_of(stops)
        return metrics

    def _log_line(self, measured: dict[str, float], pace: Pace) -> None:
        plan, step = self.plan, self.step
        values = {**self._keeper.rows.take(), **measured}
        self._log.write("train", step, step / plan.steps_per_epoch, values)
        timings = self._meter.measure(step, pace, self._compiled.operations or 0.0)
        self._log.write_timing(step, timings)
        if waits := self._starvation.watch(timings["seconds"], timings["input_seconds"]):
            self._progress.say(waits)
        self._news = News(values["loss"], timings["images_per_second"])

    def take_news(self) -> News | None:
        """Returns what is new since this was last asked."""
        news, self._news = self._news, None
        return news

    def result(self) -> dict[str, Any]:
        """Returns what came of it."""
        state = self._state()
        return {
            "step": self.step,
            "best_step": int(state.best_step),
            "best_metric": float(state.best_metric),
            "stopped_early": self.step < self.plan.total_steps,
        }

    def close(self) -> None:
        """Closes the logs."""
        self._log.close()

    def _validate(self) -> None:
        """Evaluates on the validation split, keeps the best weights, saves the state."""
        state, plan, config = self._state(), self.plan, self.plan.config
        step = self.step
        self._keeper.check(state)
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
            self._keeper.save(state)
            raise
        # as the state has it: equal values are no better one than the other
        value = float(np.float32(value))
        better = value > float(state.best_metric)
        state = state.replace(
            best_metric=np.float32(max(value, float(state.best_metric))),
            best_step=np.int32(step if better else state.best_step),
            stale=np.int32(0 if better else int(state.stale) + 1),
        )
        self._log.write("validation", step, step / plan.steps_per_epoch, metrics)
        shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("accuracy", "auc"))
        self._progress.say(
            f"{self.folder.name} step {step}: validation {shown}{' (best)' * better}"
        )
        self._keeper.save_validated(state, value, seen)
        # the numbers of the selection changed on the host: send the state back to the devices
        self._replicated = parallel.replicate(jax.device_get(state), plan.devices)

    def _metrics(self, variables: PyTree) -> dict[str, Any]:
        """Returns what the validation split says of variables, over all qualities."""
        plan = self.plan
        sent = parallel.replicate(jax.device_get(variables), plan.devices, alone=True)
        seen = self._validation()
        result = evaluate(
            lambda images: self._compiled.predict(sent, images),
            # hosts must not leave each other waiting for scores
            self._interruption.between(seen) if jax.process_count() == 1 else seen,
            plan.config.student.qualities,
            gather=hosts.gather_rows,
        )
        return {**result.metrics["overall"], **own_metrics(plan.extensions, result)}
