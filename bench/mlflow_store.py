"""Reaching MLflow: the package, the server or database file, and in a line why that does not work."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from baselines.errors import UsageError
from bench.tracking_uri import check_database, database

# What a person has set wins. MLflow reports its use to its makers unless it is told not to.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # nobody waits minutes for it: what is missing can be logged later
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # seconds
}
_AT_FIRST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
_REASONS = {  # what a message says somewhere, and what that means
    "Connection refused": "connection refused",
    "NameResolutionError": "there is no such host",
    "timed out": "no answer in time",
    "RemoteDisconnected": "connection broken off",
    "Connection reset": "connection broken off",
    "CERTIFICATE_VERIFY_FAILED": "its certificate cannot be verified",
    "error code 401": "it wants a name and password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "error code 403": "it forbids it: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "Response body": "it answers as none does",
    "out-of-date database schema": "its database is of another version of MLflow: mlflow db upgrade",
}
_LONGEST = 300


def opened(uri: str) -> Any:
    """A client of what is at `uri`, which has answered once; a database file is made if need be.

    Raises:
        UsageError: MLflow is not installed, or nothing answers within seconds.
    """
    if file := database(uri):
        check_database(file)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        mlflow = importlib.import_module("mlflow")
        failures = failures_of_mlflow()
    except ImportError as error:
        raise UsageError("--mlflow needs MLflow: pip install mlflow==3.17.2 (requirements-extra.txt has it)") from error
    for name in ("mlflow", "alembic"):  # which tell of the making of their tables
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with _hurried():
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    except failures as error:
        start = "" if file else "; to start one here: mlflow server --backend-store-uri sqlite:///mlflow.db"
        what = "the database cannot be used" if file else "no MLflow server answers there"
        raise UsageError(f"--mlflow {uri}: {what} ({why(error)}){start}") from error
    return client


def failures_of_mlflow() -> tuple[type[Exception], ...]:
    """What MLflow raises where something cannot be reached; `ImportError` where there is no MLflow."""
    found = [importlib.import_module("mlflow.exceptions").MlflowException, OSError]
    with suppress(ImportError):  # which a client of servers does without
        found.append(importlib.import_module("sqlalchemy.exc").SQLAlchemyError)
    return tuple(found)


def why(error: Exception) -> str:
    """The reason of an error of MLflow's in a few words."""
    text = " ".join(str(error).split())
    return next((meaning for sign, meaning in _REASONS.items() if sign in text), text[:_LONGEST])


@contextmanager
def _hurried() -> Iterator[None]:
    """MLflow's patience cut short, unless a person has set it."""
    ours = [name for name in _AT_FIRST if os.environ[name] == _SETTINGS[name]]
    os.environ.update({name: _AT_FIRST[name] for name in ours})
    try:
        yield
    finally:
        os.environ.update({name: _SETTINGS[name] for name in ours})
