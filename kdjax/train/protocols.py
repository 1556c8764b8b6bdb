"""Evaluating finished runs by a protocol."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.configs.protocols import STORED, TRAINED, Protocol, read_protocol
from kdjax.data_pipeline import made
from kdjax.data_pipeline.corruptions import KINDS
from kdjax.data_pipeline.dataset import Dataset
from kdjax.evaluate.protocols import OWN, Measured, Row, protocol_rows
from kdjax.evaluate.runs import short_names
from kdjax.evaluate.trained import trained_on
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import checkpoint
from kdjax.train.data import open_data
from kdjax.train.evaluation import check_distinct, data_name, evaluate_run


def evaluate_protocol(
    runs: Sequence[str | Path],
    protocol: str | Protocol,
    *,
    data: Sequence[str | Path] = (),
    split: str = "test",
    limit: int = 0,
    qualities: Sequence[str] = (),
    extensions: Extensions = NOTHING,
) -> list[Row]:
    """Evaluates runs by a protocol; each evaluation is kept as `evaluate_run` keeps it.

    Args:
      runs: folders of runs.
      protocol: a name of `configs.protocols.PROTOCOLS`, a Python file, or a protocol.
      data: other data sets than the runs' own, in its place; of `cross-dataset`, beside it.
      split: the split to read.
      limit: at most this many images; 0 for all.
      qualities: in place of the protocol's.
      extensions: the user's own, for runs whose network is not shipped.

    Returns:
      The rows of its table; `evaluate.protocoltext.protocol_tables` makes text of them.

    Raises:
      UserError: when a run or a data set cannot be used, or the protocol is unknown.
    """
    if isinstance(protocol, str):
        protocol = read_protocol(protocol)
    measured = [
        measure(
            *(run, place, protocol),
            name=name,
            split=split,
            limit=limit,
            qualities=qualities,
            extensions=extensions,
        )
        for place in places(protocol, data)
        for run, name in zip(runs, short_names(list(map(Path, runs))), strict=True)
    ]
    return protocol_rows(protocol.table, measured)


def places(protocol: Protocol, data: Sequence[str | Path]) -> list[str | Path]:
    """Returns the data sets of a protocol, empty for the runs' own.

    Raises:
      UserError: for a protocol that compares with other data sets, and none is named; or two of one name.
    """
    check_distinct(data)
    if protocol.table == "datasets":
        if not data:
            raise UserError(
                "cross-dataset tells other data sets from the runs' own; name one or more: --data=FOLDER"
            )
        return ["", *data]
    return [*data] if data else [""]


def measure(
    run: str | Path,
    place: str | Path,
    protocol: Protocol,
    *,
    name: str = "",
    split: str = "test",
    limit: int = 0,
    qualities: Sequence[str] = (),
    extensions: Extensions = NOTHING,
) -> Measured:
    """Evaluates a run on a data set as a protocol wants it; see `evaluate_protocol`.

    Args:
      run: folder of the run.
      place: the data set; empty: the run's own.
      protocol: the protocol.
      name: what the table calls the run; empty: by its folder.
      split: see `evaluate_protocol`.
      limit: likewise.
      qualities: likewise.
      extensions: likewise.
    """
    files, config = RunFolder(run), checkpoint.read_config(run)
    dataset = open_data(config, extensions, place)
    is_corrupted = protocol.table == "corruptions"
    found = evaluate_run(
        run,
        split=split,
        data=place,
        limit=limit,
        qualities=() if is_corrupted else qualities or _qualities(protocol, config, dataset, run),
        corruptions=_kinds(protocol) if is_corrupted else (),
        extensions=extensions,
    )
    inputs = files.read_inputs() if files.inputs.exists() else {}
    trained = trained_on(configs.to_json(config), inputs)
    return Measured(
        name or Path(run).resolve().name,
        trained,
        data_name(place) if str(place) else OWN,
        trained.knows_dataset(dataset.identity()),
        tuple(dataset.forgeries),
        found,
    )


def _kinds(protocol: Protocol) -> tuple[str, ...]:
    return KINDS if protocol.corruptions in ((), ("all",)) else protocol.corruptions


def _qualities(
    protocol: Protocol, config: ConfigDict, dataset: Dataset, run: str | Path
) -> tuple[str, ...]:
    """Returns the qualities that a protocol wants of a run on a data set."""
    if protocol.qualities == (STORED,):
        return tuple(dataset.qualities)
    if protocol.qualities != (TRAINED,):
        return protocol.qualities
    stored = tuple(dataset.qualities)
    for name in config.student.qualities:
        if name not in stored and not made.is_made(name, stored):
            raise UserError(
                f"{dataset.where} has no quality {name!r}, which {run} was trained on; name others, "
                f"--qualities={','.join(stored)}"
            )
    return tuple(config.student.qualities)
