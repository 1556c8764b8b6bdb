"""Results of the evidence on disk: one JSON a table, whole after every run, that several processes may write."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from evidence_types import Row, Table

from kdjax import configs
from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.files import read_json, write_text
from kdjax.train.claim import RUNTIME_KEYS
from kdjax.types import QUALITIES

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "evidence"
FROZEN = HERE / "evidence_data.json"
FORMAT = 1

NEUTRAL: dict[str, Any] = {
    "train.balance": "none",
    "data.augmentation": "",
    "data.more": [],
    "data.weights": [0.0],
    "data.balance": "none",
    "data.leave_out": [],
    "method.class_weights": [1.0, 1.0],
    "student.remat": "none",
    "train.freeze_statistics": "none",
    "train.deterministic": False,
    "optimizer.decay_mask": "",
    "optimizer.groups": [],
    "optimizer.freeze": [],
    "accumulation.steps": 1,
    "accumulation.batch_norm": "exact",
    "ema.decay": 0.0,
    "ema.evaluate": True,
    "train.nonfinite": "stop",
}
"""Keys that came later, with the value at which a run trains as it did before there were any."""

UNDECIDED = RUNTIME_KEYS | {
    *("data.path", "data.workers", "data.subset_seed", "teacher.runs", "seed.data", "seed.student"),
    "train.gradient_ratio_every",
}
"""Keys that do not decide what a row finds, or are a seed or a folder of their own."""

Content = dict[str, Any]


def read(name: str, results: Path = RESULTS) -> Content:
    """Returns what is known of a table; `{"rows": {}}` and no more of one that has no result yet."""
    path = results / f"{name}.json"
    if not path.exists():
        return {"format": FORMAT, "rows": {}}
    content = read_json(path, "a folder of the evidence")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a result of this version of benchmarks/evidence.py")
    return content


@contextlib.contextmanager
def updating(name: str, results: Path = RESULTS) -> Iterator[Content]:
    """Gives the table's content as it is now and writes it when the block ends; others wait meanwhile."""
    results.mkdir(parents=True, exist_ok=True)
    folder = os.open(results, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        content = read(name, results)
        yield content
        write_text(results / f"{name}.json", dump(content))
    finally:
        os.close(folder)


def dump(content: Mapping[str, Any]) -> str:
    """Returns the JSON text: a line for each run and for each long list."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def block(entries: Mapping[str, Any], depth: int) -> str:
        inner = ",\n".join(
            f"{' ' * depth}{json.dumps(key, ensure_ascii=False)}: "
            + (block(value, depth + 1) if key in ("rows", "runs") or depth == 2 else line(value))
            for key, value in entries.items()
        )
        return "{\n" + inner + "\n" + " " * (depth - 1) + "}"

    return block(content, 1) + "\n"


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a flat configuration decides a run, but for seeds and folders, as JSON.

    Wanted shares that no balance asks for, and options of methods that a combination is not of, are left out.
    """
    shares = config.get("train.balance", "none") == "none"
    parts = tuple(config.get("method.parts", ()))
    kept = {}
    for key, value in config.items():
        part = key.split(".")[1] if parts and key.count(".") > 1 else ""
        foreign = part in configs.NAMES and part not in parts
        if not (key in UNDECIDED or (shares and ".shares." in key) or foreign):
            kept[key] = value
    return json.loads(json.dumps(kept))


def same_settings(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    """Returns whether both train alike: equal but for keys of `NEUTRAL` at their neutral value."""
    if old is None or new is None:
        return old is new
    return {**NEUTRAL, **old} == {**NEUTRAL, **new}


def finished(content: Content, row: Row, wanted: Mapping[str, Any], seed: int) -> bool:
    """Returns whether a row's run of a seed is there, made with the wanted settings."""
    entry = content["rows"].get(row.name)
    return entry is not None and same_row(entry, wanted) and str(seed) in entry["runs"]


def same_row(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Returns whether a stored row was made with the wanted settings, by a teacher of its own."""
    return entry["revision"] == wanted["revision"] and all(
        same_settings(entry[part], wanted[part]) for part in ("settings", "teacher")
    )


def share_run(
    name: str, row: Row, wanted: Mapping[str, Any], seed: int, quality: str, results: Path = RESULTS
) -> str:
    """Copies the same run from another table that has it, and returns that table's name; empty: none has it.

    The same is: equal settings, teachers, seed and data; its scores must be of the `quality` that the table judges.
    """
    own = read(name, results)
    kept = judged_qualities(quality)
    for path in sorted(results.glob("*.json")):
        other = read(path.stem, results)
        if path.stem == name or not _same_data(own, other):
            continue
        for entry in other["rows"].values():
            run = entry["runs"].get(str(seed), {})
            if same_row(entry, wanted) and set(kept) <= set(run.get("scores", ())):
                with updating(name, results) as content:
                    rows = content.pop("rows")
                    content |= {key: other[key] for key in ("labels", "videos")}
                    content["rows"] = rows
                    scores = {each: run["scores"][each] for each in kept}
                    add_run(content, row, wanted, seed, {**run, "scores": scores})
                return path.stem
    return ""


def _same_data(one: Content, other: Content) -> bool:
    """Returns whether two tables are of the same test images, as far as they are known."""
    return (
        "labels" in other
        and one.get("dataset", {}).get("checksum") == other["dataset"]["checksum"]
        and all(one.get(key, other[key]) == other[key] for key in ("labels", "videos"))
    )


def add_run(
    content: Content, row: Row, wanted: Mapping[str, Any], seed: int, run: Mapping[str, Any]
) -> None:
    """Puts a run into its row; runs of other settings, which it can no longer be compared with, go."""
    entry = content["rows"].get(row.name)
    if entry is None or not same_row(entry, wanted):
        entry = content["rows"][row.name] = {**wanted, "runs": {}}
    entry["runs"][str(seed)] = dict(run)
    entry["runs"] = dict(sorted(entry["runs"].items(), key=lambda pair: int(pair[0])))


def set_data(content: Content, table: Table, dataset: Mapping[str, Any]) -> None:
    """Notes the data set; results on other data are dropped."""
    if content.get("dataset", dataset)["checksum"] != dataset["checksum"]:
        content.clear()
        content |= {"format": FORMAT, "rows": {}}
    rows = content.pop("rows")
    known = {key: value for key, value in dataset.items() if key != "drawn"}
    content |= {"title": table.title, "dataset": known, "rows": rows}


def set_images(content: Content, evaluation: Evaluation) -> None:
    """Notes labels and videos of the test images, once; UserError when a run has seen others."""
    columns = {
        "labels": evaluation.columns["labels"].tolist(),
        "videos": evaluation.columns["video"].tolist(),
    }
    rows = content.pop("rows")
    for name, values in columns.items():
        if content.setdefault(name, values) != values:
            content["rows"] = rows
            raise UserError(f"the test images of a run have other {name} than those before it")
    content["rows"] = rows


def judged_qualities(quality: str) -> tuple[str, ...]:
    """Returns the qualities whose test scores a table keeps; none where validation images judge."""
    if quality == "validation":
        return ()
    return (quality,) if quality in QUALITIES else tuple(QUALITIES)


def pack(scores: np.ndarray) -> list[int]:
    """Returns probabilities as integers from 0 to 1000: their logits from -10 to 10, in steps of 0.02.

    Probabilities themselves would lose the order of all that a sure network scores near 0 and 1.
    """
    probability = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    logits = np.log(probability) - np.log1p(-probability)
    return np.clip(np.round(500 + 50 * logits), 0, 1000).astype(int).tolist()


def frozen_checksum(dataset: str, frozen: Path = FROZEN) -> str | None:
    """Returns the checksum that a data set was frozen under, None of one that is not."""
    return _frozen(dataset, frozen).get("checksum")


def variants(dataset: str, frozen: Path = FROZEN) -> dict[str, str]:
    """Returns the checksums of the same data set as other processors draw it, and which ones these are."""
    return _frozen(dataset, frozen).get("variants", {})


def check_frozen(dataset: str, checksum: str, frozen: Path = FROZEN) -> str:
    """Returns the checksum that data are known by; UserError for others than were frozen under the name."""
    wanted = frozen_checksum(dataset, frozen)
    if wanted is None or checksum in variants(dataset, frozen):
        return wanted or checksum
    if wanted != checksum:
        command = _frozen(dataset, frozen).get("command", "")
        raise UserError(
            f"{dataset} has checksum {checksum[:16]}, not {wanted[:16]} as frozen in {frozen.name}; "
            f"make it again: {command}"
        )
    return wanted


def _frozen(dataset: str, frozen: Path) -> dict[str, Any]:
    return read_json(frozen, "benchmarks").get(dataset, {}) if frozen.exists() else {}
