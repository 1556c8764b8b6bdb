"""ADD: frequency attention and multi-view attention from a teacher on raw images."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_choice, check_positive
from kdjax.losses.frequency import MODES
from kdjax.methods import base
from kdjax.methods.base import STAGES, Inputs, Network, Teacher, Terms
from kdjax.methods.complete import with_defaults
from kdjax.methods.part import Part
from kdjax.models.layers import Conv
from kdjax.types import Array, Batch, Features, Metrics, Outputs, PyTree

ADAPTERS = ("none", "conv1x1")


class _Settings(NamedTuple):
    """The parts of ADD's configuration that decide what is compiled."""

    frequency_layers: tuple[float, ...]
    view_layers: tuple[float, ...]
    views: int
    scale: str
    coordinates: str
    cost: str
    both_directions: bool
    relative_margin: bool
    mode: str

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that any of the two losses looks at."""
        weights = zip(STAGES, self.frequency_layers, self.view_layers, strict=True)
        return tuple(stage for stage, frequency, view in weights if frequency or view)


@with_defaults("add")
def add(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    frequency_weight: float,
    view_weight: float,
    frequency_layers: Sequence[float],
    view_layers: Sequence[float],
    frequency_gamma: float,
    view_gamma: float,
    view_eta: float,
    margin: float,
    views: int,
    adapter: str,
    scale: str,
    coordinates: str,
    cost: str,
    both_directions: bool,
    relative_margin: bool,
    mode: str,
) -> Part:
    """Attention-based deepfake detection distiller, over one or more teachers.

    `alpha sum_l a_l FR_l + beta sum_l b_l MV_l` (Eq. 10), averaged over the teachers; `FR` is
    `losses.frequency_attention`, `MV` is `losses.multi_view`.

    See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality Compressed
    Deepfake Images" by Le and Woo, AAAI 2022 (https://arxiv.org/abs/2112.03553).

    Args:
      student: the network to train.
      teachers: frozen networks; they see `teacher_quality`.
      qualities: the qualities the student sees; each is matched with the teachers' maps.
      teacher_quality: what the teachers see, pixel-aligned and with the same augmentation.
      frequency_weight: `alpha`.
      view_weight: `beta`.
      frequency_layers: `a_l` of the four stages; a stage of weight 0 costs nothing.
      view_layers: `b_l` of the four stages.
      frequency_gamma: `gamma_FR` of Eq. 3.
      view_gamma: `gamma_MV` of Eq. 9.
      view_eta: `eta_MV` of Eq. 9.
      margin: `Delta` of Eq. 9.
      views: number of random directions a step.
      adapter: `conv1x1` puts a trained 1 x 1 convolution on student maps of another width; `none` refuses them.
      scale: `sum`, or `channel` to divide the frequency loss by the number of channels.
      coordinates: of the views: `index`, or `normalized` to [0, 1] an axis.
      cost: of the views: `squared`, or `transport` on the cumulative sums.
      both_directions: whether the contrast also runs from teacher to student.
      relative_margin: whether `margin` is relative to `sum v_T^2`.
      mode: `relative` takes frequency attention relative to the teacher map's energy; `paper` as it is printed;
        `official` the published code's arithmetic, in both losses.

    Returns:
      The part, with the terms `frequency_attention` and `multi_view`.

    Raises:
      ValueError: without teachers, for a setting out of range, or for maps that do not match.
    """
    base.check_teachers("add", teachers)
    base.check_weights(
        frequency_weight=frequency_weight,
        view_weight=view_weight,
        frequency_gamma=frequency_gamma,
        view_gamma=view_gamma,
        view_eta=view_eta,
        margin=margin,
    )
    check_positive("method.views", views)
    check_choice("method.adapter", adapter, ADAPTERS)
    settings = _Settings(
        _layer_weights("frequency_layers", frequency_layers),
        _layer_weights("view_layers", view_layers),
        views,
        scale,
        coordinates,
        cost,
        both_directions,
        relative_margin,
        mode,
    )
    _check_variants(settings)

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        own = base.need_features(student, example, settings.stages, "the student")
        adapters: dict[str, PyTree] = {}
        for number, teacher in enumerate(teachers):
            other = base.need_features(
                teacher, example, settings.stages, f"teacher.runs: teacher {number + 1}"
            )
            found = _init_adapters(jax.random.fold_in(rng, number), own, other, adapter)
            adapters |= {str(number): found} if found else {}
        return ({"heads": adapters} if adapters else {}), ()

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        return [
            {stage: outputs.features[stage] for stage in settings.stages}
            for outputs in base.teach(teachers, variables, batch, teacher_quality)
        ]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        hyper, heads = inputs.hyper, params.get("heads", {})
        found = [
            _distillation(features, target, heads.get(str(number), {}), inputs, settings)
            for features in base.split_qualities(outputs.features, len(qualities))
            for number, target in enumerate(inputs.targets)
        ]
        mean: Metrics = jax.tree.map(lambda *values: sum(values) / len(found), *found)
        # the warm-up of a pretrained student runs without the frequency loss
        frequency = hyper["frequency_weight"] * mean["frequency_attention"]
        terms = {
            "frequency_attention": frequency * hyper.get("backbone_trains", 1.0),
            "multi_view": hyper["view_weight"] * mean["multi_view"],
        }
        return terms, inputs.aux, mean

    return Part(
        "add",
        compare,
        targets,
        hyper={
            "frequency_weight": frequency_weight,
            "view_weight": view_weight,
            "frequency_gamma": frequency_gamma,
            "view_gamma": view_gamma,
            "view_eta": view_eta,
            "margin": margin,
        },
        term_names=("frequency_attention", "multi_view"),
        init=init,
        couples={"multi_view": "compares images of the whole batch"}
        if view_weight and view_eta
        else {},
    )


def _distillation(
    features: Features, target: Features, heads: PyTree, inputs: Inputs, settings: _Settings
) -> Metrics:
    """Returns both losses of one teacher, summed over the stages, and the share of closed hinges."""
    hyper = inputs.hyper
    adapted = {
        stage: jnp.asarray(
            Conv(target[stage].shape[-1], 1).apply({"params": heads[stage]}, features[stage])
        )
        for stage in heads
    }
    found = losses.add_terms(
        {**features, **adapted},
        target,
        inputs.batch["label"],
        inputs.rng,
        **settings._asdict(),
        frequency_gamma=hyper["frequency_gamma"],
        view_gamma=hyper["view_gamma"],
        view_eta=hyper["view_eta"],
        margin=hyper["margin"],
        mask=inputs.batch["mask"],
        axis_name=inputs.axis_name,
    )
    return found._asdict()


def _layer_weights(name: str, weights: Sequence[float]) -> tuple[float, ...]:
    """Returns the weights of the four stages; ValueError for another number or a negative one."""
    if len(weights) != len(STAGES) or min(weights) < 0:
        raise ValueError(f"method.{name}={tuple(weights)} must be four weights of at least 0")
    return tuple(map(float, weights))


def _check_variants(settings: _Settings) -> None:
    """Raises ValueError for a variant that does not exist, naming its config key."""
    check_choice("method.scale", settings.scale, ("sum", "channel"))
    check_choice("method.coordinates", settings.coordinates, ("index", "normalized"))
    check_choice("method.cost", settings.cost, ("squared", "transport"))
    check_choice("method.mode", settings.mode, MODES)
    if settings.mode == "relative" and settings.scale != "sum":
        raise ValueError(
            f"method.scale={settings.scale} needs method.mode=paper or official: a relative loss has no scale"
        )


def _init_adapters(
    rng: Array,
    own: dict[str, tuple[int, ...]],
    other: dict[str, tuple[int, ...]],
    adapter: str,
) -> dict[str, PyTree]:
    """Returns a 1 x 1 convolution for each stage in use whose widths differ.

    Raises:
      ValueError: when there is such a stage and `adapter` is `none`.
    """
    heads = {}
    for number, (stage, shape) in enumerate(own.items()):
        width = other[stage][-1]
        if shape[-1] == width:
            continue
        if adapter == "none":
            raise ValueError(
                f"{stage} has {shape[-1]} channels in the student and {width} in "
                "the teacher; set method.adapter=conv1x1 or choose networks of equal width"
            )
        variables = Conv(width, 1).init(
            jax.random.fold_in(rng, number), jnp.zeros((1, 1, 1, shape[-1]))
        )
        heads[stage] = variables["params"]
    return heads
