"""What the page says of the teachers that a table's students had."""

from collections.abc import Iterator, Mapping
from typing import Any

from evidence_analysis import Analysis

Identity = tuple[str, int, float | None, str]
"""Network, seed, test AUC on raw and hash of the weights; runs from before hashes were kept have an empty one, which
stands for any hash beside which the rest is the same."""


def teacher_facts(analysis: Analysis) -> Iterator[str]:
    """Yields how many teachers were trained, how good they are, and whether rows share them."""
    taught = [
        (seed, teacher)
        for name in analysis.rows
        for seed, run in analysis.runs(name).items()
        for teacher in teachers(run)
    ]
    hashed = {teacher[:3] for _, teacher in taught if teacher[3]}
    found: dict[str, set[Identity]] = {}
    by_seed: dict[tuple[str, int], set[Identity]] = {}
    for seed, teacher in taught:
        if teacher[3] or teacher[:3] not in hashed:
            found.setdefault(teacher[0], set()).add(teacher)
            by_seed.setdefault((teacher[0], seed), set()).add(teacher)
    if not found:
        return
    each = [
        f"{network}, {len(members)} trained" + _range(members)
        for network, members in sorted(found.items())
    ]
    yield f"Teachers: {'; '.join(each)}."
    mixed = sorted({seed for (_, seed), members in by_seed.items() if len(members) > 1})
    if mixed:
        yield (
            f"Of seed{'s' * (len(mixed) > 1)} {', '.join(map(str, mixed))} not all rows had the same teacher, "
            "but another of the same seed and settings: differences between two taught rows hold that too."
        )


def teachers(run: Mapping[str, Any]) -> list[Identity]:
    """Returns the teachers of a run."""
    return [
        (known["network"], known["seed"], known["auc"].get("raw"), known.get("weights", ""))
        for key, known in run.items()
        if key == "teacher" or key.startswith("and ")
    ]


def _range(members: set[Identity]) -> str:
    known = [raw for _, _, raw, _ in members if raw is not None]
    return f", test AUC on raw {min(known):.3f} to {max(known):.3f}" if known else ""
