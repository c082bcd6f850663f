"""The chart library as it lies in the page: plotly.js as the pinned package `plotly` brings it, compressed."""

from __future__ import annotations

import base64
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PLACE = Path("package_data") / "plotly.min.js"  # in the package; nothing of it is imported


@cache
def chart_library() -> str:
    """The script, gzipped and in base64: characters that end no element of a page.

    Raises:
        ModuleNotFoundError: the package is not installed, or brings no script.
    """
    found = find_spec("plotly")
    path = Path(found.origin).parent / PLACE if found and found.origin else None
    if path is None or not path.is_file():
        raise ModuleNotFoundError("plotly with its script is missing: pip install -r requirements.txt")
    return packed(path.read_bytes())


def packed(content: bytes) -> str:
    """Bytes as gzip in base64, the same text each time: no name and no time are kept."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
