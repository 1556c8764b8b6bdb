"""The model card of an export: what it was trained on, how good it is, how sure that is, and what it is not for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdjax import configs
from kdjax.evaluate.calibration import Threshold
from kdjax.evaluate.tables import HEADINGS, interval_text
from kdjax.evaluate.trained import trained_on
from kdjax.folder import RunFolder
from kdjax.serve.exports import FILES
from kdjax.serve.models import ROUNDINGS, TOLERANCE
from kdjax.serve.spec import Spec
from kdjax.serve.weights import Namesake
from kdjax.train.checkpoint import read_config

UNKNOWN = "not stated; ask whoever trained it before you pass it on"

USE = """\
A help for people who look at media: it says how much a face resembles the manipulated faces it was trained on. It is
meant for research, and to order or pre-select material that people then judge.

Not for: deciding alone about a person, a post or a piece of evidence; faces, cameras, compression or generators unlike
those of its data, on which the figures above say nothing; whole images without a face cut out."""

LIMITS = """\
- A new kind of forgery may pass as real; the figures are of the kinds in the data.
- The score depends on how the face is cut out and compressed; both have to be as in training.
- Frames of a video resemble each other: judge a video by the mean over several frames, with the threshold for videos.
- Fairness over groups of people was not measured unless it is stated here."""


def model_card(
    spec: Spec,
    *,
    facts: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str] = (),
    same: Namesake | None = None,
) -> str:
    """Returns the card as Markdown.

    Args:
      spec: of the export.
      facts: what else is told of training and data, by name.
      files: what is said of each format's file.
      notes: sentences on what is missing or has changed.
      same: the same network in PyTorch, where its weights are in the export.
    """
    parts = [
        f"# {_plain(spec.network)}: a detector of manipulated faces",
        "Given a face, the network tells how likely it is manipulated: log-odds of "
        f"`{spec.labels[1]}` against `{spec.labels[0]}`.",
        "## Facts",
        _table(
            ("", ""),
            [
                ("network", f"{_plain(spec.network)}, {spec.parameters:,} parameters"),
                ("input", f"{spec.image_size} x {spec.image_size} pixels, RGB, uint8"),
                ("faces", _faces(spec)),
                ("trained and validated on", ", ".join(map(_plain, spec.qualities))),
                ("compressed by", ", ".join(map(_plain, spec.codecs)) or "not known"),
                ("data", _plain(spec.data) or "not known"),
                *((name, _plain(value)) for name, value in facts.items()),
                ("licence of the weights", _plain(spec.licence) or UNKNOWN),
                ("made by", f"kdjax {spec.version}, weights of step {spec.step}"),
            ],
        ),
        "## How good it is",
        _metrics(spec),
        "## Thresholds",
        _thresholds(spec),
        "## Intended use",
        USE,
        "## Limits",
        "\n".join([LIMITS, *(f"- {note}" for note in notes)]),
        "## Files",
        _files(files),
        "## Running it",
        _running(spec, files, same),
    ]
    return "\n\n".join(parts) + "\n"


def _faces(spec: Spec) -> str:
    if spec.faces is None:
        return f"{spec.stored_size} x {spec.stored_size} pixels; how they were cut out is not known"
    turned = (
        f"turned upright by {_plain(spec.faces.alignment)}"
        if spec.faces.alignment
        else "not turned"
    )
    return (
        f"found by {_plain(spec.faces.detector)}, cut out with {spec.faces.margin:g} times the side of the face, "
        f"{turned}, {spec.stored_size} x {spec.stored_size} pixels; the network sees the centre"
    )


def _metrics(spec: Spec) -> str:
    if spec.metrics is None:
        return "It was not evaluated on test data: nothing is known of how good it is."
    names = list(dict.fromkeys(name for entry in spec.metrics.values() for name in entry))
    rows = [
        (_plain(quality), *(interval_text(entry[name]) if name in entry else "" for name in names))
        for quality, entry in spec.metrics.items()
    ]
    heads = ("quality", *(HEADINGS.get(name, name) for name in names))
    return (
        "On the test split of its data, with 95 % intervals by a bootstrap over videos; on other data it will be worse."
        f"\n\n{_table(heads, rows)}"
    )


def _thresholds(spec: Spec) -> str:
    calibration = spec.calibration
    if calibration is None:
        return "It was not calibrated: a score orders faces, and no threshold has a known rate of false alarms."
    kinds = (
        ("a single image", calibration.of_images),
        ("a video, the mean of its images", calibration.of_videos),
    )
    rows = [(kind, *_threshold(threshold)) for kind, threshold in kinds]
    qualities = ", ".join(map(_plain, calibration.qualities))
    text = (
        f"The probability of fake is `1 / (1 + exp(-log_odds / {calibration.temperature:.6g}))`. Fake is what lies "
        f"above the threshold, chosen on {calibration.images} validation scores of {calibration.videos} videos "
        f"({qualities})."
    )
    problem = f"\n\nNote: {calibration.problem}." if calibration.problem else ""
    heads = (
        "of",
        "threshold",
        "false alarms wanted",
        "reached, with 95 % interval",
        "reals",
        "of videos",
        "fakes found",
    )
    return f"{text}{problem}\n\n{_table(heads, rows)}"


def _threshold(threshold: Threshold) -> tuple[str, ...]:
    return (
        f"{threshold.value:.6g}",
        f"{threshold.wanted:g}",
        f"{threshold.reached:.4f} [{threshold.low:.4f}, {threshold.high:.4f}]",
        str(threshold.reals),
        str(threshold.videos),
        f"{threshold.detections:.3f}",
    )


def _files(files: Mapping[str, Mapping[str, Any]]) -> str:
    what = {
        "stablehlo": "StableHLO for JAX on CPU, CUDA and TPU, any number of images",
        "onnx": "ONNX, float32, any number of images",
        "int8": "ONNX, 8 bits, for CPUs",
        "weights": "weights by kdjax's names",
        "torch": "weights by PyTorch's names",
    }
    rows = [
        (
            f"`{said['file']}`",
            what[name],
            f"{said['bytes'] / 1e6:.1f} MB",
            f"{said['difference']:.1e}" if "difference" in said else "",
        )
        for name, said in files.items()
    ]
    rows.append(("`export.json`", "all of this for programs", "", ""))
    table = _table(("file", "what it is", "size", "log-odds differ by"), rows)
    if not any(name in files for name in ("stablehlo", "onnx")):
        return table
    return (
        f"{table}\n\nThe last column is the largest difference from the run's own log-odds on the images that were "
        f"compared. A model in float32 was kept because that is at most {TOLERANCE:g} (of the log-odds, where they are "
        f"beyond 1), or at most {ROUNDINGS} times as far as the run's own lie from those in double precision."
    )


def _running(spec: Spec, files: Mapping[str, Any], same: Namesake | None) -> str:
    parts = []
    if any(name in files for name in ("stablehlo", "onnx", "int8")):
        parts.append(
            "```python\nfrom kdjax.serve import load_export\n\n"
            'spec, score = load_export("THIS_FOLDER")\n'
            f"log_odds = score(faces)  # uint8 [B, {spec.stored_size}, {spec.stored_size}, 3], RGB\n```"
        )
    if "onnx" in files:
        parts.append(
            "Without kdjax and JAX; normalisation is inside:\n\n```python\nimport onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{FILES["onnx"]}")\n'
            f'(log_odds,) = session.run(None, {{"images": faces}})  # uint8 [B, {spec.image_size}, '
            f"{spec.image_size}, 3], RGB\n```"
        )
    if same is not None and "torch" in files:
        said = files["torch"]
        parts.append(
            f"In PyTorch; its images are `(RGB / 255 - mean) / std`, `[B, 3, {spec.image_size}, {spec.image_size}]`, "
            f"with mean {_numbers(said['mean'])} and std {_numbers(said['std'])}:\n\n"
            f"```python\nimport {same.library}\nfrom safetensors.torch import load_file\n\n"
            f'network = {same.create}\nnetwork.load_state_dict(load_file("{said["file"]}"))\nnetwork.eval()\n'
            "logits = network(images)\nlog_odds = logits[:, 1] - logits[:, 0]\n```"
        )
    return "\n\n".join(parts) or "The weights are read by any reader of safetensors."


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: Any) -> str:
    """Returns a text of elsewhere as Markdown shows it in a table: one line, and no markup."""
    one = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*[]<>|#!" else letter for letter in one)


def training_facts(run: str | Path) -> dict[str, Any]:
    """Returns what the card tells of training and data, without a path."""
    config, files = read_config(Path(run)), RunFolder(run)
    inputs = files.read_inputs() if files.inputs.exists() else {}
    recorded = inputs.get("dataset")
    parts = recorded.get("parts", [recorded]) if isinstance(recorded, dict) else []
    totals = Counter[str]()
    for part in parts:
        totals.update({split: count for split, count in part.get("sizes", {}).items() if count})
    facts: dict[str, Any] = {}
    if totals:
        facts["images"] = ", ".join(f"{count} {split}" for split, count in totals.items())
    if forgeries := trained_on(configs.to_json(config), inputs).forgeries:
        facts["kinds of forgery"] = ", ".join(forgeries)
    if config.data.leave_out:
        facts["left out of training"] = ", ".join(config.data.leave_out)
    length = (
        f"{config.train.steps} steps" if config.train.steps else f"{config.train.epochs:g} epochs"
    )
    trained = f"{config.method.name}, {length} at most, {config.data.batch_size} images a step"
    return facts | {"trained by": trained}
