"""Writes docs/results.md of the stored runs: the same bytes for the same results."""

import statistics as plain
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import evidence_store as store
from evidence_analysis import Analysis
from evidence_claims import CLAIMS
from evidence_plan import current
from evidence_settings import BUDGETS
from evidence_shares import share_lines
from evidence_tables import TABLES
from evidence_teachers import teacher_facts
from evidence_verdicts import MARGIN, Claim, Versus, compare, overall, shown, verdict

from kdjax.evaluate.statistics import Comparison, Interval, mean_interval
from kdjax.types import QUALITIES

TEMPLATE = Path(__file__).with_name("evidence_page.md")
NONE = "–"

FEWEST_TIMED = 3
"""Runs on one kind of machine from which a row's cost is told."""


def page(results: Path = store.RESULTS) -> str:
    """Returns the page."""
    analyses = {
        name: Analysis(table, current(store.read(name, results), table))
        for name, table in TABLES.items()
    }
    claims = "\n\n".join("\n".join(claim_lines(claim, analyses)) for claim in CLAIMS)
    tables = "\n\n".join(
        "\n".join(table_lines(name, analysis)) for name, analysis in analyses.items()
    )
    parts = {"claims": claims, "tables": tables, "shares": "\n".join(share_lines(analyses))}
    text = TEMPLATE.read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def claim_lines(claim: Claim, analyses: Mapping[str, Analysis]) -> Iterator[str]:
    """Yields a claim: what was compared, the verdict, the paper's numbers, the reading."""
    verdicts = [verdict(versus, analyses) for versus in claim.versus]
    yield f"### {claim.paper}: {claim.text}"
    yield ""
    yield f"**{overall(verdicts).capitalize()}.**"
    yield ""
    yield "| table | comparison | difference | bootstrap | over seeds | |"
    yield "|---|---|---|---|---|---|"
    for versus, word in zip(claim.versus, verdicts, strict=True):
        found = difference_cells(compare(versus, analyses), shown(versus, analyses))
        if versus.logged:
            found[1] = NONE
        yield f"| `{versus.table}` | {_comparison(versus)} | {' | '.join(found)} | {word} |"
    yield ""
    yield f"The paper: {claim.numbers}."
    if claim.reading:
        yield ""
        yield claim.reading


def _comparison(versus: Versus) -> str:
    if versus.logged:
        return f"{versus.better}: `{versus.logged[0]}` > `{versus.logged[1]}` at the end"
    sign = f"at most {MARGIN:g} below" if versus.at_least else ">"
    return f"{versus.better} {sign} {versus.worse}"


def table_lines(name: str, analysis: Analysis) -> Iterator[str]:
    """Yields a table with what is needed to understand it."""
    table = analysis.table
    done, wanted = analysis.count(list(analysis.rows))
    yield f"### {table.title}"
    yield ""
    yield f"`{name}`: {done} of {wanted} runs. Answers {table.answers}. " + " ".join(
        facts(analysis)
    )
    yield ""
    if not done:
        yield "Not run yet."
        return
    judged = {"overall": "pooled", "average": "mean"}.get(table.quality, table.quality)
    beside = [q for q in (*QUALITIES, "overall") if table.quality in ("overall", "average")]
    heads = ["row", "seeds", f"AUC, {judged}", "95 %"]
    if table.quality != "validation":
        heads += [f"AUC, {'pooled' if q == 'overall' else q}" for q in beside] or ["accuracy"]
    heads += ["difference", "bootstrap", "over seeds", "p (Holm)", "cost", "gradients"]
    if table.settings.get("train.log_every") == 1:
        heads.append("spikes")
    yield _line(heads)
    yield "|---" * len(heads) + "|"
    corrected = analysis.corrected()
    for row in analysis.rows:
        yield _line(row_cells(analysis, row, beside, corrected))
    for row in analysis.rows:
        for seed, problem in analysis.failures(row).items():
            yield ""
            yield f"Failed: {row}, seed {seed}: {problem}"


def row_cells(
    analysis: Analysis, name: str, beside: Sequence[str], corrected: Mapping[str, float]
) -> list[str]:
    """Returns the cells of a row."""
    seeds = analysis.seeds(name)
    auc = mean_interval(list(analysis.auc(name).values()), limits=(0.0, 1.0))
    cells = [name, str(len(seeds)), _number(auc.estimate), _bounds(auc, _number)]
    if analysis.table.quality != "validation":
        metrics = [(q, "auc") for q in beside] or [(analysis.table.quality, "accuracy")]
        cells += [_number(analysis.mean_metric(name, *metric)) for metric in metrics]
    other = analysis.baseline(name)
    if not other:
        cells += ["baseline", "", "", ""]
    else:
        found = difference_cells(analysis.compare(name, other), analysis.shown(name, other))
        if analysis.table.quality == "validation":
            found[1] = NONE
        cells += [*found, _p(corrected.get(name))]
    cells += [_cost(analysis, name, other), _gradients(analysis, name)]
    if analysis.table.settings.get("train.log_every") == 1:
        named = [spike for run in analysis.runs(name).values() for spike in run["spikes"]]
        cells.append(", ".join(named) if named else "none")
    return cells


def facts(analysis: Analysis) -> Iterator[str]:
    """Yields sentences on data, students, teachers, budget and machines."""
    table, content = analysis.table, analysis.content
    steps = table.settings.get("train.steps")
    start = (
        "from ImageNet" if table.settings.get("student.weights") == "imagenet" else "from scratch"
    )
    data = f"Data: `{table.dataset}`"
    if "dataset" in content:
        images, videos = len(content.get("labels", ())), len(set(content.get("videos", ())))
        data += f" (checksum `{content['dataset']['checksum'][:12]}`), {images} test images of {videos} videos"
    yield f"{data}. Students: {table.network} {start}, {steps} steps of {table.settings['data.batch_size']}."
    yield from teacher_facts(analysis)
    yield f"Settings: {table.budget or BUDGETS.get(table.dataset, 'not said')}."
    runs = [run for row in analysis.rows for run in analysis.runs(row).values()]
    for checksum, where in store.variants(table.dataset).items():
        count = sum(run.get("drawn") == checksum for run in runs)
        if count:
            yield f"{count} of {len(runs)} runs saw the data as drawn {where} (`{checksum[:12]}`)."
    machines = sorted({_machine(run) for run in runs})
    if machines:
        yield f"Run on {'; '.join(machines)}."


def difference_cells(comparison: Comparison | None, sign: int) -> list[str]:
    """Returns difference, bootstrap and interval over seeds; bold where it is shown."""
    if comparison is None:
        return [NONE] * 3
    difference = _signed(comparison.bootstrap.estimate)
    difference = f"**{difference}**" if sign else difference
    intervals = (comparison.bootstrap, comparison.over_seeds)
    return [difference, *(_bounds(interval, _signed) for interval in intervals)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return NONE if value is None or value != value else f"{value:.3f}"


def _signed(value: float) -> str:
    if value != value:
        return NONE
    # no minus before a zero
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def _bounds(interval: Interval, shown: Callable[[float], str]) -> str:
    if interval.low != interval.low:
        return NONE
    return f"{shown(interval.low)} to {shown(interval.high)}"


def _p(value: float | None) -> str:
    if value is None or value != value:
        return NONE
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _cost(analysis: Analysis, name: str, other: str) -> str:
    """Returns the time of a row's image by its baseline's, of runs on the same kind of machine."""
    if analysis.rows[name].by_quality or not other:
        return "" if other else "1"
    own, base = _speeds(analysis, name), _speeds(analysis, other)
    ratios = [base[machine] / own[machine] for machine in sorted(set(own) & set(base))]
    return f"{plain.median(ratios):.1f}" if ratios else NONE


def _speeds(analysis: Analysis, name: str) -> dict[str, float]:
    """Returns the median images per second by processor and version of JAX, where it is of some runs."""
    found: dict[str, list[float]] = {}
    for run in analysis.runs(name).values():
        if speed := run.get("images_per_second"):
            found.setdefault(_machine(run), []).append(speed)
    return {
        machine: plain.median(speeds)
        for machine, speeds in found.items()
        if len(speeds) >= FEWEST_TIMED
    }


def _machine(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    devices = ", ".join(sorted(set(machine["devices"])))
    return f"{machine['processor']}, {devices}, JAX {machine['versions']['jax']}"


def _gradients(analysis: Analysis, name: str) -> str:
    terms: dict[str, list[list[float | None]]] = {}
    for run in analysis.runs(name).values():
        for term, three in run.get("gradients", {}).items():
            terms.setdefault(term, []).append(three)
    return "; ".join(
        f"{term} {' / '.join(_median(values) for values in zip(*found, strict=True))}"
        for term, found in terms.items()
    )


def _median(values: Sequence[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"{plain.median(known):.2g}" if known else NONE
