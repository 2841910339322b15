"""What a registered method is: a name, its source, and a composition of parts with defaults; data only."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marlx_envs.options import Option, UsageError, defaults_of, full_name, nearest, options_of, shown

# The option classes of a section, each with the defaults that a registered name stands for.
Parts = list[tuple[Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class Method:
    """One entry of `ALGORITHMS`.

    Args:
        composition: values of fields of section `algorithm` that make the method ("mixer": "qmix", ...).
        defaults: "section.name" -> value, what the method asks for everywhere.
        environments: the same for one environment, by its name; also another part for one that `composition` names.
        rule: module of `marlx.algorithms` with `parts` and `build`; or a full module name.
    """

    name: str
    summary: str
    source: str
    composition: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rule: str = "value_factorization"
    module: str = ""

    def load_rule(self) -> Any:
        """The module that builds the method: `parts` and `build`.

        Raises:
            UsageError: there is no such module, or it lacks `parts` or `build`.
        """
        name = self.rule if "." in self.rule else f"marlx.algorithms.{self.rule}"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the rule is there, and what it imports is not
            raise UsageError(
                f"rule of algorithm {self.name}: there is no module {shown(name)}{_near(self.rule)}"
            ) from None
        for function in ("parts", "build"):
            if not callable(getattr(module, function, None)):
                raise UsageError(f"rule of algorithm {self.name}: module {name} has no function {function}")
        return module

    def section_options(self, values: Mapping[str, Any]) -> dict[str, Option]:
        """The fields of section `algorithm` where it has these values: those of the parts that they name.

        Raises:
            UsageError: two parts have an option of one name, which one value would set for both.
        """
        owners: dict[str, Any] = {}
        found: dict[str, Option] = {}
        for part, _ in self._parts(values):
            for name, option in options_of(part).items():
                if name in owners:
                    raise UsageError(
                        f"option {name} of {full_name(part)} is one of {full_name(owners[name])} too; rename it"
                    )
                owners[name], found[name] = part, option
        return found

    def section_defaults(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Default of every one of them."""
        return {
            name: value for part, own in self._parts(values) for name, value in {**defaults_of(part), **own}.items()
        }

    def _parts(self, values: Mapping[str, Any]) -> Parts:
        found: Parts = self.load_rule().parts(values)
        return found


def _near(rule: str) -> str:
    """The rules of this package, as the end of a message."""
    folder = Path(__file__).parent
    return nearest(rule, [x.stem for x in folder.glob("*.py") if "\ndef build(" in x.read_text(encoding="utf-8")])
