"""The shell: exit codes, and one line on stderr for each mistake."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from marlx.engine.seeds import Fleet
from marlx.host.cli import main

from .conftest import SMALL

TRAIN = ("train", "iql", "matrix_game")
LONG = "x" * 300  # more than a file system takes for one name


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in a directory of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "a command is missing; valid: train, repeat, evaluate, sweep, plot, "),
        (("trian",), "unknown command 'trian'; did you mean 'train'?"),
        (("--versio",), "unknown option '--versio'; did you mean '--version'?"),
        (("train",), "the following arguments are required: ALGORITHM, ENVIRONMENT"),
        (("train", "qmx", "matrix_game"), "unknown algorithm 'qmx'; did you mean 'qmix'?"),
        (("train", "qmix", "matrix_gam"), "unknown environment 'matrix_gam'; did you mean 'matrix_game'?"),
        ((*TRAIN, "trainin.gamma=1"), "unknown section 'trainin'; did you mean 'training'?"),
        ((*TRAIN, "training.gama=1"), "unknown field of [training] 'gama'; did you mean 'gamma'?"),
        ((*TRAIN, "environment.payof=son3"), "unknown field of [environment] 'payof'; did you mean 'payoff'?"),
        ((*TRAIN, "training.gamma=high"), "training.gamma must be a number, not 'high'"),
        ((*TRAIN, "training.gamma=1.5"), "training.gamma must be at most 1, not 1.5"),
        ((*TRAIN, "training.gamma=nan"), "training.gamma must be finite, not nan"),
        ((*TRAIN, "training.gamma=1" + "0" * 400), "training.gamma must be finite, not inf"),
        ((*TRAIN, "training.total_steps=-5"), "training.total_steps must be at least 1, not -5"),
        ((*TRAIN, "training.total_steps=1e20"), "training.total_steps must be at most 2000000000"),
        ((*TRAIN, "training.total_steps=0.5"), "training.total_steps must be a whole number, not 0.5"),
        ((*TRAIN, "training.optimiser=adamm"), "unknown value of training.optimiser 'adamm'; did you mean 'adam'?"),
        ((*TRAIN, "algorithm.mixer=[1]"), "algorithm.mixer must be a word, not [1]"),
        ((*TRAIN, "algorithm.profile=[1]"), "unknown value of algorithm.profile [1]"),
        ((*TRAIN, "agent.last_action=2"), "agent.last_action must be true or false, not 2"),
        ((*TRAIN, "training.gamma=" + "[" * 5000), "a value is nested too deeply"),
        ((*TRAIN, "gamma"), "expected section.name=value, not 'gamma'"),
        ((*TRAIN, "gamma=1"), "expected section.name=value, not 'gamma=1'; did you mean 'training.gamma'?"),
        ((*TRAIN, "colour=1"), "expected section.name=value, not 'colour=1'; sections: environment, agent, "),
        ((*TRAIN, "agent.network=GRUs"), "unknown value of agent.network 'GRUs'; did you mean 'gru'?"),
        ((*TRAIN, "environment.view_radius=1"), "environment.view_radius is no option of matrix_game; predator_prey"),
        (("train", "qmix", "matrix_game", "algorithm.rounds=2"), "algorithm.rounds is no option of qmix; mrvf"),
        (
            ("train", "nm_qmix", "matrix_game", "algorithm.intrinsic=none", "algorithm.intrinsic_start=1"),
            "algorithm.intrinsic_start is no option of nm_qmix with the parts that are asked for",
        ),
        (("train", "vdn", "two_step_game", "environment.x=1"), "unknown field of [environment] 'x'; there is none"),
        (("train", "vdn", "smax", "evaluation.record_tables=true"), "evaluation.record_tables needs at most 100 joint"),
        ((*TRAIN, "a\nb.c=1"), "unknown section 'a\\nb'"),
        ((*TRAIN, "training.optimiser=" + "x" * 5000), "unknown value of training.optimiser 'xxx"),
        ((*TRAIN, "environment.payoff=nothing.csv"), "environment.payoff file 'nothing.csv' does not exist"),
        (
            ("train", "qmix", "smax", "environment.scenario=3mm"),
            "unknown value of environment.scenario '3mm'; did you mean '3m'?",
        ),
        ((*TRAIN, "environment.payoff=[[1,2],[3]]"), "environment.payoff is ragged"),
        ((*TRAIN, "environment.payoff=[]"), "environment.payoff is empty"),
        ((*TRAIN, 'environment.payoff=[["a", 1], [2, 3]]'), "environment.payoff must hold numbers, not 'a'"),
        ((*TRAIN, "environment.payoff=[[nan, 1], [2, 3]]"), "environment.payoff must be finite"),
        ((*TRAIN, "--seeds", "0"), "seeds must be at least 1, not 0"),
        ((*TRAIN, "--seeds", "-3"), "seeds must be at least 1, not -3"),
        ((*TRAIN, "--seeds", "abc"), "seeds must be a whole number"),
        ((*TRAIN, "--seeds", "3:1"), "seeds must name at least one, not '3:1'"),
        ((*TRAIN, "--seeds", "1,2:4,3"), "seed id 3 is named twice"),
        ((*TRAIN, "--width", "mesure"), "--width must be a whole number from 1 on, or the word measure, not 'm"),
        ((*TRAIN, "--seeds"), "argument --seeds: expected one argument"),
        ((*TRAIN, "--seds", "3"), "unknown option '--seds' of `marlx train`; did you mean '--seeds'?"),
        ((*TRAIN, "--base-seed", "x"), "--base-seed must be a whole number from 0 to 4294967295, not 'x'"),
        ((*TRAIN, "--wandb", "ofline"), "unknown value of wandb 'ofline'; did you mean 'offline'?"),
        ((*TRAIN, "--resume"), "--resume needs --out"),
        ((*TRAIN, "--out", "file"), "file is a file; a run needs a directory"),
        ((*TRAIN, "--out", "file/run"), "cannot make the directory file/run: Not a directory"),
        ((*TRAIN, "--out", ""), "a directory needs a name"),
        (("theory", "resq79", "environment.payoff=son3"), "'environment.payoff=son3' is no option of a payoff; give"),
        (("theory", "resq79", "training.gamma=1"), "'training.gamma=1' is no option of a payoff; give"),
        (("compare", "a", "b", "--json", "a/run.toml"), "--json must end in .json, not 'run.toml'"),
        (("compare", "a", "b", "--json", ""), "--json needs a name, not ''"),
        (("compare", "a", "b", "--json", "new/a.json"), "cannot write new/a.json: No such file or directory"),
        (("theory", "map", "--out", "new/map.png"), "cannot write new/map.png: No such file or directory"),
        (("plot", "nothing", "--out", ""), "nothing is not there"),
        (("sweep", "file", "--out", ""), "a directory needs a name"),
        ((*TRAIN, "--out", LONG), "cannot use 'xxx"),
        ((*TRAIN, "--out", LONG, "--resume"), "cannot use 'xxx"),
        ((*TRAIN, "--out", f"{LONG}/run"), "cannot use 'xxx"),
        ((*TRAIN, "--out", LONG, "--share", "0/2"), "cannot use 'xxx"),
        (("evaluate", LONG), "cannot use 'xxx"),
        (("plot", LONG), "cannot use 'xxx"),
        (("report", LONG), "cannot use 'xxx"),
        (("evaluate", "nothing"), "nothing is not there"),
        (("evaluate", "nothing", "--episodes", "0"), "--episodes must be a whole number from 1 to"),
        (("evaluate", "a", "b"), "one argument too many: 'b'"),
        (("plot",), "the following arguments are required: RUN"),
        (("plot", "nothing"), "nothing is not there"),
        (("list", "mixer"), "unknown name 'mixer'; did you mean 'mixers'?"),
        (("list", "qmx"), "unknown name 'qmx'; did you mean 'qmix'?"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert main(words) == 2
    output, errors = capsys.readouterr()
    assert errors.startswith(f"marlx: {message}"), errors
    assert errors.count("\n") == 1 and len(errors) < 500
    assert not output
    assert os.listdir() == ["file"]


def test_a_name_that_is_too_long_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main((*TRAIN, "--out", LONG)) == 2
    assert capsys.readouterr().err.endswith("xxx...': File name too long\n")


@pytest.mark.parametrize("held", ["nothing", "notes.txt", "a run"])
@pytest.mark.parametrize("more", [(), ("--resume",), ("--tensorboard",)])
def test_a_directory_that_cannot_be_written_is_left_alone(
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    held: str,
    more: tuple[str, ...],
) -> None:
    """The system refuses every change below it. (Permissions would not do: the suite may run as root.)"""
    if held == "a run":
        shutil.copytree(finished, "out")
        record = Path("out/run.toml")
        record.write_text(record.read_text().replace('"finished"', '"interrupted"'))
    else:
        Path("out").mkdir()
    if held == "notes.txt":
        Path("out/notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        for module, name in (
            (io, "open"),
            (os, "open"),
            (os, "mkdir"),
            (os, "unlink"),
            (os, "rename"),
            (os, "replace"),
        ):
            patch.setattr(module, name, _refusing(getattr(module, name), Path("out").absolute()))
        assert main((*TRAIN, *SMALL, "--seeds", "2", "--quiet", "--out", "out", *more)) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("marlx: ") and errors.count("\n") == 1
    if held == "nothing" or (held == "a run" and "--resume" in more):
        assert re.fullmatch(r"marlx: cannot write out/\S+: Permission denied\n", errors), errors
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


def _refusing(call: Any, folder: Path) -> Any:
    """A function of the system that may not change what lies below a folder."""

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        inside = not isinstance(path, int) and folder in Path(os.fspath(path)).absolute().parents
        how = options.get("mode", arguments[0] if arguments else "r")
        reads = call.__name__ == "open" and how in ("r", "rb", os.O_RDONLY, os.O_RDONLY | os.O_CLOEXEC)
        if inside and not reads:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return call(path, *arguments, **options)

    return refuse


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ragged.csv", "1,2\n3\n", "ragged"),
        ("empty.csv", "", "empty"),
        ("words.csv", "1,x\n3,4\n", "must hold numbers, not 'x'"),
        ("nan.csv", "1,nan\n3,4\n", "must be finite"),
        ("bad.json", "[[1, 2", "is not JSON"),
        ("bad.npy", "x", "is not a .npy file"),
    ],
)
def test_a_bad_payoff_file_is_one_line(
    name: str, content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(content)
    assert main((*TRAIN, f"environment.payoff={name}")) == 2
    errors = capsys.readouterr().err
    assert message in errors and name in errors and errors.count("\n") == 1


def test_train_evaluate_plot(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main((*TRAIN, "--seeds", "2", "--quiet", *SMALL)) == 0
    assert main((*TRAIN, *SMALL, "--seeds", "2", "--quiet")) == 0
    output = capsys.readouterr().out
    assert re.search(r"evaluation return, mean \[lowest, highest\] │ -?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", output)
    assert "runs/iql-matrix_game-1" in output and "runs/iql-matrix_game-2" in output
    for name in ("parameters.npz", "experiment.toml"):
        assert Path(f"runs/iql-matrix_game-1/{name}").read_bytes() == (finished / name).read_bytes()

    assert main((*TRAIN, *SMALL, "--seeds", "2", "--out", "runs/iql-matrix_game-1")) == 2
    words = "marlx: runs/iql-matrix_game-1 holds this run already; go on with it by --resume, or choose another --out"
    assert capsys.readouterr().err.strip() == words
    assert main((*TRAIN, *SMALL, "--seeds", "2", "--out", "runs/iql-matrix_game-1", "--resume")) == 0
    assert main(("evaluate", "runs/iql-matrix_game-1", "--episodes", "3")) == 0
    assert "3 greedy episodes of each of 2 seeds" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(Fleet, "record", lambda *_: (_ for _ in ()).throw(MemoryError))
        assert main(("evaluate", "runs/iql-matrix_game-1", "--episodes", "2000000")) == 2
    words = "marlx: 2,000,000 episodes side by side do not fit memory; give fewer --episodes\n"
    assert capsys.readouterr().err == words
    assert main(("evaluate", "runs")) == 2
    words = "marlx: runs is no run, but holds some; did you mean runs/iql-matrix_game-1?\n"
    assert capsys.readouterr().err == words

    assert main(("plot", "runs/iql-matrix_game-1")) == 0
    assert main(("plot", "runs/iql-matrix_game-1", "runs/iql-matrix_game-2", "--out", "both.pdf")) == 0
    assert Path("both.pdf").read_bytes().startswith(b"%PDF")
    assert Path("runs/iql-matrix_game-1/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    for words, message in [
        (("--metric", "los"), "did you mean 'loss'?"),
        (("./runs/iql-matrix_game-1",), "a run is named twice: runs/iql-matrix_game-1, runs/iql-matrix_game-1"),
        (("--metric", ""), "unknown metric of runs/iql-matrix_game-1 ''; valid: "),
        (("--out", ""), "a picture needs a name, not ''"),
        (("--out", "x.bmp"), "must end in .png, .pdf or .svg"),
        (("--out", "nowhere/x.png"), "cannot write nowhere/x.png: No such file or directory"),
    ]:
        assert main(("plot", "runs/iql-matrix_game-1", *words)) == 2
        assert message in capsys.readouterr().err


OWN = """
from dataclasses import dataclass
import marlx
from marlx.mixers.base import Mixer
from marlx_envs.discovery import Entry
from marlx_envs.options import number
@dataclass(frozen=True)
class Scaled(Mixer):
    scale: float = number(1.0, "factor", low=0)
    def init(self, key):
        return {}
    def apply(self, params, utilities, state, context=None):
        return self.scale * utilities.sum(-1)
marlx.mixers.MIXERS.register(Entry(name="scaled", summary="", source="", factory=Scaled))
marlx.ALGORITHMS.register(marlx.Method(name="scaled_vdn", summary="", source="", composition={"mixer": "scaled"}))
"""


def test_the_users_modules_are_known_to_every_command(tmp_path: Path) -> None:
    """And to no other process, whatever a run directory says."""
    (tmp_path / "own_parts.py").write_text(OWN)
    known = {**os.environ, "MARLX_MODULES": "own_parts"}

    def marlx(*words: str, environment: Any = known) -> tuple[int, str]:
        command = [sys.executable, "-P", "-m", "marlx", *words]  # like the command marlx, not from the current folder
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stderr

    train = ("train", "scaled_vdn", "matrix_game", *SMALL, "algorithm.scale=0.5", "--seeds", "1", "--quiet")
    assert marlx(*train, "--out", "run") == (0, "")
    assert marlx("evaluate", "run") == (0, "")
    code, complaint = marlx("evaluate", "run", environment=dict(os.environ))
    assert code == 2 and "unknown algorithm 'scaled_vdn'" in complaint and len(complaint.splitlines()) == 1
    assert complaint.endswith("(the run was made with MARLX_MODULES=own_parts)\n")


def test_training_fails_where_every_seed_died(tmp_path: Path) -> None:
    huge = [f"training.{name}=1e38" for name in ("learning_rate", "max_gradient_norm", "loss_scale")]
    train = ["train", "iql", "matrix_game", *SMALL, *huge, "--seeds", "2", "--quiet", "--out"]
    assert main([*train, "died"]) == 1
    assert main([*train, "died", "--resume"]) == 1
    assert main(["repeat", "died", "--continue", "--steps", "400", "--quiet", "--out", "longer"]) == 1
    assert main([*train, "share", "--share", "0/2"]) == 0  # the seeds of other shares may live


def test_progress_in_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marlx.host.progress._SECONDS", 0.0)
    assert main((*TRAIN, *SMALL, "--seeds", "2")) == 0
    output = capsys.readouterr().out
    assert "runs/iql-matrix_game-1: iql on matrix_game, 2 seeds on" in output
    assert re.search(r"compiled in [\d.]+ s", output)
    assert re.search(r"240 of 320 steps of each seed, .* steps/s in all, 0:00 left, return", output)


def test_a_failed_start_can_be_repeated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        assert main((*TRAIN, *SMALL, "--seeds", "2", "--out", "run", "--quiet")) == 2
    assert "the disk of run is full" in capsys.readouterr().err
    assert main((*TRAIN, *SMALL, "--seeds", "2", "--out", "run", "--quiet")) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "risk_reward"),
        (("algorithms",), "qmix"),
        (("environments",), "matrix_game"),
        (("qmix",), "mixing_width     32             whole number, 1 to 4096"),
        (("nm_qmix",), "monotone                 false          true | false"),  # the method's own default
        (("pow_qmix",), "critic_width               64             whole number"),
        (("matrix_game",), "must_stay_optimal"),
        (("matrix_game",), "penalty_100"),
        (("matrix_game",), "training.num_envs = 32"),
        (("agent",), "gru | mlp"),
        (("evaluation",), "interval       50000  whole number >= 0"),
        (("algorithm",), "weights of the squared errors"),
        (("mixers",), "feed_forward  unconstrained network of state and utilities"),
        (("mixers",), "chosen by algorithm.mixer=NAME"),
        (("weightings",), "ow        optimistically weighted"),
        (("intrinsics",), "rnd    error of predicting a random network"),
    ],
)
def test_list(words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("list", *words)) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--help",), ("train", "--help"), ("plot", "--help"), ("--version",)])
def test_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "marlx" in capsys.readouterr().out


def test_help_and_list_import_nothing_heavy() -> None:
    code = """
import contextlib, io, json, sys
from marlx.host.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    codes = [main([word]) for word in ("--help", "--version", "list", "trian")]
    codes += [main(["list", "mixers"]), main(["train", "qmx", "smax"])]
heavy = ("jax", "jaxlib", "numpy", "pandas", "pyarrow", "matplotlib", "wandb", "flax", "rich")
print(json.dumps([codes, [name for name in heavy if name in sys.modules]]))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert json.loads(found.stdout) == [[0, 0, 0, 2, 0, 2], []]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGUSR1, 75)],
)
def test_a_process_is_told_to_stop(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C, a kill and a cluster's warning; until then nobody else may be at work there."""
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"]
    command[-1] += "import sys; from marlx.host.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [*TRAIN, *SMALL, "training.total_steps=1e9", "evaluation.interval=20000"]
    words += ["--seeds", "2", "--width", "1", "--out", "run"]
    command += words
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment())
    try:
        deadline = time.monotonic() + 100
        while not list(Path("run").glob("metrics/*.parquet")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert main([*words, "--resume"]) == 2
        assert "another process is at work in run; wait for it" in capsys.readouterr().err
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert re.fullmatch(r"marlx: stopped after [\d,]+ of 1,000,000,000 steps; .* go on with .*\n", errors), errors
    import marlx

    assert not marlx.load_run("run").metrics().empty


def _environment() -> dict[str, str]:
    """The environment of a subprocess that finds the packages as this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
