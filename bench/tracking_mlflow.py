"""Logs rows to MLflow: an experiment for each network and data set, in it a run for the command, below that
one for each case and seed.

Runs are found again by the tags `plan_id` and `case_id`. MLflow keeps what was logged: a run that holds parameters,
curves or measures which are no longer those of the record is deleted, and the row is logged anew.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.mlflow_store import failures_of_mlflow, opened, why
from bench.tracking import Run, TrackingError
from bench.tracking_uri import database
from bench.tracking_values import Row, digest

_STATUS = {"ok": "FINISHED", "failed": "FAILED", "refused": "KILLED"}  # of MLflow's, which knows no refusal
_LONGEST_PARAM, _LONGEST_TAG, _LONGEST_NAME = 6000, 8000, 250
_PARAMS, _METRICS, _FOUND = 100, 1000, 1000  # most in one request
_PLAN, _KIND, _LOGGED, _CURVES, _FILE = "plan_id", "kind", "logged", "curves", "logged_sha256"  # tags of ours
_PARENT = "mlflow.parentRunId"
_OF_THE_RUN = ("commit", "commit_dirty", "os", "cpu", "gpus")  # facts that the command's run has too, and versions
_PASSING = ("reason", "status.", "reason.", "kernels.")  # tags that go where the record has them no more


@dataclass
class _Held:
    """One run of MLflow's, as it is there."""

    id: str
    started_ms: int
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: frozenset[str] = frozenset()


@dataclass
class _Experiment:
    """What an experiment holds of the plan."""

    id: str
    command: _Held
    rows: dict[str, _Held]  # by case


class MLflowTracker:
    """Logs to an MLflow server or a database file; a `bench.tracking.Tracker`."""

    def __init__(self, uri: str) -> None:
        """Reaches it once.

        Raises:
            UsageError: MLflow is not installed, or the server or file is not there.
        """
        self.name = f"MLflow at {uri}"
        self._uri = uri
        self._client = opened(uri)
        self._experiments: dict[str, _Experiment] = {}

    def case(self, run: Run, row: Row) -> None:
        """Logs one row, unless it is there as it is."""
        with self._reached():
            place = self._experiment(run, row)
            file = run.folder / row.artifact
            with_file = bool(row.artifact) and file.is_file()  # published studies have none
            logged = f"{row.digest} {'with' if with_file else 'without'} file"
            held = place.rows.get(row.case_id)
            if held and (held.tags.get(_LOGGED), held.tags.get(_PARENT)) == (logged, place.command.id):
                return
            if held and _contradicts(held, row):
                self._client.delete_run(held.id)
                held = None
            held = held or self._new(place.id, row.name, row.began, {"case_id": row.case_id, **_kind(run, "row")})
            place.rows[row.case_id] = held
            self._write(held, row, place.command.id)
            if with_file and held.tags.get(_FILE) != row.sha256:
                self._client.log_artifact(held.id, str(file), "artifact")
                self._tag(held, {_FILE: row.sha256})
            self._end(held, _STATUS[row.status], row.ended)
            self._tag(held, {_LOGGED: logged})

    def report(self, run: Run, rows: Sequence[Row], files: Sequence[Path]) -> None:
        """Logs the files of the report to the command's run, unless they are there as they are."""
        hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        logged = digest({path.relative_to(run.folder).as_posix(): value for path, value in hashes.items()})
        with self._reached():
            for place in {place.id: place for row in rows if (place := self._experiment(run, row))}.values():
                if place.command.tags.get(_LOGGED) == logged:
                    continue
                for path in files:
                    below = Path("report", path.relative_to(run.folder)).parent.as_posix()
                    self._client.log_artifact(place.command.id, str(path), below)
                statuses = [row.status for row in rows]
                told = ", ".join(f"{statuses.count(one)} {one}" for one in _STATUS if one in statuses)
                self._end(place.command, "FINISHED", max((row.ended or 0 for row in rows), default=0))
                self._tag(place.command, {"rows": told, _LOGGED: logged})

    def opened_by(self, run: Run) -> str:
        """What a person does to see it."""
        names = ", ".join(self._experiments)
        if database(self._uri):
            return f"experiment {names}; to open it: mlflow ui --backend-store-uri {shlex.quote(self._uri)}"
        return f"experiment {names}: " + " ".join(
            f"{self._uri}/#/experiments/{one.id}" for one in self._experiments.values()
        )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except failures_of_mlflow() as error:
            self._experiments.clear()  # what is there has to be looked up again
            raise TrackingError(why(error)) from error

    def _experiment(self, run: Run, row: Row) -> _Experiment:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or row.place[:500]
        if name not in self._experiments:
            self._experiments[name] = self._looked_up(name, run, row)
        return self._experiments[name]

    def _looked_up(self, name: str, run: Run, row: Row) -> _Experiment:
        found = self._client.get_experiment_by_name(name)
        if found and found.lifecycle_stage != "active":
            raise TrackingError(f"its experiment {name!r} is deleted: restore it, or set MLFLOW_EXPERIMENT_NAME")
        kind = {"mlflow.experimentKind": "custom_model_development"}  # by which it is opened at its runs
        number = (
            found.experiment_id if found else self._client.create_experiment(name, self._beside_database(), tags=kind)
        )
        command: _Held | None = None
        rows: dict[str, _Held] = {}
        for held in self._runs_of(number, run):
            known = command if held.tags[_KIND] == "command" else rows.get(held.tags["case_id"])
            if known:  # a second one, made where the answer to the first was lost
                self._client.delete_run(held.id)
            elif held.tags[_KIND] == "command":
                command = held
            else:
                rows[held.tags["case_id"]] = held
        tags = {"command": run.command, "mlflow.note.content": f"    {run.command}", **_kind(run, "command")}
        tags |= {key: value for key, value in row.facts.items() if key in _OF_THE_RUN or key.startswith("version.")}
        return _Experiment(number, command or self._new(number, run.folder.resolve().name, row.began, tags), rows)

    def _beside_database(self) -> str | None:
        """Where files go: beside the database, as MLflow would put them below the folder that one works in. A server
        knows by itself."""
        file = database(self._uri)
        return str(file.resolve().parent / "mlartifacts") if file else None

    def _runs_of(self, experiment: str, run: Run) -> Iterator[_Held]:
        """All runs of the plan, the earliest first."""
        token = None
        while True:
            page = self._client.search_runs(
                [experiment], f"tags.{_PLAN} = '{run.plan_id}'", max_results=_FOUND, page_token=token,
                order_by=["attributes.start_time ASC"],
            )  # fmt: skip
            for one in page:
                if one.data.tags.get(_KIND) in ("command", "row"):
                    yield _Held(
                        one.info.run_id,
                        one.info.start_time,
                        dict(one.data.tags),
                        dict(one.data.params),
                        frozenset(one.data.metrics),
                    )
            token = page.token
            if not token:
                return

    def _new(self, experiment: str, name: str, began: float | None, tags: Mapping[str, str]) -> _Held:
        source = {"mlflow.source.name": "run_bench.py", "mlflow.source.type": "LOCAL"}
        made = self._client.create_run(
            experiment,
            start_time=_ms(began) or _ms(time.time()),
            tags={key: _cut(value, _LONGEST_TAG) for key, value in {**tags, **source}.items()},
            run_name=_cut(name, _LONGEST_NAME),
        )
        return _Held(made.info.run_id, made.info.start_time, dict(made.data.tags))

    def _write(self, held: _Held, row: Row, parent: str) -> None:
        """Parameters, tags, curves and measures. Times are those of the record, not of now: what was logged by a
        command that broke off is the same then, and MLflow keeps it once."""
        from mlflow.entities import Metric, Param

        for stale in [key for key in held.tags if key.startswith(_PASSING) and key not in row.facts]:
            self._client.delete_tag(held.id, stale)
            del held.tags[stale]
        commit = {"mlflow.source.git.commit": row.facts["commit"]} if "commit" in row.facts else {}
        curves = {_CURVES: _curves(row)} if row.curves else {}
        note = {"mlflow.note.content": f"{row.status}: {row.reason}" if row.reason else ""}
        self._tag(held, {**row.facts, **commit, **curves, **note, _PARENT: parent})
        params = [Param(key, value) for key, value in _params(row).items() if key not in held.params]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(held.id, params=params[start : start + _PARAMS])
        held.params |= _params(row)
        metrics = [
            Metric(one.name, one.value, held.started_ms + round(1000 * one.after_s), one.step) for one in row.curves
        ]
        at = _ms(row.ended) or held.started_ms
        metrics += [Metric(name, value, at, 0) for name, value in row.measures.items()]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(held.id, metrics=metrics[start : start + _METRICS])
        held.metrics |= {one.key for one in metrics}

    def _tag(self, held: _Held, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        cut = {key: _cut(value, _LONGEST_TAG) for key, value in tags.items()}
        new = [RunTag(key, value) for key, value in cut.items() if held.tags.get(key) != value]
        for start in range(0, len(new), _PARAMS):
            self._client.log_batch(held.id, tags=new[start : start + _PARAMS])
        held.tags |= cut

    def _end(self, held: _Held, status: str, ended: float | None) -> None:
        self._client.set_terminated(held.id, status, _ms(ended) or _ms(time.time()))


def _kind(run: Run, kind: str) -> dict[str, str]:
    return {_PLAN: run.plan_id, _KIND: kind}


def _params(row: Row) -> dict[str, str]:
    return {key: _cut(value, _LONGEST_PARAM) for key, value in row.params.items()}


def _curves(row: Row) -> str:
    return digest([(one.name, one.value, one.step, one.after_s) for one in row.curves])


def _contradicts(held: _Held, row: Row) -> bool:
    """Whether the run holds what the row does not say, and MLflow would keep."""
    params = _params(row)
    other = any(params.get(key) != value for key, value in held.params.items())
    retrained = held.tags.get(_CURVES) not in (None, _curves(row))
    return other or retrained or bool(held.metrics - set(row.measures) - {one.name for one in row.curves})


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _ms(seconds: float | None) -> int | None:
    return round(1000 * seconds) if seconds else None
