"""The file that `--evaluate` and `--export` are given."""

import pytest

import run_bench


@pytest.mark.parametrize("option", [["--evaluate"], ["--to", "onnx", "--export"]])
@pytest.mark.parametrize(
    ("name", "says"),
    [(".", "that is a folder: give one file of a run's artifacts/, which end in .nnc"), ("gone", "no such file")],
)
def test_what_is_no_file_is_told_from_what_is_not_there(tmp_path, capsys, option, name, says):
    assert run_bench.main([*option, str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert f"{option[-1]} {tmp_path / name}: " in error
    assert says in error
    assert ("no such file" in error) == (name == "gone")
    assert error.count("\n") == 1
