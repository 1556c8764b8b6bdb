"""What a table of the evidence is made of."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})
ALL_QUALITIES = ("raw", "c23", "c40")


class Row(NamedTuple):
    """One way of training a student.

    Attributes:
      name: how the row is called in results and on the page.
      config: METHOD, with the table's network, or METHOD:NETWORK.
      overrides: what it sets.
      teacher: the name of the table's teacher that it learns from; empty: none.
      baseline: the row it is compared with; empty: the table's.
      teacher_scale: factor on all features of the teacher, not on its logits: maps of another scale.
      more_teachers: names of teachers that it learns from as well.
      by_quality: trains nothing: `{quality: row}`, whose networks take a quality each.
    """

    name: str
    config: str = "supervised"
    overrides: Settings = NONE
    teacher: str = ""
    baseline: str = ""
    teacher_scale: float = 1.0
    more_teachers: tuple[str, ...] = ()
    by_quality: Mapping[str, str] = MappingProxyType({})


class Teacher(NamedTuple):
    """A network on raw images that students learn from, of another seed than theirs."""

    network: str
    settings: Settings


class Table(NamedTuple):
    """Rows that are compared with each other.

    Attributes:
      title: its heading.
      dataset: a name of `evidence_data.json`.
      network: the students'.
      settings: of all students.
      teachers: by the names that rows use.
      rows: in the order in which they are trained, for each seed.
      baseline: the name of the row that others are compared with.
      quality: whose test AUC is judged: one of them; `overall`, all pooled; or `average`, of the three AUCs. Or
        `validation`: the AUC on the validation images, which settings are chosen by.
      answers: the papers' tables or figures that it answers.
      budget: how the settings were come by; empty: as for all tables of the data set.
      revision: raise it to train everything again.
      seeds: of a complete table.
    """

    title: str
    dataset: str
    network: str
    settings: Settings
    teachers: Mapping[str, Teacher]
    rows: tuple[Row, ...]
    baseline: str = "alone"
    quality: str = "c40"
    answers: str = ""
    budget: str = ""
    revision: int = 1
    seeds: range = range(5)
