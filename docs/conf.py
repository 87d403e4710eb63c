"""Configuration of the documentation build. Nothing is fetched from elsewhere while it runs."""

import inspect
import re
import sys
from pathlib import Path

import sklearn_sslcluster

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "sklearn-sslcluster"
author = "the sklearn-sslcluster developers"
project_copyright = author
version = release = sklearn_sslcluster.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "myst_parser",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/**.ipynb", "auto_examples/**.py"]
default_role = "literal"

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_attributes_as_param_list = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "reference/generated/backreferences",
    "doc_module": ("sklearn_sslcluster",),
    "reference_url": {"sklearn_sslcluster": None},
    "matplotlib_animations": False,
    "min_reported_time": 5,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-sslcluster"
html_static_path = ["_static"]
html_css_files = ["style.css"]
# Pages of wide tables leave out the table of contents at the side.
WIDE_PAGES = ("benchmarks", "coming_from", "user_guide/choose")
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": {"**": ["page-toc"], **{page: [] for page in WIDE_PAGES}},
}
html_sidebars = {"index": [], "benchmarks": [], "changelog": [], "coming_from": []}


def skip_members_of_scikit_learn(app, what, name, obj, skip, options):
    """Leave members that scikit-learn writes to its own documentation, whose labels do not exist here."""
    function = inspect.unwrap(getattr(obj, "fget", obj) or obj)
    return True if getattr(function, "__module__", None) and function.__module__.startswith("sklearn.") else None


def mend_docstring(app, what, name, obj, options, lines):
    """Keep ``(n_clusters_, n_features)`` from being read as a link, and drop links to scikit-learn's glossary."""
    for i, line in enumerate(lines):
        line = re.sub(r"shape \([^)]*\)", lambda shape: re.sub(r"(?<=\w)_(?!\w)", r"\\_", shape[0]), line)
        lines[i] = re.sub(r":term:`(\w+)`", r"``\1``", line)


def draw_pictures(app):
    """Draw what is no gallery example."""
    from landing_picture import draw_landing_pictures

    draw_landing_pictures(HERE / "generated")


def setup(app):
    app.connect("builder-inited", draw_pictures)
    app.connect("autodoc-skip-member", skip_members_of_scikit_learn)
    app.connect("autodoc-process-docstring", mend_docstring, priority=600)  # numpydoc has 500
