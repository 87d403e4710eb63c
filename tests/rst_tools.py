"""Code blocks of a page, for tests that run them."""

import re
from textwrap import dedent

BLOCK = re.compile(r"^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?:   :.*\n)*)\n(?P<code>(?:(?:   .*)?\n)+)", re.M)


def code_blocks(text, language):
    """(caption or "", code) of each ``code-block`` of a language that stands at the margin."""
    found = []
    for match in BLOCK.finditer(text + "\n"):
        if match["language"] == language:
            caption = re.search(r":caption: (.*)", match["options"])
            found.append((caption[1] if caption else "", dedent(match["code"]).strip("\n") + "\n"))
    return found
