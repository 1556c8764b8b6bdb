"""The documentation site: the pages of this folder, an API reference from the docstrings, tutorials that are executed.

make docs        # into site/, to open from disk
"""

import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# what the tutorials run: on the CPU, quietly; tiny networks take longer to compile than to run
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jupyter_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
warnings.filterwarnings("ignore", category=DeprecationWarning)

from kdjax.version import __version__  # noqa: E402

project = "kdjax"
author = "the authors of kdjax"
project_copyright = author
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
root_doc = "index"

# pages are read on GitHub too: headings are linked as it links them
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / ".jupyter_cache")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "code"
# what is copied from a page must run
smartquotes = False

html_theme = "furo"
html_title = f"kdjax {release}"
html_copy_source = False
html_show_sourcelink = False
# nothing is fetched from anywhere when a page is opened
html_theme_options = {"navigation_with_keys": True}
templates_path: list[str] = []
suppress_warnings = ["mystnb.unknown_mime_type"]


def write_api() -> None:
    """Writes a page for each package: what it exports, from its docstrings."""
    import inspect

    import kdjax
    from kdjax.lazy import public_names

    folder = Path(__file__).with_name("api")
    folder.mkdir(exist_ok=True)
    packages = [name for name, place in kdjax.PLACES.items() if not place]
    pages = {
        "kdjax": ["kdjax.Run", "kdjax.Extensions"],
        "types": ["kdjax.types.Outputs", "kdjax.checks.UserError"],
    }
    for package in packages:
        names = {
            name: getattr(getattr(kdjax, package), name)
            for name in public_names(f"kdjax.{package}")
        }
        pages[package] = [
            f"kdjax.{package}.{name}"
            for name in sorted(names, key=str.lower)
            if inspect.isclass(names[name]) or inspect.isfunction(names[name])
        ]
    for name, members in pages.items():
        title = name if name == "kdjax" else f"kdjax.{name}"
        module = sys.modules[title] if title in sys.modules else __import__(title, fromlist=["_"])
        first = (module.__doc__ or "").strip().splitlines()[0]
        lines = [title, "=" * len(title), "", first.replace("*", r"\*"), ""]
        for member in members:
            kind = "autoclass" if member.rpartition(".")[2][0].isupper() else "autofunction"
            lines += [
                f".. {kind}:: {member}",
                *(["   :members:"] * (kind == "autoclass")),
                "",
            ]
        write_changed(folder / f"{name}.rst", "\n".join(lines))
    order = ["kdjax", *sorted(packages), "types"]
    text = (
        "API\n===\n\nEverything is reached from ``import kdjax``. What is here is public: a change of a name or a "
        "signature is a decision, noted in the changelog.\n\n.. toctree::\n   :maxdepth: 1\n\n"
    )
    write_changed(folder / "index.rst", text + "".join(f"   {name}\n" for name in order))


def write_changed(path: Path, text: str) -> None:
    """Writes a file unless it says that already: what is unchanged is not read again."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


SECTIONS = ("Args:", "Returns:", "Raises:", "Attributes:", "Yields:")


def as_rst(
    app: object, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Makes docstrings reStructuredText: formulas, which are indented, literal blocks; signs of formulas plain text."""
    del app, what, name, thing, options
    found: list[str] = []
    section = literal = False
    for number, line in enumerate(lines):
        if line.strip() in SECTIONS and not line.startswith(" "):
            section = True
        indented = line.startswith("    ") and not section
        if indented and not literal and (number == 0 or not lines[number - 1].strip()):
            found += ["::", ""]
            literal = True
        elif line.strip() and not indented:
            literal = False
        found.append(line if literal else escaped(line))
    lines[:] = found


def escaped(line: str) -> str:
    """Returns a line with the signs escaped that mean something outside of back quotes."""
    parts = line.split("`")
    plain = [
        part.replace("*", r"\*").replace("|", r"\|").replace("_ ", r"\_ ")
        if number % 2 == 0
        else part
        for number, part in enumerate(parts)
    ]
    return "`".join(plain)


def setup(app: object) -> None:
    """Registers what is done to docstrings, before napoleon reads them."""
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # type: ignore[attr-defined]


write_api()
