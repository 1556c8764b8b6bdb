"""A run as an object: what it was, what it logged, and its network at work."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError, check_choice
from kdjax.data_pipeline import augment
from kdjax.data_pipeline.dataset import Dataset
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.explain.cam import METHODS
from kdjax.extensions import NOTHING, Extensions, check_extensions
from kdjax.folder import RunFolder
from kdjax.methods import Network
from kdjax.methods.base import normalize
from kdjax.train import checkpoint
from kdjax.train.ema import AVERAGED, TRAINED
from kdjax.train.evaluation import evaluate_run
from kdjax.train.heat import compile_look
from kdjax.train.networks import student_network
from kdjax.types import PyTree


class Run:
    """A folder that `kdjax train` wrote; nothing is read before it is asked for.

    run = kdjax.Run("runs/add")
    run.metrics["validation"]["auc"]
    run.predict(images)
    """

    def __init__(self, folder: str | os.PathLike[str], extensions: Extensions = NOTHING) -> None:
        """Takes the folder of a run.

        Args:
          folder: the folder.
          extensions: the user's own, for a run whose network or data are not shipped.

        Raises:
          UserError: when it is no run.
        """
        check_extensions(extensions)
        # the same folder wherever the process goes
        self.files = RunFolder(Path(folder).absolute())
        self.extensions = extensions
        if not self.files.is_run:
            raise UserError(
                f"{folder} is not a run: it has no config.json; `kdjax train` makes one"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.files.path)!r})"

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.files.path

    @cached_property
    def config(self) -> ConfigDict:
        """The resolved configuration."""
        return checkpoint.read_config(self.folder)

    @property
    def is_finished(self) -> bool:
        """Whether it was trained to its end."""
        return self.files.is_finished

    @property
    def step(self) -> int:
        """The step of the latest checkpoint, 0 without any."""
        return checkpoint.latest_step(self.folder) or 0

    @property
    def best_step(self) -> int | None:
        """The step of the best weights, None without any."""
        return checkpoint.best_step(self.folder)

    @property
    def metrics(self) -> dict[str, dict[str, np.ndarray]]:
        """What was logged: `{"train" or "validation": {name: float64 [lines]}}`; NaN where a line lacks a name."""
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in self.files.read_metrics():
            lines.setdefault(str(line.pop("kind", "")), []).append(line)
        return {kind: _columns(each) for kind, each in lines.items() if kind}

    @cached_property
    def network(self) -> Network:
        """The student's network, untrained."""
        checkpoint.check_known_network(self.folder, self.config, self.extensions)
        return student_network(self.config, extensions=self.extensions, image_size=self.image_size)

    @cached_property
    def image_size(self) -> int:
        """Side of the crop in pixels that the network was trained on."""
        return checkpoint.image_size_of(self.folder, self.config)

    def variables(self, step: int | None = None, *, kind: str = "") -> PyTree:
        """Returns the student's variables, `params` and `batch_stats`: the best, or those of a step that is kept.

        Args:
          step: whose; None: the best.
          kind: `trained` or `averaged` (`ema.decay`); empty: what the run selected and calls the best.

        Raises:
          UserError: when there are none, none of that step, or none of that kind.
        """
        config = self.config.ema
        chosen = AVERAGED if config.decay and config.evaluate else TRAINED
        kind = kind or chosen
        if kind not in (TRAINED, AVERAGED):
            raise UserError(f"kind={kind!r} of {self.folder} must be {TRAINED} or {AVERAGED}")
        if kind == AVERAGED and not config.decay:
            raise UserError(
                f"{self.folder} has no averaged weights: it was trained with ema.decay=0"
            )
        best = checkpoint.best_steps(self.folder)
        if step is None or step in best:
            if kind != chosen:
                return checkpoint.load_beside(self.folder, kind, step)
            return checkpoint.load_best(self.folder, extensions=self.extensions, step=step)[1]
        if step != checkpoint.latest_step(self.folder):
            kept = [each for each in (*best, checkpoint.latest_step(self.folder)) if each]
            known = ", ".join(map(str, sorted(set(kept)))) or "none"
            raise UserError(f"{self.folder} keeps no weights of step {step}; it has: {known}")
        return checkpoint.load_latest(self.folder, kind)

    def features(
        self, images: np.ndarray, *, step: int | None = None, batch_size: int = 0
    ) -> dict[str, np.ndarray]:
        """Returns what the network makes of images: its features by name, `logits`, and `score`: that it is fake.

        Args:
          images: uint8 or float in [0, 1], `[N, S, S, 3]`, at least as large as the crop, whose centre
            is taken.
          step: whose weights; None: the best.
          batch_size: images at a time; 0: the run's own, `evaluation.batch_size`.

        Raises:
          ValueError, TypeError: for images of another shape, dtype or range.
        """
        images = augment.check_images(images)
        size = batch_size or self.config.evaluation.batch_size
        variables = self._variables(step)
        found: list[dict[str, np.ndarray]] = []
        for batch, count in _batches(images, min(size, max(len(images), 1))):
            outputs = jax.device_get(self._apply(variables, batch))
            found.append({name: value[:count] for name, value in outputs.items()})
        if not found:
            raise ValueError("images holds no image")
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def predict(self, images: np.ndarray, *, step: int | None = None) -> np.ndarray:
        """Returns the probability of fake of each image, float32 `[N]`; arguments as of `features`."""
        return self.features(images, step=step)["score"]

    def heat_maps(
        self,
        images: np.ndarray,
        stage: str = "stage4",
        *,
        method: str = "gradcam",
        label: int = 1,
        step: int | None = None,
        batch_size: int = 0,
    ) -> np.ndarray:
        """Returns where the network sees what speaks for a class, float32 `[N, S, S]`, of the crop's size.

        Args:
          images: as of `features`.
          stage: the map that is explained, `stage1` to `stage4` or another one of the network's.
          method: `gradcam` or `gradcam++` (`kdjax.evaluate.heat_maps`).
          label: the class: 1 fake, 0 real.
          step: whose weights; None: the best.
          batch_size: as of `features`.

        Raises:
          ValueError, TypeError: for such images, no such map or another method.
        """
        check_choice("method", method, tuple(METHODS))
        images = augment.check_images(images)
        size = batch_size or self.config.evaluation.batch_size
        look = compile_look(self.network, self.image_size, stage, label)
        variables, found = self._variables(step), []
        for batch, count in _batches(images, min(size, max(len(images), 1))):
            found.append(np.asarray(look(variables, batch).heat[method])[:count])
        if not found:
            raise ValueError("images holds no image")
        return np.concatenate(found)

    def evaluate(
        self,
        data: str | os.PathLike[str] | Dataset = "",
        split: str = "test",
        *,
        limit: int = 0,
        qualities: Sequence[str] = (),
        corruptions: Sequence[str] = (),
    ) -> Evaluation:
        """Evaluates the best weights on a split of the run's own data, or others; the folder keeps the result."""
        return evaluate_run(
            self.folder,
            split=split,
            data=str(data) if isinstance(data, str | os.PathLike) else data,
            limit=limit,
            qualities=qualities,
            corruptions=corruptions,
            extensions=self.extensions,
        )

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations that are kept in the folder, by name."""
        names = self.files.evaluations()
        return {name: Evaluation.load(self.files.evaluation, name) for name in names}

    def _variables(self, step: int | None) -> PyTree:
        kept = self.__dict__.setdefault("_kept", {})
        if step not in kept:
            kept.clear()
            kept[step] = jax.tree.map(jnp.asarray, self.variables(step))
        return kept[step]

    @cached_property
    def _apply(self) -> Any:
        network, size = self.network, self.image_size

        def apply(variables: PyTree, images: jax.Array) -> dict[str, jax.Array]:
            seen = augment.to_float(augment.center_crop(images, size))
            outputs = network.module.apply(variables, normalize(network, seen), train=False)
            score = jax.nn.softmax(outputs.logits.astype(jnp.float32), axis=-1)[:, 1]
            return {**outputs.features, "logits": outputs.logits, "score": score}

        return jax.jit(apply)


def _columns(lines: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for line in lines for name in line)
    return {
        name: np.array(
            [np.nan if line.get(name) is None else line[name] for line in lines], np.float64
        )
        for name in names
    }


def _batches(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches of one size, the last one padded, with the number of images in each."""
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        missing = size - len(batch)
        if missing:
            blank = np.zeros((missing, *batch.shape[1:]), batch.dtype)
            yield np.concatenate([batch, blank]), len(batch)
        else:
            yield batch, size
