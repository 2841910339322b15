"""How many seeds are resident at a time and how wide: by the free memory, by the compiler's account, and by trial."""

from pathlib import Path
from typing import Any

import jax
import pytest
from marlx_envs.options import UsageError

import marlx
from marlx.engine import memory, seeds
from marlx.engine.memory import chunk_size, free_memory, state_bytes
from marlx.engine.seeds import Fleet, Layout, accelerator_width, choose_width, halved
from marlx.host.cli import main
from marlx.host.lanes import Lanes
from marlx.host.seating import FULL, Seating
from marlx.program import Program

from .conftest import SMALL
from .resuming import assert_same, experiment, run, stopped

PLENTY = 10**15
OUT_OF_MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """These CPU devices, as if each had memory of its own and amortised launches."""
    for module in ("engine.seeds", "host.seating", "host.job"):
        monkeypatch.setattr(f"marlx.{module}.on_cpu", lambda: False)


def set_free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda devices: int(free))


def set_free_for(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    """Free memory for the states of `count` seeds."""
    program, numbers = Program(experiment()), experiment().numbers()
    each = state_bytes(program.init, numbers)
    assert each == memory.tree_bytes(jax.jit(program.init)(jax.random.key(0), numbers))
    set_free(monkeypatch, count * each * memory.COPIES / memory.SHARE + 1)


def seating(count: int, chunk: int | None = None) -> Seating:
    return Seating(Program(experiment()), Lanes(experiment(), range(count)), 0, 1, chunk)


def chosen(count: int, chunk: int | None = None, width: int | None = None, company: int = 0) -> tuple[int, int]:
    """Width and size for so many seeds."""
    found = seating(count, chunk)
    found.choose(width, company or count)
    return found.width, found.size


def account(monkeypatch: pytest.MonkeyPatch, each: int) -> list[Layout]:
    """The compiler says that every seat takes `each` bytes. Returns the layouts that it compiles."""
    tried = []

    def compile_nothing(self: Fleet) -> float:
        tried.append(self.layout)
        self.bytes = each * self.layout.padded
        return 1.0

    monkeypatch.setattr(Fleet, "compile", compile_nothing)
    return tried


@pytest.mark.usefixtures("accelerator")
def test_on_an_accelerator_the_width_is_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two devices: 100 seeds are 50 on each."""
    set_free(monkeypatch, PLENTY)
    assert chosen(100) == (64, 100) and chosen(5000) == (1024, 5000)
    set_free_for(monkeypatch, 40)  # 20 on each
    assert chosen(100) == (16, 32)  # 7 groups, 2 at a time
    assert chosen(12) == (8, 12)
    assert chosen(100, width=64) == (64, 64)  # as it was given or recorded
    set_free_for(monkeypatch, 0)
    assert chosen(100) == (1, 1)  # it is tried
    set_free(monkeypatch, PLENTY)
    assert chosen(1000, chunk=64) == (32, 64)  # not seats for a thousand


def test_on_cpu_the_width_is_a_matter_of_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, PLENTY)
    assert chosen(100) == (2, 100)
    set_free_for(monkeypatch, 7)
    assert chosen(100) == (2, 6)
    set_free_for(monkeypatch, 0)
    assert chosen(100) == (2, 2)


def test_widths_of_an_accelerator() -> None:
    assert [accelerator_width(count) for count in (1, 2, 3, 1000, 1024, 5000)] == [1, 2, 4, 1024, 1024, 1024]
    assert [accelerator_width(5000, fitting) for fitting in (0, 1, 2, 3, 127, 128, 5000)] == [1, 1, 2, 2, 64, 128, 1024]


def test_chunks_are_the_fewest_equal_ones() -> None:
    assert chunk_size(fitting=100, seeds=64, width=8) == 64
    assert chunk_size(fitting=100, seeds=101, width=8) == 56  # 13 groups, of which 12 fit: 7 and 6
    assert chunk_size(fitting=3, seeds=101, width=8) == 8


def test_free_memory_is_that_of_the_devices() -> None:
    class Device:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 1000, "bytes_in_use": 300}

    assert free_memory([Device(), Device()]) == 1400
    assert 0 < free_memory(jax.local_devices()) == pytest.approx(free_memory(jax.local_devices()[:1]), rel=0.5)


def test_half_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert halved(Layout(2, 3, 2)) == (6, 2) and halved(Layout(1, 1, 2)) == (1, 1) and halved(Layout(1, 1, 1))[0] == 0
    monkeypatch.setattr(seeds, "on_cpu", lambda: False)
    assert halved(Layout(4, 1, 1024)) == (2048, 512)  # no device idles
    assert halved(Layout(4, 3, 8)) == (48, 8) and halved(Layout(4, 1, 1))[0] == 0


@pytest.mark.parametrize(
    ("cpu", "room", "layouts"),
    [
        (True, 3, [Layout(2, 2, 2), Layout(2, 1, 2), Layout(1, 1, 2)]),  # no narrower: that is tried
        (False, 3, [Layout(2, 2, 2), Layout(2, 1, 2), Layout(2, 1, 1)]),
        (False, 0, [Layout(2, 2, 2), Layout(2, 1, 2), Layout(2, 1, 1)]),
        (False, 8, [Layout(2, 2, 2)]),
    ],
)
def test_the_compilers_account_is_heeded(
    cpu: bool, room: int, layouts: list[Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("engine.seeds", "host.seating"):
        monkeypatch.setattr(f"marlx.{module}.on_cpu", lambda: cpu)
    set_free(monkeypatch, PLENTY)
    tried = account(monkeypatch, each=100)
    found = seating(7)
    found.choose(2, 7)
    set_free(monkeypatch, 100 * room / FULL + 1)
    found.seat()
    assert found.compile(whole=False) == len(layouts)  # though the width was given: as it is to several processes
    assert tried == layouts
    assert (found.size, found.width) == (min(7, layouts[-1].padded), layouts[-1].width)
    tried.clear()
    found.compile(whole=True)
    assert tried == layouts[-1:]


@pytest.mark.usefixtures("accelerator")
def test_what_fits_is_told_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6 seeds 3 on each device would be 4 wide."""
    compiled = Fleet.compile

    def account_of_it(self: Fleet) -> float:
        seconds = compiled(self) if self.layout.padded <= 4 else 0.0
        self.bytes = self.layout.padded
        return seconds

    monkeypatch.setattr(Fleet, "compile", account_of_it)
    set_free(monkeypatch, PLENTY)
    found = seating(6)
    found.choose(None, 6)
    assert found.width == 4
    monkeypatch.setattr(memory, "fitting_seeds", lambda init, numbers: PLENTY)
    set_free(monkeypatch, 4 / FULL + 1)
    capped = run(tmp_path / "capped", seeds=6)
    assert (capped.record["layout"]["width"], capped.record["layout"]["maps"]) == (2, 1)
    log = (tmp_path / "capped" / "events.log").read_text()
    assert "asks for more memory than is free; going on with 4 seeds at a time" in log
    set_free(monkeypatch, PLENTY)
    run(tmp_path / "given", seeds=6, width=2)
    assert_same(tmp_path / "given", tmp_path / "capped")


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No more than `most` seats can be compiled."""
    compiled = Fleet.compile

    def short(self: Fleet) -> float:
        if self.layout.padded > most:
            raise OUT_OF_MEMORY
        return compiled(self)

    monkeypatch.setattr(Fleet, "compile", short)


def test_memory_that_runs_out_while_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        short_of_memory(patch, 1)
        run(tmp_path / "run", width=1)
    assert "memory ran out; going on with 1 seed at a time" in (tmp_path / "run" / "events.log").read_text()
    run(tmp_path / "alone", width=1)
    assert_same(tmp_path / "alone", tmp_path / "run")
    short_of_memory(monkeypatch, 0)
    with pytest.raises(UsageError, match="not even one seed fits"):
        run(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_saved_chunk_stays_whole_until_memory_runs_out(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the compiler's account says; then it begins anew, with fewer seeds."""
    stopped(tmp_path / "run", monkeypatch)
    with monkeypatch.context() as patch:
        set_free(patch, 1)
        assert run(tmp_path / "run", resume=True).finished
    assert_same(whole, tmp_path / "run")


@pytest.mark.parametrize("where", ["compile", pytest.param("train", marks=pytest.mark.slow)])
def test_memory_that_runs_out_after_going_on(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second of two chunks, which had come half way: it begins anew."""
    options: dict[str, Any] = {"seeds": 4, "width": 1, "chunk": 2}
    stopped(tmp_path / "run", monkeypatch, after=5, **options)
    with monkeypatch.context() as patch:
        if where == "compile":
            short_of_memory(patch, 1)
        else:
            trained = Fleet.train

            def short(self: Fleet, *arguments: Any) -> Any:
                if self.layout.padded > 1:
                    raise OUT_OF_MEMORY
                return trained(self, *arguments)

            patch.setattr(Fleet, "train", short)
        assert run(tmp_path / "run", resume=True, **options).finished
    assert "ran out; going on with 1 seed at a time" in (tmp_path / "run" / "events.log").read_text()
    run(tmp_path / "alone", **options)
    assert_same(tmp_path / "alone", tmp_path / "run")


@pytest.mark.usefixtures("accelerator")
def test_all_shares_have_one_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the largest, and what fits: 9 seeds in two processes are 4 and 5, on two devices 2 and 3 each."""
    asked: list[tuple[int, int]] = []

    def record(experiment: marlx.Experiment, ids: list[int], largest_share: int, **_: Any) -> None:
        asked.append((len(ids), largest_share))
        raise UsageError("enough")

    monkeypatch.setattr("marlx.host.runs.train", record)
    words = ["train", "iql", "matrix_game", *SMALL, "--seeds", "9", "--out", str(tmp_path / "run")]
    for share in ("0/2", "1/2"):
        assert main([*words, "--share", share]) == 2
    assert asked == [(4, 5), (5, 5)]
    set_free(monkeypatch, PLENTY)
    assert [chosen(count, company=company)[0] for count, company in asked] == [4, 4] != chosen(4)[:1]
    set_free_for(monkeypatch, 4)
    assert [chosen(count, company=company)[0] for count, company in asked] == [2, 2]


def test_the_width_of_a_cpu_has_no_memory() -> None:
    assert choose_width(10, 1000, fitting=1) == choose_width(10, 1, fitting=10**6) == 2
