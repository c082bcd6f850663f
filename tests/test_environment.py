"""What a record says of the machine and the code: enough to repeat a run, nothing that names a person."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from bench import environment as environment_module
from bench.environment import _PACKAGES, commit, cpu, environment


def test_the_environment_names_no_person_host_or_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("USER", "somebody-in-particular")
    text = json.dumps(environment())
    assert json.loads(text) == json.loads(text)
    root = Path(environment_module.__file__).resolve().parents[1]
    for secret in (str(root), str(Path.home()) + "/", "somebody-in-particular", f'"{socket.gethostname()}"'):
        assert secret not in text
    assert {"date", "python", "packages", "cpu", "commit", "commit_dirty", "gpus", "memory_bytes"} <= set(
        json.loads(text)
    )


def test_cpu_flags_are_those_of_the_machine(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Fast CPU\nflags\t\t: fpu avx2 avx512_vnni amx_int8\n\nmodel name : Other\n")
    found = cpu(info)
    assert (found["model"], found["flags"]) == ("Fast CPU", ["avx2", "avx512_vnni", "amx_int8"])
    assert cpu(tmp_path / "absent")["flags"] == []


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) == {"commit": None, "commit_dirty": None}


def test_the_versions_of_all_that_is_required_are_recorded() -> None:
    """What bytes, numbers or trained networks depend on: a file's bytes come from constriction's arithmetic."""
    lines = (Path(__file__).parents[1] / "requirements.txt").read_text().splitlines()
    required = {line.split("==")[0].split(";")[0].strip() for line in lines if "==" in line}
    assert "constriction" in required
    assert required - {"PyYAML", "safetensors", "rich"} <= set(_PACKAGES)  # these change no number
