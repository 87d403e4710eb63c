"""Code on the pages of the documentation, for tests that run it."""

import doctest
import io
import re
import shlex
import warnings
from contextlib import redirect_stderr, redirect_stdout
from textwrap import dedent

from sklearn_sslcluster.cli import main

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?:   :.*\n)*)\n(?P<code>(?:(?:   .*)?\n)+)", re.MULTILINE
)
COMMAND = re.compile(r"^(?P<indent> +)(?P<command>sslcluster .*)$", re.MULTILINE)


def code_blocks(text, language):
    """(caption or "", code) of each ``code-block`` of a language that stands at the margin."""
    found = []
    for match in BLOCK.finditer(text + "\n"):
        if match["language"] == language:
            caption = re.search(r":caption: (.*)", match["options"])
            found.append((caption[1] if caption else "", dedent(match["code"]).strip("\n") + "\n"))
    return found


def with_shell(text):
    """A page whose lines for a shell, ``sslcluster ...``, have become examples, in their places."""
    return COMMAND.sub(lambda line: f"{line['indent']}>>> run_in_shell({line['command']!r})", text)


def run_in_shell(command):
    """Run one command of the package in this process."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:
        status = main(shlex.split(command)[1:])
    assert not status, errors.getvalue()


def run_page(page):
    """(examples that failed, examples) of a page; warnings are errors."""
    text = with_shell(page.read_text(encoding="utf-8"))
    names = {"run_in_shell": run_in_shell, "__name__": "__main__"}
    test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return doctest.DocTestRunner(optionflags=OPTIONS).run(test)
