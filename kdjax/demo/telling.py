"""What the demo says of its results, and how sure that is."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdjax.data_pipeline.corruptions import KINDS, names
from kdjax.demo.plan import RUNS, STEPS
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.grouped import Group, Summary
from kdjax.serve.verdicts import CANNOT_SAY, FAKE, REAL


def beside_alone(results: Mapping[str, Evaluation], *, full: bool) -> str:
    """Returns lines on what a teacher has changed, and how sure that is: students of one budget, on c40.

    Args:
      results: evaluations by name of the run.
      full: whether all students had the same steps.
    """
    budget = STEPS["full"] if full else RUNS["alone"].quick
    alike = [
        name
        for name, run in RUNS.items()
        if run.teacher and name in results and (full or run.quick == budget)
    ]
    summary = Summary()
    groups = [Group(name, {0: results[name]}) for name in ("alone", *alike)]
    lines = [
        "AUC on c40 less that of the student alone, with the 95 % interval of a bootstrap over test videos:"
    ]
    for line in summary.lines(groups, "alone", "c40"):
        if line.comparison is not None:
            found = line.comparison.bootstrap
            said = "more than chance images say" if found.excludes_zero else "undecided"
            lines.append(
                f"  {line.name:<6} {found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]  {said}"
            )
    lines.append(
        "That is one seed of a small budget; another seed moves it as far. What five seeds say is in docs/results.md."
    )
    return "\n".join(lines)


def corruption_rows(found: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Returns a row a run for `format_table`: the AUC of images as they are, and its mean over severities."""
    rows = []
    for run, evaluation in found.items():
        auc = {name: values["auc"] for name, values in evaluation.metrics.items()}
        means = {kind: sum(auc[name] for name in names(kind)) / len(names(kind)) for kind in KINDS}
        rows.append({"run": run, "as they are": next(iter(auc.values())), **means})
    return rows


def verdict_rows(
    records: Sequence[Mapping[str, Any]], truth: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns a row a clip for `format_table`.

    Args:
      records: of clips, as `kdjax predict` writes them.
      truth: the kind of forgery of each, "" of a real one.
    """
    rows = []
    for record, kind in zip(records, truth, strict=True):
        score, low, high = (record[name] for name in ("score", "low", "high"))
        known = None not in (score, low, high)
        rows.append(
            {
                "clip": kind or REAL,
                "verdict": record["verdict"],
                "score": f"{score:.3f} [{low:.3f}, {high:.3f}]" if known else "",
                "why": record["why"] or "",
            }
        )
    return rows


def verdict_counts(records: Sequence[Mapping[str, Any]], truth: Sequence[str]) -> str:
    """Returns lines on how often the verdicts were right, and what that says; arguments as of `verdict_rows`."""
    said = [record["verdict"] for record in records]
    lines = []
    for name, own in ((FAKE, True), (REAL, False)):
        found = [each for each, kind in zip(said, truth, strict=True) if bool(kind) == own]
        counts = ", ".join(f"{found.count(each)} {each}" for each in (FAKE, REAL, CANNOT_SAY))
        lines.append(f"of {len(found)} {name} clips: {counts}")
    lines.append(
        "So few clips show how a detector is used, not how good it is. The threshold keeps false alarms rare, and a "
        "network of this budget lets many fakes pass."
    )
    return "\n".join(lines)
