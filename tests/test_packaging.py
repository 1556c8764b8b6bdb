"""What a user gets: the wheel, the lock, the targets of the Makefile."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import kdjax
from kdjax.models.weights import imagenet

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("kdjax", "configs", "data_pipeline")
"""The last two are `kdjax.configs` and `kdjax.data_pipeline`, by links within `kdjax`."""
SHIPPED = {".py", ".html", ".css", ".js", ".typed"}
LOCK_LINE = re.compile(r"^[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.+!-]*( ; [a-z_]+ .+)?$")


def shipped_files(root: Path) -> set[str]:
    """Returns the files of the packages that the wheel must hold, relative to `root`."""
    found = set()
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.suffix in SHIPPED:
                name = path.relative_to(root).as_posix()
                found.add(name if folder == "kdjax" else f"kdjax/{name}")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel from a copy: setuptools leaves its `build` folder where it builds."""
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheels = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "-qq", "wheel", "--no-deps", "-w", wheels, source]
    subprocess.run(command, check=True)
    (built,) = wheels.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel into a folder of its own, without its dependencies."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "-qq", "install", "--no-deps", "--target", target]
    subprocess.run([*command, wheel], check=True)
    return target


def run_installed(installed: Path, folder: Path, *arguments: str) -> str:
    """Runs Python in `folder` with the installed wheel before this checkout's editable install."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_holds_every_module_and_template(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped_files(ROOT) <= held
    assert {name.split("/")[0] for name in held} == {"kdjax"}


@pytest.mark.slow
def test_installed_wheel_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import kdjax; from kdjax import configs, data_pipeline; "
        "print(*(module.__file__ for module in (kdjax, configs, data_pipeline)), sep='\\n')"
    )
    files = run_installed(installed, tmp_path, "-c", code).split()
    assert all(Path(file).is_relative_to(installed) for file in files), files
    version = run_installed(installed, tmp_path, "-c", "import kdjax; print(kdjax.__version__)")
    assert version.strip() == kdjax.__version__
    assert "resnet18_thin" in run_installed(installed, tmp_path, "-m", "kdjax", "info")
    assert "--config" in run_installed(installed, tmp_path, "-m", "kdjax", "train", "--help")


@pytest.mark.slow
def test_installed_wheel_resolves_a_shipped_config(installed: Path, tmp_path: Path) -> None:
    code = "from kdjax import configs; print(configs.load('add:resnet18_thin').student.network)"
    assert run_installed(installed, tmp_path, "-c", code).strip() == "resnet18_thin"


@pytest.fixture
def project(installed: Path, tmp_path: Path) -> Path:
    """A folder with packages of the names that kdjax once took, beside a distribution that has one too."""
    for name in ("configs", "data_pipeline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "utils.py").write_text("NETWORK = 'resnet_tiny'\n")
    other = tmp_path / "site" / "configs"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('another distribution was imported')\n")
    return tmp_path


@pytest.mark.slow
def test_a_project_with_folders_of_the_same_names(project: Path, installed: Path) -> None:
    assert "resnet18_thin" in run_installed(installed, project, "-m", "kdjax", "info")
    shown = run_installed(installed, project, "-m", "kdjax", "info", "--config=add")
    assert "method.name=add" in shown
    (project / "script.py").write_text(
        "import configs, data_pipeline, kdjax.train.loop, kdjax.data_pipeline.loader, kdjax.configs\n"
        "print(configs.MINE, data_pipeline.MINE, kdjax.configs.__file__)\n"
    )
    # not -P: a script's folder is first on the path
    environment = {**os.environ, "PYTHONPATH": f"{installed}:{project / 'site'}"}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["True", "True"]
    assert Path(done.stdout.split()[2]).is_relative_to(installed)


@pytest.mark.slow
def test_workers_of_both_kinds_in_such_a_project(project: Path, installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "kdjax", *words]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("prepare", "--dataset=synthfaces", "--output=data", "--identities=12", "--workers=2")
    (project / "mine.py").write_text(
        "import configs, utils\n"
        "from kdjax.configs import supervised\n"
        "def get_config():\n"
        "    assert configs.MINE\n"
        "    return supervised.get_config(utils.NETWORK)\n"
    )
    settings = {"data.path": "data", "data.workers": 1, "data.batch_size": 8, "train.steps": 2}
    settings |= {"train.devices": 1, "evaluation.batch_size": 8}
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    assert "step 2" in run("train", "--config=mine.py", "--workdir=run", *words)


def test_installed_metadata_has_the_version_of_the_code() -> None:
    assert importlib.metadata.version("kdjax") == kdjax.__version__


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-docs.lock"])
def test_lock_holds_names_versions_and_markers_alone(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if not LOCK_LINE.match(line)] == []
    assert len(lines) == len(set(lines)) > 50


def test_lock_covers_every_dependency_and_leaves_torch_out() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["dev"]]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower().replace("_", "-") for line in wanted}
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {line.split("==")[0] for line in lines}
    assert names - {"kdjax"} <= locked
    assert not locked & {"torch", "tensorflow"}


def test_the_lock_for_beam_covers_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["beam"]]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower().replace("_", "-") for line in wanted}
    lines = (ROOT / "requirements-beam.lock").read_text().splitlines()
    assert names <= {line.split("==")[0] for line in lines}


def test_the_documentation_has_a_lock_of_its_own_that_agrees() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=]", each)[0] for each in project["optional-dependencies"]["docs"]}
    main, docs = (
        set((ROOT / name).read_text().splitlines())
        for name in ("requirements.lock", "requirements-docs.lock")
    )
    locked = {line.split("==")[0] for line in docs}
    assert names <= locked
    shared = {line.split("==")[0] for line in main} & locked
    pinned = {line.split(" ;")[0] for line in main}
    assert {line.split(" ;")[0] for line in docs if line.split("==")[0] in shared} <= pinned
    assert not locked & {"torch", "tensorflow"}


def test_the_extra_pretrained_brings_the_versions_whose_hashes_are_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = {published.package for published in imagenet.PUBLISHED.values()}
    extra = project["optional-dependencies"]["pretrained"]
    assert extra == [f"{package}=={imagenet.VERSION}" for package in sorted(packages)]


def test_makefile_has_the_promised_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert {
        "demo",
        "demo-full",
        "test",
        "test-slow",
        "test-every",
        "lint",
        "format",
        "lock",
        "bench",
        "docs",
    } <= targets


def test_makefile_refuses_an_unfit_python_in_one_line(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = [make, "demo", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "kdjax: error: 'no-such-python' is not Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_makefile_takes_the_newest_python_that_answers(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    names = tmp_path / "names"
    names.mkdir()

    def taken(*words: str) -> str:
        # by a full path: what lies in `names` is all that make finds
        found = [make, "--dry-run", ".venv/.installed-run", *words]
        path = f"{names}:{Path('/bin')}:{Path('/usr/bin')}"
        done = subprocess.run(
            found, cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, check=True
        )
        (line,) = (each for each in done.stdout.splitlines() if each.endswith(" -m venv .venv"))
        return line.split()[0]

    def put(name: str, does: str) -> None:
        (names / name).write_text(f"#!/bin/sh\n{does}\n")
        (names / name).chmod(0o755)

    # a shim with nothing behind it, an interpreter that makes no environment, two that do
    for name, does in {
        "python3.13": "echo no such version >&2; exit 127",
        "python3.12": f'exec {sys.executable} -c "raise ImportError"',
        "python3.11": f'exec {sys.executable} "$@"',
        "python3": f'exec {sys.executable} "$@"',
    }.items():
        put(name, does)
    assert taken() == "python3.11"
    assert taken("PYTHON=python3") == "python3"
    put("python3.12", f'exec {sys.executable} "$@"')
    assert taken() == "python3.12"
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        put(name, "exit 127")
    # the target itself says then what is missing
    assert taken() == "python3"
