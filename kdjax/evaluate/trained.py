"""What a run was trained on, as its files tell: qualities, images, kinds of forgery, data sets."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import forgery_name
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.data_pipeline.subsets import choose_subset
from kdjax.evaluate.runs import flatten
from kdjax.files import read_json
from kdjax.folder import RunFolder

SEEN, TAUGHT, UNSEEN, UNKNOWN = "seen", "seen by its teacher", "unseen", "not known"
STATES = (SEEN, TAUGHT, UNSEEN, UNKNOWN)
"""Whether a run has seen something in training, itself or by what it learned from."""

_DEEPEST = 8


class Trained(NamedTuple):
    """What a run was trained on.

    Attributes:
      method: its name.
      network: the student's.
      qualities: the student's.
      images: so many training images; None where the files do not tell, as below.
      of: so many are in the training split.
      forgeries: the kinds of forgery among them, by name.
      left_out: the kinds that were left out.
      datasets: what tells each of its data sets from another.
      teachers: what it learned from, its own first weights among them; None for one that cannot be looked at.
    """

    method: str
    network: str
    qualities: tuple[str, ...]
    images: int | None
    of: int | None
    forgeries: tuple[str, ...] | None
    left_out: tuple[str, ...]
    datasets: tuple[Mapping[str, Any], ...]
    teachers: tuple["Trained | None", ...] = ()

    @property
    def share(self) -> float | None:
        """The share of the training split that was trained on."""
        return self.images / self.of if self.images is not None and self.of else None

    def knows_forgery(self, name: str) -> str:
        """Returns one of `STATES`: whether fakes of a kind were trained on."""
        if self.forgeries is None or name == "unknown":
            # a kind without a name of its own may be any
            own = UNSEEN if name in self.left_out else UNKNOWN
        else:
            own = SEEN if name in self.forgeries else UNSEEN
        return self._with_teachers(own, lambda teacher: teacher.knows_forgery(name))

    def knows_dataset(self, identity: Mapping[str, Any]) -> str:
        """Returns the same of a data set by what `Dataset.identity` says of it."""
        parts = identity.get("parts", [identity])
        own = SEEN if any(part in self.datasets for part in parts) else UNSEEN
        own = own if self.datasets else UNKNOWN
        return self._with_teachers(own, lambda teacher: teacher.knows_dataset(identity))

    def _with_teachers(self, own: str, asked: Callable[["Trained"], str]) -> str:
        told = [UNKNOWN if each is None else asked(each) for each in self.teachers]
        if own != SEEN and (SEEN in told or TAUGHT in told):
            return TAUGHT
        return UNKNOWN if own == UNSEEN and UNKNOWN in told else own


def trained_on(config: Mapping[str, Any], inputs: Mapping[str, Any], depth: int = 0) -> Trained:
    """Returns what a run was trained on.

    Of runs from before the kinds of forgery were kept, its data set is looked at, where it still lies where it was.

    Args:
      config: the run's, as JSON.
      inputs: of `folder.RunFolder.read_inputs`.
      depth: how many students are between.
    """
    values, data = flatten(dict(config)), _block(config, "data")
    dataset = _block(inputs, "dataset")
    facts = _block(inputs, "training") or _looked_at(data, dataset)
    fakes = facts.get("fakes")
    return Trained(
        values.get("method.name", ""),
        values.get("student.network", ""),
        tuple(filter(None, values.get("student.qualities", "").split(", "))),
        _count(facts.get("images")),
        _count(facts.get("of")),
        tuple(name for name in fakes if fakes[name]) if isinstance(fakes, Mapping) else None,
        tuple(filter(None, values.get("data.leave_out", "").split(", "))),
        tuple(dataset.get("parts", [dataset])) if dataset else (),
        tuple(_teachers(values, depth)),
    )


def _teachers(values: Mapping[str, str], depth: int) -> Iterator[Trained | None]:
    """Yields what a run learned from: its teachers, and the run whose weights it began with."""
    runs = values.get("teacher.runs", "").split(", ")
    weights = values.get("student.weights", "")
    if weights and RunFolder(weights).is_run:
        runs.append(weights)
    for run in filter(None, runs):
        files = RunFolder(run)
        try:
            config = read_json(files.config, "a run")
            inputs = files.read_inputs()
            known = isinstance(config, dict) and depth < _DEEPEST
            yield trained_on(config, inputs, depth + 1) if known else None
        except UserError:
            yield None
    if values.get("teacher.weights") or values.get("teacher.recorded"):
        yield None


def _looked_at(data: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `inputs.json` did not hold once: images, of how many, kinds of forgery; nothing if not known."""
    sizes = _block(recorded, "sizes")
    subset, of = _count(data.get("subset")), _count(sizes.get("train"))
    found: dict[str, Any] = {"images": subset or of, "of": of}
    if not data.get("path") or data.get("more"):
        return found
    try:
        dataset = open_dataset(str(data["path"]))
        if dataset.identity() != recorded:
            return found
        ids = dataset.labels("train")
        rows = choose_subset(
            *(ids[name] for name in ("label", "identity")),
            size=subset or 0,
            seed=_count(data.get("subset_seed")) or 0,
        )
    except (UserError, OSError):
        return found
    kinds = np.unique(ids["forgery"][rows][ids["label"][rows] == 1])
    return {**found, "fakes": {forgery_name(dataset.forgeries, int(kind)): 1 for kind in kinds}}


def _block(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
