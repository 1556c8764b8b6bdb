"""Turning TOKD's rotations: both branches' gradients at the student's map, out of one backward pass."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax import losses, transforms
from kdjax.methods import base
from kdjax.methods.base import Inputs
from kdjax.methods.part import Around, Gradient, balanced
from kdjax.types import Array, Metrics, PyTree

PROBES = "probes"
"""Group of the zeros added to the rotated maps: their gradients are the branches'."""

MATRICES = "matrices"
"""Group of the rotations themselves, so that a step builds each of them once."""


class Reconciliation(NamedTuple):
    """How the branches' gradients are brought together.

    Attributes:
      layer: the student's map.
      branches: the branches that weigh.
      axis: `none`, or as `transforms.rotate` takes it.
      method: as `transforms.rotation_matrix` takes it.
      one_norm: whether the gradients are brought to one norm before the target is taken.
      form: of the objective, as `transforms.alignment` takes it.
      qualities: number of qualities.
    """

    layer: str
    branches: tuple[str, ...]
    axis: str
    method: str
    one_norm: bool
    form: str
    qualities: int

    @property
    def rotates(self) -> bool:
        """Whether there is anything to turn."""
        return self.axis != "none"

    def rotated(self, name: str, features: Array, params: dict[str, PyTree]) -> Array:
        """Returns the map as a branch sees it. Its loss never trains the rotation."""
        if self.rotates:
            matrix = params.get(MATRICES, {}).get(name)
            if matrix is None:
                matrix = transforms.rotation_matrix(params["rotation"][name], method=self.method)
            matrix = jax.lax.stop_gradient(matrix).astype(features.dtype)
            features = transforms.rotate(features, matrix, axis=self.axis)
        probes = params.get(PROBES, {})
        return features + probes[name] if name in probes else features

    def wrap(self, gradient: Gradient, around: Around) -> Gradient:
        """Returns a gradient with that of the rotations' objective, and the branches' cosines as metrics."""

        def with_rotations(params: dict[str, PyTree], inputs: Inputs) -> Any:
            free = params["rotation"][around.name] if self.rotates else {}
            built = {name: jax.vjp(self._matrix, value) for name, value in free.items()}
            matrices = {name: matrix for name, (matrix, _) in built.items()}
            shape = jax.eval_shape(lambda p: around.forward(p, inputs), params).features[self.layer]
            dtype = jnp.promote_types(shape.dtype, jnp.float32)
            probes = {name: jnp.zeros(shape.shape, dtype) for name in self.branches}
            found, (model_state, aux, metrics) = gradient(
                {
                    **params,
                    PROBES: {**params.get(PROBES, {}), around.name: probes},
                    MATRICES: {**params.get(MATRICES, {}), around.name: matrices},
                },
                inputs,
            )
            found = dict(found)
            seen = self._by_example(found.pop(PROBES)[around.name], around.view(inputs))
            found.pop(MATRICES)
            metrics = {**metrics, **self._cosines(seen, matrices, inputs)}
            if self.rotates:
                wanted = self._wanted(seen, matrices, inputs)
                turned = {name: built[name][1](wanted[name])[0] for name in self.branches}
                found["rotation"] = {**found["rotation"], around.name: turned}
            return found, (model_state, aux, metrics)

        return with_rotations

    def _matrix(self, free: Array) -> Array:
        return transforms.rotation_matrix(free, method=self.method)

    def _by_example(self, probes: dict[str, Array], own: Inputs) -> dict[str, Array]:
        """Returns the gradient of each example's own loss, without its weight (Eq. 13); of weight 0 it is 0.

        The loss is a mean: what arrives at the probes is that gradient over the number of images, or over
        a device's share of it. The squared objective would turn less the larger the batch.
        """
        count = jnp.sum(own.batch["mask"]) * self.qualities
        if own.axis_name is not None:
            count = jax.lax.pmean(count, own.axis_name)
        found = {}
        for name in self.branches:
            weight = balanced(name, own.hyper[f"{name}_weight"], own.hyper)
            weight = weight.astype(probes[name].dtype)
            scale = count.astype(probes[name].dtype) / jnp.where(weight > 0, weight, 1.0)
            found[name] = probes[name] * scale
        return found

    def _entries(self, gradients: Array, matrix: Array) -> Array:
        return transforms.rotated_entries(gradients, matrix.shape[0], axis=self.axis)

    def _wanted(
        self, seen: dict[str, Array], matrices: dict[str, Array], inputs: Inputs
    ) -> dict[str, Array]:
        """Returns the gradient of each branch's objective on its rotation."""
        mask = base.tile(inputs.batch["mask"], self.qualities)
        own = {name: self._entries(seen[name], matrices[name]) for name in self.branches}
        target = transforms.gradient_target(
            [transforms.rotate(own[name], matrices[name].T) for name in self.branches],
            one_norm=self.one_norm,
            mask=mask,
            axis_name=inputs.axis_name,
        )
        return {
            name: jax.grad(transforms.alignment)(
                matrices[name],
                own[name],
                target,
                form=self.form,
                mask=mask,
                axis_name=inputs.axis_name,
            )
            for name in self.branches
        }

    def _cosines(
        self, seen: dict[str, Array], matrices: dict[str, Array], inputs: Inputs
    ) -> Metrics:
        """Returns the two branches' mean cosine as they see the map, and as it arrives at the backbone."""
        if len(self.branches) < 2:
            return {}
        mask = base.tile(inputs.batch["mask"], self.qualities)

        def cosine(first: Array, second: Array) -> Array:
            each, valid = transforms.gradient_cosine(first, second, mask=mask)
            return losses.masked_mean(each, valid, inputs.axis_name)

        before = [seen[name] for name in self.branches]
        found = {"gradient_cosine/before": cosine(*before)}
        if self.rotates:
            turned = [matrices[name] for name in self.branches]
            after = [
                transforms.rotate(value, matrix.T.astype(value.dtype), axis=self.axis)
                for value, matrix in zip(before, turned, strict=True)
            ]
            found["gradient_cosine/after"] = cosine(*after)
            for place, values in (("before", before), ("after", after)):
                entries = map(self._entries, values, turned)
                found[f"gradient_cosine/rotated_{place}"] = cosine(*entries)
        return found
