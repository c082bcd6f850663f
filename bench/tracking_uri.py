"""Where `--mlflow` logs to: a server's address, or a database file. Checked without MLflow, so that a mistake is told
at once; no torch here."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from baselines.errors import UsageError

_SQLITE = "sqlite:///"
_DATABASES = ("postgresql", "mysql", "mssql", "oracle")
_ON_WEB = ("http", "https")
_EXAMPLES = "write --mlflow http://localhost:5000 or --mlflow sqlite:///mlflow.db"


def parse_uri(text: str) -> str:
    """The URI that `text`, as typed, stands for: http(s)://HOST..., sqlite:///FILE; a path is a database file.

    Raises:
        UsageError: it is neither, or holds a password.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        if not text.strip() or re.match(r"\w+:", text):
            raise UsageError(f"--mlflow {text!r} is no address: {_EXAMPLES}")
        return _SQLITE + str(Path(text).expanduser()).replace("%", "%25").replace("?", "%3F")
    if scheme == "sqlite" and rest.startswith("/") and rest.strip("/") and "?" not in rest:
        return text
    if scheme in _ON_WEB and _has_host(text):
        if "@" in urlsplit(text).netloc:
            raise UsageError(
                "--mlflow: leave name and password out of the address, which is written into the report: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return text.rstrip("/")
    shown = re.sub(r"//[^/@]*@", "//", text)
    more = f"; MLflow's server reaches {scheme} for you" if scheme.partition("+")[0] in _DATABASES else ""
    raise UsageError(f"--mlflow {shown!r} is no address of a server or sqlite file: {_EXAMPLES}{more}")


def database(uri: str) -> Path | None:
    """The database file of a URI, None of a server's address."""
    return Path(unquote(uri.removeprefix(_SQLITE))) if uri.startswith(_SQLITE) else None


def check_database(path: Path) -> None:
    """
    Raises:
        UsageError: no database of MLflow can be there.
    """
    if odd := set("%?") & set(str(path.absolute())):
        raise UsageError(f"--mlflow {path}: MLflow cannot put files below a name with {odd.pop()}: name another folder")
    if path.is_dir():
        raise UsageError(f"--mlflow {path} is a folder: name a database file, as in {_SQLITE}{path / 'mlflow.db'}")
    if not path.parent.is_dir():
        raise UsageError(f"--mlflow {path}: there is no folder {path.parent}: make it, or name another file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--mlflow {path} cannot be written: name another file")
    if path.exists() and path.stat().st_size and not _is_mlflows(path):
        raise UsageError(f"--mlflow {path} is no database of MLflow: name another file")


def _is_mlflows(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError:
        return False
    return not tables or "experiments" in tables


def _has_host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        return False
