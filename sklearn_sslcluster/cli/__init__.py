"""The ``sslcluster`` command: reads a table, finds the classes nobody has named, writes the table and a report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"_command": ["main"]})
