"""Payoffs of the user: what can be read, and one clear line for each way to get it wrong."""

import json
import os
import pickle
import time

import jax.numpy as jnp
import numpy as np
import pytest
from marlx_envs import UsageError, make
from marlx_envs.payoff_input import MAX_BYTES

ROWS = [[1.5, -2.0], [0.0, 3.0]]


def refusal(**options) -> str:
    """The message of a refused game: one line, at once."""
    start = time.monotonic()
    with pytest.raises(UsageError) as caught:
        make("matrix_game", **options)
    assert time.monotonic() - start < 60  # it does not hang
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def npy_with_header(path, shape, dtype="<f4"):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 16)
    return str(path)


@pytest.mark.parametrize("form", [list, tuple, np.array, jnp.array, lambda rows: np.array(rows, np.float16)])
def test_lists_and_arrays(form):
    np.testing.assert_array_equal(make("matrix_game", payoff=form(ROWS)).params["rewards"][0], ROWS)


def test_files(tmp_path):
    (tmp_path / "a.csv").write_text("1.5, -2\n\n0, 3e0\n")
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf1.5,-2\r\n0,3\r\n")
    (tmp_path / "a.JSON").write_text(json.dumps(ROWS))
    np.save(tmp_path / "a.npy", np.array(ROWS, order="F"))
    for name in ("a.csv", "bom.csv", "a.JSON", "a.npy"):
        for path in (tmp_path / name, str(tmp_path / name)):
            np.testing.assert_array_equal(make("matrix_game", payoff=path).params["rewards"][0], ROWS)


def test_three_agents_from_a_file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12).reshape(2, 2, 3))
    assert make("matrix_game", payoff=str(tmp_path / "a.npy")).spec.n_agents == 3


@pytest.mark.parametrize("name", ["resq97", "resq 79"])
def test_unknown_name(name):
    assert refusal(payoff=name) == f"unknown payoff '{name}'; did you mean 'resq79'?"


@pytest.mark.parametrize("text", ["[[1, 2], [3", " [[1, 2] [3, 4]]"])
def test_a_list_that_does_not_parse(text):
    assert "is no nested list of numbers; is a bracket or a comma missing?" in refusal(payoff=text)


def test_unknown_name_unlike_any():
    assert "valid: climb, climb_n, coord_n" in refusal(payoff="")
    assert "valid: climb" in refusal(payoff="two\nlines")


def test_missing_file(tmp_path):
    (tmp_path / "payoff.csv").write_text("1,2\n3,4\n")
    assert f"does not exist; did you mean '{tmp_path}/payoff.csv'?" in refusal(payoff=f"{tmp_path}/payof.csv")
    assert refusal(payoff="son3.csv").endswith("'son3.csv' does not exist; did you mean the payoff 'son3'?")
    assert refusal(payoff="nowhere/x.npy").endswith("'nowhere/x.npy' does not exist")
    assert "does not exist" in refusal(payoff="\0.csv")
    assert "File name too long" in refusal(payoff="x" * 5000 + ".csv")


def test_wrong_extension(tmp_path):
    (tmp_path / "a.txt").write_text("1,2\n3,4\n")
    for name in (f"{tmp_path}/a.txt", "missing.toml", "missing/file"):
        assert "must end in .csv, .npy or .json" in refusal(payoff=name)


def test_directory(tmp_path):
    assert "is a directory; name a .csv, .npy or .json file in it" in refusal(payoff=str(tmp_path))
    (tmp_path / "b.csv").mkdir()
    assert "is a directory" in refusal(payoff=str(tmp_path / "b.csv"))


def test_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert "does not exist" in refusal(payoff=str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    "payoff", [[[1, 2], [3]], [[1, 2], 3], [1, [2, 3]], [[[1], [2]], [[3], 4]], [[1, 2], [3, [4]]], [[], [1]]]
)
def test_ragged(payoff, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(payoff))
    for value in (payoff, str(tmp_path / "a.json")):
        assert any(word in refusal(payoff=value) for word in ("is ragged", "is empty"))


def test_ragged_csv(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n3\n")
    assert "is ragged: line 2 has 1 entries, the first line 2" in refusal(payoff=str(tmp_path / "a.csv"))


def test_empty(tmp_path):
    (tmp_path / "a.csv").write_text("\n")
    (tmp_path / "a.json").write_text("[[]]")
    np.save(tmp_path / "a.npy", np.zeros((2, 0)))
    for value in ([], [[]], [[], []], np.zeros((0, 3)), *(str(tmp_path / f"a.{kind}") for kind in ("csv", "json"))):
        assert "is empty" in refusal(payoff=value)
    assert "a.npy" in refusal(payoff=str(tmp_path / "a.npy"))
    (tmp_path / "none.json").write_text("")
    assert "is not JSON" in refusal(payoff=str(tmp_path / "none.json"))
    (tmp_path / "none.npy").write_text("")
    assert "is not a .npy file" in refusal(payoff=str(tmp_path / "none.npy"))


@pytest.mark.parametrize("entry, shown", [("x", "'x'"), (None, "None"), (True, "True"), ({}, "{}")])
def test_not_numeric(entry, shown, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([[1, 2], [3, entry]]))
    for value in ([[1, 2], [3, entry]], str(tmp_path / "a.json")):
        assert refusal(payoff=value).endswith(f"must hold numbers, not {shown}")


@pytest.mark.parametrize("array", [np.array([["a", "b"]]), np.eye(2, dtype=bool), np.eye(2, dtype=complex)])
def test_not_numeric_arrays(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    for value in (array, str(tmp_path / "a.npy")):
        assert "must hold numbers" in refusal(payoff=value)


def test_not_numeric_csv(tmp_path):
    for text, shown in (
        ("1,2\n3,four\n", "'four' in line 2"),
        ("1,2,\n", "'' in line 1"),
        ("a;b\n", "'a;b' in line 1"),
    ):
        (tmp_path / "a.csv").write_text(text)
        assert refusal(payoff=str(tmp_path / "a.csv")).endswith(f"must hold numbers, not {shown}")


@pytest.mark.parametrize("entry", [float("nan"), float("inf"), -float("inf"), 1e39, 10**400])
def test_not_finite(entry, tmp_path):
    payoff = [[1, 2], [3, entry]]
    (tmp_path / "a.json").write_text(json.dumps(payoff))
    (tmp_path / "a.csv").write_text(f"1,2\n3,{entry}\n")
    for value in (payoff, str(tmp_path / "a.json"), str(tmp_path / "a.csv")):
        assert "must be finite" in refusal(payoff=value)
    assert "entry [1, 1] is nan" in refusal(payoff=np.array([[1, 2], [3, np.nan]]))


def test_too_few_axes(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3.0))
    for value in (5, 5.0, [1, 2], np.float32(3), str(tmp_path / "a.npy")):
        assert "one axis for each of at least 2 agents" in refusal(payoff=value)


@pytest.mark.parametrize("payoff", [None, {"a": 1}, b"son3", print])
def test_other_things(payoff):
    assert "must be nested lists of numbers" in refusal(payoff=payoff)


def test_json_that_is_not_a_payoff(tmp_path):
    for text, word in (
        ('{"a": 1}', "nested lists"),
        ("3", "nested lists"),
        ("[[1,2]", "not JSON"),
        ("[[1" * 2, "JSON"),
    ):
        (tmp_path / "a.json").write_text(text)
        assert word in refusal(payoff=str(tmp_path / "a.json"))
    (tmp_path / "a.json").write_text("[[1, " + "9" * 5000 + "]]")
    assert "must be finite" in refusal(payoff=str(tmp_path / "a.json"))


def test_text_that_is_not_text(tmp_path):
    for kind in ("csv", "json"):
        (tmp_path / f"a.{kind}").write_bytes(b"\xff\xfe1,2")
        assert "not text in UTF-8" in refusal(payoff=str(tmp_path / f"a.{kind}"))
    (tmp_path / "a.csv").write_text("1" * 200_000)
    assert "not comma-separated text" in refusal(payoff=str(tmp_path / "a.csv"))


def test_too_large_a_file(tmp_path):
    for kind in ("csv", "json", "npy"):
        with (tmp_path / f"a.{kind}").open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        assert "larger than the 16 MiB" in refusal(payoff=str(tmp_path / f"a.{kind}"))


def test_too_many_entries(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 5_000_001), np.int8))
    assert "has 10000002 entries" in refusal(payoff=str(tmp_path / "a.npy"))
    assert "has 10000002 entries" in refusal(payoff=np.zeros((2, 5_000_001), np.int8))
    assert "10^8 entries" in refusal(payoff="son_n", n_agents=8, n_actions=10)
    assert "needs a table of 16000000 entries" in refusal(payoff=np.zeros((1, 4000)))  # with the first agent padded
    assert "needs a table" in refusal(payoff=np.zeros((100, 100, 10)), repeats=1000, must_stay_optimal=True)


def test_lists_that_hold_themselves():
    endless: list = []
    endless += [endless] * 10
    assert "more than the 10000000 entries" in refusal(payoff=endless)
    single: list = []
    single.append(single)
    assert "nested more than 24 deep" in refusal(payoff=single)


def test_deep_nesting(tmp_path):
    for depth in (25, 900, 1_000_000):
        (tmp_path / "a.json").write_text("[" * depth + "1" + "]" * depth)
        assert "nested more than 24 deep" in refusal(payoff=str(tmp_path / "a.json"))
    assert "30 axes" in refusal(payoff=np.zeros((1,) * 30))


def test_nothing_is_unpickled(tmp_path):
    objects = np.array([[1, print]], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(ROWS))
    for name in ("a.npy", "b.npy"):
        assert "objects are refused" in refusal(payoff=str(tmp_path / name))
    assert "must hold numbers" in refusal(payoff=objects)


def test_npy_headers_are_not_trusted(tmp_path):
    for shape in ((10**6, 10**6), (2**62, 2**62), (-1, 2), (3, "x"), (2, 2, 2)):
        assert "a.npy" in refusal(payoff=npy_with_header(tmp_path / "a.npy", shape))
    good = npy_with_header(tmp_path / "a.npy", (2, 2))
    make("matrix_game", payoff=good)
    assert "must hold numbers" in refusal(payoff=npy_with_header(tmp_path / "a.npy", (1, 2), "<M8[s]"))
    np.savez(tmp_path / "b.npz", ROWS)
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    assert "archive" in refusal(payoff=str(tmp_path / "b.npy"))


def test_damaged_npy_headers(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    intact = (tmp_path / "a.npy").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(intact)
        for position in random.integers(0, 128, 3):
            damaged[position] = random.integers(0, 256)
        (tmp_path / "a.npy").write_bytes(damaged)
        try:
            make("matrix_game", payoff=str(tmp_path / "a.npy"))
        except UsageError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"payoff": "son3", "n_agents": 3}, "environment.n_agents has no effect on this payoff"),
        ({"payoff": [[1, 2], [3, 4]], "w": 11}, "it is an option of qplex_w"),
        ({"payoff": "qplex_w", "w": "ten"}, "environment.w must be a number, not 'ten'"),
        ({"payoff": "climb_n", "miss": float("nan")}, "environment.miss must be finite"),
        ({"payoff": "climb_n", "diagonal": [1]}, "environment.diagonal must be a list of at least 2 numbers"),
        ({"payoff": "climb_n", "diagonal": ["a", 1]}, "environment.diagonal must hold numbers, not 'a'"),
        ({"payoff": "k_of_n", "needed": 3}, "environment.needed must be at most the 2 agents, not 3"),
        ({"payoff": [[1, 2], [3, 4]], "per_step": True}, "needs an axis of steps"),
        ({"payoff": np.zeros((3, 2, 2)), "per_step": True, "repeats": 2}, "must be the payoff's 3 steps, not 2"),
        ({"repeats": 0}, "environment.repeats must be at least 1"),
        ({"playoff": "son3"}, "did you mean 'payoff'?"),
    ],
)
def test_options_that_do_not_fit(options, message):
    assert message in refusal(**options)
