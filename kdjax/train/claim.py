"""Whose a run's folder is: of one configuration, data set and set of teachers, from its first checkpoint on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.models.weights.runs import last_step
from kdjax.train.checkpoint import has_started, read_config
from kdjax.train.programs import digests
from kdjax.train.setup import Plan
from kdjax.version import __version__

PACKAGE = Path(__file__).resolve().parents[1]

RUNTIME_KEYS = frozenset(
    {
        "data.threads",
        "data.read_ahead",
        "data.workers",
        "train.devices",
        "train.log_every",
        "train.save_every",
        "train.save_minutes",
        "train.keep_best",
        "evaluation.batch_size",
    }
)
"""Keys that do not change what a run computes: a run may go on with other values."""

ACCEPTED_KEYS = frozenset(
    {
        "train.steps",
        "train.epochs",
        "train.patience",
        "train.validations_per_epoch",
        "train.validation_interval",
        "train.gradient_ratio_every",
        "train.nonfinite",
    }
)
"""Keys that a run may go on with other values of where its user says so: what was trained stays right with them."""


PLACES = frozenset(
    {"data.path", "data.more", "teacher.runs", "teacher.weights", "teacher.recorded"}
)
"""Keys that say where something lies, which each host may have elsewhere: what lies there is compared."""


def agreed(plan: Plan) -> dict[str, Any]:
    """Returns what all hosts of a run have to have alike, JSON by name, of the settings those that change a result."""
    inputs = plan.inputs()
    settings = {
        key: value
        for key, value in configs.flatten_mapping(configs.to_json(plan.config))
        if key not in RUNTIME_KEYS | PLACES
    }
    return {
        "kdjax's version": __version__,
        "kdjax's code": source_digest(),
        "JAX's version": jax.__version__,
        "your program": digests(plan.extensions),
        "the data set": inputs["dataset"],
        "the teachers": inputs["teachers"],
        **settings,
    }


def source_digest(folder: Path = PACKAGE) -> str:
    """Returns a hash of a package's Python files, their places in it included."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def has_results(run: Path) -> bool:
    """Returns whether a run has anything that another configuration in its folder would spoil."""
    files = RunFolder(run)
    return has_started(run) or files.is_finished or bool(files.evaluations())


def claim_run(
    run: Path,
    config: ConfigDict,
    inputs: Mapping[str, Any],
    *,
    total_steps: int = 0,
    accept: bool = False,
) -> str:
    """Writes configuration and inputs of a new run, or checks that an existing run has the same.

    A run that was cut off, or refused, before its first checkpoint has nothing to go on from: it begins anew.

    Args:
      run: folder of the run.
      config: the configuration.
      inputs: what tells the data set and the teachers' weights from others (`Plan.inputs`).
      total_steps: length of the run as it is asked for.
      accept: whether other values of `ACCEPTED_KEYS` are taken over.

    Returns:
      A line that tells what was taken over, empty where nothing was.

    Raises:
      UserError: when the folder holds a run of another configuration, data set or teacher, or a longer one.
    """
    files = RunFolder(run)
    if files.is_run and has_results(run):
        changes = _changes(run, config, accept=accept)
        found = files.read_inputs()
        if found.get("dataset") != inputs["dataset"]:
            raise UserError(
                f"the data set at {config.data.path} is not the one that {run} was begun with; "
                "give another --workdir, or prepare the data set as it was"
            )
        teachers = (*config.teacher.runs, *config.teacher.weights, *config.teacher.recorded)
        for name, old, new in zip(
            teachers, found.get("teachers", ()), inputs["teachers"], strict=False
        ):
            if old != new:
                raise UserError(
                    f"the teacher {name} is not what {run} was begun with; give another --workdir"
                )
        return _take_over(files, changes, total_steps) if changes else ""
    files.config_changes.unlink(missing_ok=True)
    write_json(files.inputs, dict(inputs))
    write_json(files.config, configs.to_json(config))
    return ""


def check_claim(run: Path, config: ConfigDict) -> None:
    """Raises UserError when a folder has results of another configuration."""
    if RunFolder(run).is_run and has_results(run):
        _changes(run, config)


def _changes(
    run: Path, config: ConfigDict, *, accept: bool | None = None
) -> dict[str, tuple[Any, Any]]:
    """Returns what differs, `{key: (the run's, asked for)}`; UserError, a line a key, unless it is accepted.

    Of a command that can accept nothing, `accept` is None.
    """
    found, asked = dict(configs.flatten(read_config(run))), dict(configs.flatten(config))
    differing = sorted(
        key
        for key in asked.keys() | found.keys()
        if asked.get(key) != found.get(key)
        and key not in RUNTIME_KEYS
        and not key.startswith(configs.NOTES)
    )
    refused = [key for key in differing if not (accept and key in ACCEPTED_KEYS)]
    if refused:
        lines = [
            f"{key}={found.get(key)!r}, asked for {asked.get(key)!r}{_hint(key, accept=accept)}"
            for key in differing
        ]
        listed = lines[0] if len(lines) == 1 else "\n  ".join(["other settings:", *lines])
        raise UserError(
            f"give another --workdir or the run's own settings: {run} holds a run with {listed}"
        )
    return {key: (found.get(key), asked.get(key)) for key in differing}


def _hint(key: str, *, accept: bool | None) -> str:
    if accept is None:
        return ""
    if accept:
        return "" if key not in ACCEPTED_KEYS else " (accepted)"
    return " (--accept_config_changes takes it)" if key in ACCEPTED_KEYS else ""


def _take_over(files: RunFolder, changes: Mapping[str, tuple[Any, Any]], total_steps: int) -> str:
    """Writes changes into a run's configuration, and beside it what they were; returns a line that tells."""
    step = last_step(files.checkpoints) or 0
    if total_steps and step > total_steps:
        raise UserError(
            f"{files.path} is trained to step {step} already, and cannot be of {total_steps} steps: what came after is "
            "in its weights; give another --workdir"
        )
    written = files.read_config()
    history = files.read_config_changes()
    listed = {key: [_plain(old), _plain(new)] for key, (old, new) in changes.items()}
    entry = {"step": step, "changes": listed}
    # cut off in between, the same command finds the same changes again
    if entry not in history[-1:]:
        write_json(files.config_changes, [*history, entry])
    # with other settings it is not finished any more
    files.finished.unlink(missing_ok=True)
    for key, (_, new) in listed.items():
        block, _, leaf = key.rpartition(".")
        written[block][leaf] = new
    write_json(files.config, written)
    told = ", ".join(f"{key} from {old} to {new}" for key, (old, new) in listed.items())
    return f"{files.path}: changed at step {step}: {told}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
