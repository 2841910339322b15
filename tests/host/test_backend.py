"""What is settled before JAX starts, seen from fresh interpreters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marlx.host import backend

CODE = """
import jax
from marlx.host.backend import cores, prepare
prepare({seeds})
print(jax.local_device_count(), cores(), jax.config.values["jax_compilation_cache_dir"])
prepare(1)  # too late to change devices, and no error
"""


def output(seeds: int, **environment: str) -> list[str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    found |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    command = [sys.executable, "-W", "error", "-c", CODE.format(seeds=seeds)]
    done = subprocess.run(command, env=found, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_one_device_for_each_core_and_a_cache(tmp_path: Path) -> None:
    devices, cores, cache = output(1000, XDG_CACHE_HOME=str(tmp_path))
    assert devices == cores
    assert cache == str(tmp_path / "marlx" / "xla")


def test_what_the_user_settled_stays(tmp_path: Path) -> None:
    devices, _, cache = output(1000, JAX_NUM_CPU_DEVICES="3", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    assert devices == "3"
    assert cache == str(tmp_path / "mine")


def test_no_more_devices_than_seeds_and_no_cache_where_none_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    devices, _, cache = output(1, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (devices, cache) == ("1", "None")


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert backend.cache_directory() == Path("~/.cache/marlx/xla").expanduser()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity to set")
def test_a_single_core_compiles_as_several_do() -> None:
    """XLA with one thread orders some sums otherwise, so a seed would not be the same there to the bit."""
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); from marlx.host.backend import prepare"
    for given in ({}, {"NPROC": "1"}):
        known = {name: value for name, value in os.environ.items() if name != "NPROC"}
        known |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **given}
        show = [sys.executable, "-c", f"{code}; prepare(1, cache=False); print(os.environ['NPROC'])"]
        done = subprocess.run(show, env=known, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [given.get("NPROC", "2")]
