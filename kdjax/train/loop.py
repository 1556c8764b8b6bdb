"""The one training loop: lessons in, checkpoints and metrics out, for every method; one student or a group of them."""

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import batches, checkpoint, hosts, saving
from kdjax.train.claim import agreed
from kdjax.train.compiled import Compiled
from kdjax.train.grouping import check_alike, plan_like
from kdjax.train.initial import initial_state
from kdjax.train.interrupt import Interruption, catch_signals, error_of
from kdjax.train.lessons import KEPT, Kept, Lessons
from kdjax.train.log import Progress
from kdjax.train.pace import Pace
from kdjax.train.recompiling import RECOMPILED, Recompiling
from kdjax.train.room import room
from kdjax.train.setup import Plan, make_plan
from kdjax.train.tracing import Trace
from kdjax.train.trainer import Trainer


class Member(NamedTuple):
    """One student of a group.

    Attributes:
      config: the run's configuration.
      run: its folder.
      extensions: the user's own that it names.
    """

    config: ConfigDict
    run: Path
    extensions: Extensions = NOTHING


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
    member = Member(config, Path(run), extensions)
    trace = Trace(profile, RunFolder(member.run).profile)
    (outcome,) = _Group([member], trace, accept=accept_config_changes).train()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def train_group(members: Sequence[Member]) -> list[dict[str, Any] | Exception]:
    """Trains students that differ in numbers only, side by side: each batch is read once and the teachers see it once.

    Each has its folder, and what comes of it is what `train` makes of it alone, bit for bit: the same programs run on
    the same numbers, one student after the other. One that stops early, or fails, leaves the others to go on; students
    whose checkpoints are of different steps join where the others come to them. One that finds no room in memory gets
    a MemoryError, and can be trained when the others have ended.

    Args:
      members: the students. Their configurations differ in `seed.student`, learning rates, `ema.decay` and numbers that
        their method traces (`grouping.traced_keys`), in keys that change no result, and in nothing else.

    Returns:
      What `train` returns of each, or the error that ended it.

    Raises:
      UserError: where the configurations differ in more than that.
    """
    members = [each._replace(run=Path(each.run)) for each in members]
    check_alike([each.config for each in members], [each.extensions for each in members])
    return _Group(members, Trace("", Path())).train()


class _Group:
    """Students on one stream of lessons; mostly a single one."""

    def __init__(self, members: Sequence[Member], trace: Trace, *, accept: bool = False) -> None:
        self._members, self._trace, self._accept = members, trace, accept
        self._outcomes: list[Any] = [None] * len(members)
        self._active: dict[int, Trainer] = {}
        self._folders = [contextlib.ExitStack() for _ in members]
        self._open = [contextlib.ExitStack() for _ in members]
        self._interruption = Interruption()

    def train(self) -> list[dict[str, Any] | Exception]:
        plans: dict[int, Plan] = {}
        for number, member in enumerate(self._members):
            base = next(iter(plans.values()), None)
            with self._failing(number):
                plan = (
                    make_plan(member.config, member.extensions)
                    if base is None
                    else plan_like(base, member.config)
                )
                self._trace.check(plan.total_steps)
                plans[number] = plan
        if not plans:
            return self._outcomes
        plan = next(iter(plans.values()))
        names = [member.run.name for member in self._members]
        progress = Progress(
            f"train {names[0]}" if len(names) == 1 else f"train {len(names)} students",
            plan.total_steps,
            silent=not hosts.is_first(),
        )
        with contextlib.ExitStack() as held:
            held.callback(progress.close)
            held.callback(self._trace.close)
            for stack in (*self._folders, *self._open):
                held.enter_context(stack)
            try:
                self._train(plans, progress)
            except KeyboardInterrupt:
                progress.say(
                    "interrupted; the same command goes on from the last checkpoint of "
                    + ", ".join(str(member.run) for member in self._members)
                )
                raise
        return self._outcomes

    def _train(self, plans: dict[int, Plan], progress: Progress) -> None:
        plan, alone = next(iter(plans.values())), len(self._members) == 1
        lessons = Lessons(plan)
        compiled = Compiled(plan, lessons)
        most = 0
        validation = Kept(lambda: batches.validation(plan), 0 if alone else KEPT)
        for number, own in plans.items():
            with self._failing(number):
                run = self._members[number].run
                state = initial_state(own, pretrained=not checkpoint.has_started(run))
                most = most or room(state, own.devices)
                if len(self._active) >= most:
                    raise MemoryError(f"{most} students of a group fit into memory, and not {run}")
                trainer = Trainer(own, run, compiled, validation, progress, self._interruption)
                hosts.check_agreement(agreed(own))
                trainer.claim(state, self._folders[number], accept=self._accept)
                checkpoints = saving.Checkpoints(run, own.config.train.keep_best)
                self._open[number].enter_context(contextlib.closing(checkpoints))
                self._open[number].callback(trainer.close)
                self._active[number] = trainer
                with catch_signals(self._interruption):
                    trainer.begin(state, checkpoints)
        self._end_those_done()
        if not self._active:
            return
        step = min(trainer.step for trainer in self._active.values())
        lessons.open(step)
        progress.start(step)
        with catch_signals(self._interruption), Recompiling() as recompiling:
            first = step
            while self._active:
                if (nearest := min(each.step for each in self._active.values())) > step:
                    # those who were behind have failed
                    step = nearest
                    lessons.open(step)
                self._step(step, lessons, progress)
                step += 1
                for name in recompiling.take():
                    if step > first + 1:
                        progress.say(f"{name} was compiled again at step {step}: {RECOMPILED}")

    def _step(self, step: int, lessons: Lessons, progress: Progress) -> None:
        """Gives one lesson to those who are at its step."""
        learning = {key: each for key, each in self._active.items() if each.step == step}
        self._trace.before(step + 1)
        lesson = lessons.give(next(iter(learning.values())).replicated)
        pace = Pace(lessons.feed.seconds, lessons.operations or 0.0, len(learning))
        metrics, stopped = None, False
        for number, trainer in learning.items():
            with self._failing(number):
                try:
                    metrics = trainer.advance(lesson, pace)
                except KeyboardInterrupt:
                    if self._interruption.at_once or len(self._members) == 1:
                        raise
                    # those who are still to do this step save too
                    stopped = True
        if self._trace.after(step + 1, metrics):
            folder = RunFolder(self._members[0].run).profile
            progress.say(f"trace of the steps to {step + 1}: {folder}")
        progress.follow(step + 1, [each.take_news() for each in learning.values()])
        if stopped:
            raise error_of(self._interruption.number)
        self._end_those_done()

    def _end_those_done(self) -> None:
        for number, trainer in list(self._active.items()):
            if trainer.is_done:
                with self._failing(number):
                    self._end(number, trainer)

    def _end(self, number: int, trainer: Trainer) -> None:
        result = trainer.result()
        # waits for what is being saved
        self._open[number].close()
        hosts.on_first(lambda: RunFolder(trainer.folder).finish(result))
        self._folders[number].close()
        self._outcomes[number] = result
        del self._active[number]

    @contextlib.contextmanager
    def _failing(self, number: int) -> Iterator[None]:
        """Lets an error end one student, not the others."""
        try:
            yield
        except Exception as error:
            self._active.pop(number, None)
            run = self._members[number].run
            if isinstance(error, OSError):
                told = UserError(f"cannot write {run}: {error.strerror or error}")
                told.__cause__ = error
                self._outcomes[number] = told
            else:
                self._outcomes[number] = error
            if len(self._members) > 1:
                # what it has left on the devices
                traceback.clear_frames(error.__traceback__)
            for stack in (self._open[number], self._folders[number]):
                with contextlib.suppress(Exception):
                    stack.close()
