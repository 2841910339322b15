"""Which lanes of a run are resident at a time: how many, how wide they are computed, and the program that holds them.

Sizes come from the states of the seeds and the free memory first, and from the compiler's own account of the compiled
program then; where memory runs out all the same, from trying half.
"""

from marlx_envs.options import UsageError

from marlx.engine import memory
from marlx.engine.seeds import Fleet, choose_width, halved, on_cpu
from marlx.host.lanes import Lanes
from marlx.program import Program

FULL = 0.9  # of the free memory that the compiled program may ask for


class Seating:
    """The lanes at work. `choose` comes first, then `seat`, `compile` and, for other lanes, `take`.

    Args:
        split: devices that share the batches of a seed.
        chunk: lanes resident at a time; None: as many as fit memory.
    """

    width: int  # lanes computed together on a device
    size: int  # lanes resident at a time
    fleet: Fleet

    def __init__(self, program: Program, lanes: Lanes, base_seed: int, split: int, chunk: int | None) -> None:
        self._program, self._lanes, self._base_seed = program, lanes, base_seed
        self._split, self._chunk = split, chunk

    def choose(self, width: int | None, company: int) -> None:
        """Settles width and size.

        Args:
            width: as it was given or recorded; None: by the program, the devices and their memory.
            company: lanes that the choice is made for.
        """
        fitting = memory.fitting_seeds(self._program.init, self._lanes.experiment.numbers())
        resident = min(company, self._chunk or company)
        self.width = width or choose_width(self._program.rows, resident, fitting)
        self.size = min(self._chunk or memory.chunk_size(fitting, len(self._lanes), self.width), len(self._lanes))

    def seat(self) -> None:
        """A program for `size` lanes at width `width`, not yet compiled."""
        lanes = slice(self.size)
        numbers, ids, varied = self._lanes.numbers(lanes), self._lanes.ids(lanes), self._lanes.varied
        self.fleet = Fleet(self._program, numbers, ids, self._base_seed, self.width, self._split, varied)

    def take(self, first: int, count: int) -> None:
        """The compiled program for `count` lanes from number `first` on."""
        places = slice(first, first + count)
        self.fleet = self.fleet.reseated(self._lanes.ids(places), self._lanes.numbers(places))

    def compile(self, whole: bool) -> float:
        """Compiles what is seated; fewer lanes, where by the compiler's account these do not fit.

        On CPU the width stays, since bits depend on it; elsewhere it is halved too, as it is when memory runs out.

        Args:
            whole: all that are seated have to stay, so it is tried whatever the account says.

        Returns:
            Seconds of compilation.
        """
        seconds = self.fleet.compile()
        while not whole and self.fleet.bytes > FULL * memory.free_memory(self.fleet.mesh.devices.flat):
            size, width = halved(self.fleet.layout)
            if not size or (width < self.width and on_cpu()):
                break
            self._shrink(size, width)
            seconds += self.fleet.compile()
        return seconds

    def halve(self) -> None:
        """Half as many seats, not yet compiled. Raises `UsageError` if there are no fewer."""
        size, width = halved(self.fleet.layout)
        if not size:
            raise UsageError("not even one seed fits the device's memory; lower training.buffer_size")
        self._shrink(size, width)

    def _shrink(self, size: int, width: int) -> None:
        self.size, self.width = min(size, len(self._lanes)), width
        del self.fleet
        self.seat()
