"""The walls of the house: which package may import which, read from the source of every module."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"kdjax": "kdjax", "kdjax.configs": "configs", "kdjax.data_pipeline": "data_pipeline"}
"""Where packages lie; `kdjax/configs` and `kdjax/data_pipeline` are links to the folders beside them."""

OWN = frozenset({"kdjax", "configs", "data_pipeline"})
"""First parts of names that stand for the project; only the first is one that a user's machine knows."""

VOCABULARY = (
    "kdjax",
    "kdjax.lazy",
    "kdjax.types",
    "kdjax.checks",
    "kdjax.version",
    "kdjax.options",
    "kdjax.extensions",
)
SIGNAL = (*VOCABULARY, "kdjax.signal")
MATHEMATICS = (
    *SIGNAL,
    "kdjax.defaults",
    "kdjax.losses",
    "kdjax.transforms",
    "kdjax.models",
    "kdjax.methods",
)
ANYTHING = ("kdjax",)

ARROWS = {
    "kdjax": VOCABULARY,
    "kdjax.types": (),
    "kdjax.checks": (),
    "kdjax.version": (),
    "kdjax.defaults": (),
    "kdjax.lazy": (),
    "kdjax.compilation": (),
    "kdjax.options": ("kdjax.checks",),
    "kdjax.extensions": ("kdjax.checks", "kdjax.defaults", "kdjax.options"),
    "kdjax.files": VOCABULARY,
    "kdjax.published": ("kdjax.checks",),
    "kdjax.folder": (*VOCABULARY, "kdjax.files"),
    "kdjax.signal": VOCABULARY,
    "kdjax.losses": (*VOCABULARY, "kdjax.defaults"),
    "kdjax.transforms": VOCABULARY,
    "kdjax.models": SIGNAL,
    "kdjax.models.weights": (
        *(*SIGNAL, "kdjax.models", "kdjax.files", "kdjax.folder", "kdjax.published"),
    ),
    "kdjax.methods": MATHEMATICS,
    "kdjax.train": (
        *(*VOCABULARY, "kdjax.files", "kdjax.models", "kdjax.methods", "kdjax.transforms"),
        *("kdjax.defaults", "kdjax.folder"),
        *("kdjax.evaluate", "kdjax.data_pipeline", "kdjax.configs"),
    ),
    "kdjax.train.state": (*VOCABULARY, "kdjax.methods", "kdjax.models"),
    "kdjax.train.optim": (
        *(*VOCABULARY, "kdjax.defaults"),
        *("kdjax.train.from_optax", "kdjax.train.parameters"),
    ),
    "kdjax.train.from_optax": VOCABULARY,
    "kdjax.train.parameters": VOCABULARY,
    "kdjax.train.accumulation": (*VOCABULARY, "kdjax.methods"),
    "kdjax.train.step": (
        *(*VOCABULARY, "kdjax.methods", "kdjax.models", "kdjax.transforms"),
        *("kdjax.train.ema", "kdjax.train.optim", "kdjax.train.ramps", "kdjax.train.state"),
        *("kdjax.train.accumulation", "kdjax.train.parameters", "kdjax.train.skipping"),
    ),
    "kdjax.train.skipping": (*VOCABULARY, "kdjax.train.state"),
    "kdjax.train.ramps": VOCABULARY,
    "kdjax.train.ema": (*VOCABULARY, "kdjax.train.state"),
    "kdjax.train.parallel": (*VOCABULARY, "kdjax.train.recompiling"),
    "kdjax.train.recompiling": (),
    "kdjax.train.hosts": (*VOCABULARY, "kdjax.termination"),
    "kdjax.evaluate": (*VOCABULARY, "kdjax.files", "kdjax.folder", "kdjax.data_pipeline"),
    "kdjax.serve": (
        *(*MATHEMATICS, "kdjax.files", "kdjax.folder", "kdjax.published"),
        *("kdjax.train", "kdjax.evaluate", "kdjax.data_pipeline", "kdjax.configs"),
    ),
    "kdjax.__main__": ("kdjax.cli", "kdjax.termination"),
    "kdjax.arguments": (
        "kdjax.defaults",
        "kdjax.version",
        "kdjax.checks",
        "kdjax.serve.web.limits",
    ),
    "kdjax.termination": ("kdjax.checks",),
    "kdjax.cli": ANYTHING,
    "kdjax.commands": ANYTHING,
    "kdjax.demo": ANYTHING,
    "kdjax.data_pipeline": (*SIGNAL, "kdjax.published"),
    "kdjax.configs": ("kdjax.checks", "kdjax.defaults", "kdjax.extensions"),
}
"""`{package or module: packages it may import beside its own}`; the longest name that fits counts."""

LIGHT = (
    *("kdjax.types", "kdjax.checks", "kdjax.signal", "kdjax.losses", "kdjax.transforms"),
    *("kdjax.models", "kdjax.methods"),
    *("kdjax.train.state", "kdjax.train.optim", "kdjax.train.step", "kdjax.train.parallel"),
    "kdjax.train.skipping",
)
"""What must import where only JAX, flax and optax are installed."""

HEAVY = (
    *("grain", "tensorflow", "tensorflow_datasets", "ml_collections", "cv2", "av", "dlib"),
    *("sklearn", "plotly", "jinja2", "orbax", "tensorboardX", "tqdm"),
)


READS_RUNS = "kdjax.models.weights.runs"
"""Imports Orbax when it is called, and nobody calls it who has no run."""


def covers(package, name):
    """Returns whether `name` is the package or lies in it; `kdjax` alone stands for itself only."""
    return name == package or (package != "kdjax" and name.startswith(f"{package}."))


def longest(names, module):
    """Returns the longest of `names` that covers `module`, or None."""
    return max((name for name in names if covers(name, module)), key=len, default=None)


def find_modules(root):
    """Returns `{dotted name: path}` of every module of the project below `root`."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            below = path.relative_to(root / folder).with_suffix("").parts
            parts = (*package.split("."), *below)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source, module, modules, *, is_package=False):
    """Returns the dotted names that a module imports anywhere in its source, but for type checkers alone.

    `from a import b` counts as `a.b` where that is a module of the project, else as `a`.
    """
    found = set()
    tree = ast.parse(source)
    unread = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.body
    }
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*own[: len(own) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in modules else base)
    return found


def wrong_arrows(module, imported):
    """Returns what is wrong with a module's imports, a sentence each."""
    home = longest(ARROWS, module)
    if home is None:
        return [f"{module} has no row in ARROWS"]
    problems = []
    for name in sorted(imported):
        of_project = name.split(".")[0] in OWN
        allowed = any(covers(package, name) for package in (home, *ARROWS[home]))
        if ARROWS[home] is ANYTHING and name.split(".")[0] == "kdjax":
            continue
        if of_project and not allowed:
            problems.append(f"{module} imports {name}")
        if name.split(".")[0] in HEAVY and longest(LIGHT, module) and module != READS_RUNS:
            problems.append(f"{module} imports {name}, which need not be installed where it runs")
    return problems


def all_imports():
    modules = find_modules(ROOT)
    return {
        module: imports_of(
            path.read_text("utf-8"), module, modules, is_package=path.name == "__init__.py"
        )
        for module, path in modules.items()
    }


def test_no_module_imports_what_it_must_not():
    imports = all_imports()
    assert len(imports) > 30
    assert [
        problem for module, names in imports.items() for problem in wrong_arrows(module, names)
    ] == []


def test_light_modules_reach_light_modules_only():
    imports = all_imports()
    open_ends = [module for module in imports if longest(LIGHT, module)]
    assert open_ends
    reached = {}
    while open_ends:
        module = open_ends.pop()
        parts = module.split(".")
        parents = {".".join(parts[:length]) for length in range(1, len(parts))}
        for name in (imports[module] | parents) & set(imports):
            if name not in reached:
                reached[name] = module
                open_ends.append(name)
    heavy = {
        (module, name)
        for module in reached
        if module != READS_RUNS
        for name in imports[module]
        if name.split(".")[0] in HEAVY or longest(("kdjax.data_pipeline", "kdjax.configs"), name)
    }
    assert heavy == set()


FILES_OF_A_RUN = (
    *("config.json", "inputs.json", "metrics.jsonl", "timings.jsonl", "finished.json"),
    *("program.json", "program.txt", "checkpoints", "best", "tensorboard", "evaluation"),
    *(
        "best.json",
        "broken",
        "config_changes.json",
        "versions.json",
        ".owner.json",
        "calibration.json",
    ),
)


def test_no_file_is_too_long_to_be_read_at_once():
    files = [
        path
        for folder in (*PACKAGES.values(), "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 100
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_only_the_folder_knows_a_runs_files_by_name():
    found = []
    for module, path in find_modules(ROOT).items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            # as part of a path: folder / "config.json"
            names = [node.left, node.right] if isinstance(node, ast.BinOp) else []
            found += [
                f"{module}: {name.value}"
                for name in names
                if isinstance(name, ast.Constant)
                and isinstance(node.op, ast.Div)
                and name.value in FILES_OF_A_RUN
                and module != "kdjax.folder"
            ]
    assert found == []


def test_packages_are_reached_from_the_top_when_they_are_used():
    program = (
        "import sys, kdjax\n"
        "assert 'jax' not in sys.modules\n"
        "assert set(kdjax.__all__) <= set(dir(kdjax))\n"
        "assert kdjax.signal.dct2 and 'kdjax.losses' not in sys.modules\n"
        "for name in kdjax.__all__: assert getattr(kdjax, name)\n"
        "assert kdjax.Run.__name__ == 'Run'\n"
        "from kdjax import *\n"
        "assert losses.kd is kdjax.losses.kd\n"
        "try: kdjax.loses\n"
        "except AttributeError as error: assert 'loses' in str(error)\n"
        "else: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("words", "foreign"),
    [
        ((), {*HEAVY, "jax", "numpy"}),
        (("--help",), {*HEAVY, "jax", "numpy"}),
        (("info",), {*HEAVY} - {"ml_collections"}),
        (("info", "--config=add"), {*HEAVY} - {"ml_collections"}),
        (("info", "--network=resnet_tiny"), {*HEAVY} - {"ml_collections"}),
    ],
)
def test_what_a_command_does_not_need_is_not_imported(words, foreign):
    program = (
        "import json, sys, kdjax.cli\n"
        "try:\n"
        "    if sys.argv[1:]: kdjax.cli.main(sys.argv[1:])\n"
        "finally: print('\\n' + json.dumps(sorted(sys.modules)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    imported = {name.split(".")[0] for name in json.loads(found.stdout.splitlines()[-1])}
    assert "kdjax" in imported
    assert not foreign & imported


@pytest.mark.parametrize(
    ("module", "source", "problems"),
    [
        ("kdjax.train.loop", "from kdjax import losses", ["imports kdjax.losses"]),
        ("kdjax.train.step", "import kdjax.losses.logits", ["imports kdjax.losses.logits"]),
        ("kdjax.train.step", "import kdjax.train.loop", ["imports kdjax.train.loop"]),
        ("kdjax.losses.logits", "def f():\n  import cv2", ["imports cv2, which need not"]),
        ("kdjax.losses.logits", "from ..models import create", ["imports kdjax.models"]),
        ("kdjax.losses.logits", "from .features import at", []),
        ("kdjax.losses.logits", "import jax\nfrom kdjax.checks import UserError", []),
        ("kdjax.models.resnet", "from kdjax.signal import dct2", []),
        ("kdjax.models.resnet", "from kdjax import losses", ["imports kdjax.losses"]),
        ("kdjax.data_pipeline.loader", "import kdjax.evaluate.report", ["imports kdjax.evaluate"]),
        ("kdjax.data_pipeline.loader", "import grain", []),
        ("kdjax.cli", "import configs", ["imports configs"]),
        (
            "kdjax.train.loop",
            "from data_pipeline.loader import x",
            ["imports data_pipeline.loader"],
        ),
        ("kdjax.evaluate.report", "from kdjax.train import loop", ["imports kdjax.train.loop"]),
        ("kdjax.evaluate.report", "import kdjax.data_pipeline.loader", []),
        ("kdjax.evaluate.report", "import kdjax.serve.spec", ["imports kdjax.serve.spec"]),
        ("kdjax.train.loop", "from kdjax.serve import spec", ["imports kdjax.serve.spec"]),
        ("kdjax.serve.spec", "from kdjax.train.loop import train", []),
        ("kdjax.serve.spec", "from kdjax.commands import export", ["imports kdjax.commands"]),
        ("kdjax.methods.add", "import ml_collections.config_dict", ["imports ml_collections"]),
        ("kdjax.cli", "from kdjax.train.loop import train", []),
        ("kdjax", "if TYPE_CHECKING:\n  from kdjax import losses", []),
        ("kdjax", "if not TYPE_CHECKING:\n  from kdjax import losses", ["imports kdjax.losses"]),
        ("kdjax.novelty", "", ["has no row in ARROWS"]),
    ],
)
def test_the_walker_sees_a_wrong_arrow(module, source, problems):
    modules = {"kdjax.losses", "kdjax.train.loop", *find_modules(ROOT)}
    found = wrong_arrows(module, imports_of(source, module, modules))
    assert len(found) == len(problems)
    for sentence, expected in zip(found, problems, strict=True):
        assert sentence.startswith(f"{module} {expected}")
