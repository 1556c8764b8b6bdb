"""Whose a run's folder is: of one configuration, data set and set of teachers, from its first checkpoint on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.train.checkpoint import has_started, read_config
from kdjax.train.setup import Plan
from kdjax.version import __version__

RUNTIME_KEYS = frozenset(
    {
        "data.threads",
        "data.read_ahead",
        "data.workers",
        "train.devices",
        "train.log_every",
        "evaluation.batch_size",
    }
)
"""Keys that do not change what a run computes: a run may go on with other values."""


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
        "the data set": inputs["dataset"],
        "the teachers": inputs["teachers"],
        **settings,
    }


def has_results(run: Path) -> bool:
    """Returns whether a run has anything that another configuration in its folder would spoil."""
    files = RunFolder(run)
    return has_started(run) or files.is_finished or bool(files.evaluations())


def claim_run(run: Path, config: ConfigDict, inputs: Mapping[str, Any]) -> None:
    """Writes configuration and inputs of a new run, or checks that an existing run has the same.

    A run that was cut off, or refused, before its first checkpoint has nothing to go on from: it begins anew.

    Args:
      run: folder of the run.
      config: the configuration.
      inputs: what tells the data set and the teachers' weights from others (`Plan.inputs`).

    Raises:
      UserError: when the folder holds a run of another configuration, data set or teacher.
    """
    files = RunFolder(run)
    if files.is_run and has_results(run):
        _check_same_config(run, config)
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
        return
    write_json(files.inputs, dict(inputs))
    write_json(files.config, configs.to_json(config))


def check_claim(run: Path, config: ConfigDict) -> None:
    """Raises UserError when a folder has results of another configuration."""
    if RunFolder(run).is_run and has_results(run):
        _check_same_config(run, config)


def _check_same_config(run: Path, config: ConfigDict) -> None:
    found, asked = dict(configs.flatten(read_config(run))), dict(configs.flatten(config))
    differing = sorted(
        key
        for key in asked.keys() | found.keys()
        if asked.get(key) != found.get(key)
        and key not in RUNTIME_KEYS
        and not key.startswith(configs.NOTES)
    )
    if differing:
        key = differing[0]
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise UserError(
            f"{run} holds a run with {key}={found.get(key)!r}, asked for {asked.get(key)!r}{more}; "
            "give another --workdir or the run's own settings"
        )
