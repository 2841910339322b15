"""What `marlx list` prints: names with one line each, read from declarations, and the fields of one name."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from marlx_envs import ENVIRONMENTS
from marlx_envs.options import Option, defaults_of, options_of, shown, unknown

from marlx.algorithms import ALGORITHMS
from marlx.algorithms.profiles import HOUSE
from marlx.intrinsic import INTRINSICS
from marlx.mixers import MIXERS
from marlx.weightings import WEIGHTINGS

_SECTIONS = ("agent", "training", "evaluation")
_PARTS = {"mixers": MIXERS, "weightings": WEIGHTINGS, "intrinsics": INTRINSICS}


def listing(what: str | None) -> str:
    """The text for `marlx list WHAT`. Raises `UsageError` on an unknown name."""
    groups: dict[str, Mapping[str, Any]] = {"algorithms": ALGORITHMS, "environments": ENVIRONMENTS}
    if what is None:
        more = "`marlx list NAME` shows the fields of one, or of agent, algorithm, training, evaluation;"
        parts = "`marlx list mixers`, weightings and intrinsics: the parts that algorithms are made of."
        return "\n".join([*_names(groups), "", more, parts])
    if what in groups:
        return "\n".join(_names({what: groups[what]}))
    if what in _PARTS:
        return "\n".join([*_names({what: _PARTS[what]}), "", f"chosen by algorithm.{what.removesuffix('s')}=NAME"])
    if what in ALGORITHMS:
        return _algorithm(what)
    if what in ENVIRONMENTS:
        return _environment(what)
    if what in _SECTIONS:
        return "\n".join(_section(what))
    if what == "algorithm":
        return "\n".join(_composition())
    raise unknown("name", what, [*groups, *_PARTS, *_SECTIONS, "algorithm", *ALGORITHMS, *ENVIRONMENTS])


def _names(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    width = max(len(name) for group in groups.values() for name in group)
    lines: list[str] = []
    for title, group in groups.items():
        lines += ["", title, *(f"  {name:<{width}}  {entry.summary}" for name, entry in group.items())]
    return lines[1:]


def _algorithm(name: str) -> str:
    method = ALGORITHMS[name]
    own = {name.removeprefix("algorithm."): x for name, x in method.defaults.items() if name.startswith("algorithm.")}
    values = {**method.section_defaults(method.composition), **own, **method.composition}
    lines = [f"{name}: {method.summary}", f"source: {method.source}", "", "[algorithm]"]
    lines += _fields(method.section_options(method.composition), values)
    others = {name: value for name, value in method.defaults.items() if not name.startswith("algorithm.")}
    places = {"other defaults of its own": others, **{f"in {x}": fields for x, fields in method.environments.items()}}
    for title, fields in places.items():
        lines += ["", title, *(f"  {name} = {value_words(value)}" for name, value in fields.items())] if fields else []
    return "\n".join([*lines, "", f"other sections: `marlx list {'`, `marlx list '.join(_SECTIONS)}`"])


def _environment(name: str) -> str:
    from marlx_envs.base import Environment

    entry = ENVIRONMENTS[name]
    factory = entry.load(Environment)
    lines = [f"{name}: {entry.summary}", f"source: {entry.source}", "", "[environment]"]
    lines += _fields(options_of(factory), {**defaults_of(factory), **entry.options})
    named = factory.named_values()
    lines += [line for field, names in named.items() for line in ("", f"names for {field}", *_wrapped(names))]
    if name in HOUSE:
        lines += ["", "training here starts from", *(f"  {key} = {value_words(x)}" for key, x in HOUSE[name].items())]
    return "\n".join(lines)


def _wrapped(names: Iterable[str]) -> list[str]:
    return textwrap.wrap(", ".join(names), 100, initial_indent="  ", subsequent_indent="  ")


def _section(name: str) -> list[str]:
    from marlx.agents import AgentOptions
    from marlx.settings import Evaluation, Training

    part = {"agent": AgentOptions, "training": Training, "evaluation": Evaluation}[name]
    return [
        f"[{name}]  (an environment or a method may bring other defaults)",
        *_fields(options_of(part), defaults_of(part)),
    ]


def _composition() -> list[str]:
    from marlx.algorithms.composition import Composition

    return [
        "[algorithm]  (the parts of a method; those that it names bring fields of their own: `marlx list qmix`)",
        *_fields(options_of(Composition), defaults_of(Composition)),
    ]


def _fields(options: Mapping[str, Option], defaults: Mapping[str, Any]) -> list[str]:
    rows = [(name, value_words(defaults[name]), kind_words(option), option.doc) for name, option in options.items()]
    return [f"  {line}" for line in _aligned(rows)]


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1] if rows else []
    for *cells, last in rows:
        yield "  ".join([*(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)), last])


def value_words(value: Any) -> str:
    """A value as it is given on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else shown(value, 40)


def kind_words(option: Option) -> str:
    """The kind of a field and what it accepts."""
    if option.choices:
        return " | ".join(option.choices)
    kind = {"size": "whole number", "flag": "true | false", "text": "word"}.get(option.kind, option.kind)
    if option.low is not None and option.high is not None:
        return f"{kind}, {option.low:.10g} to {option.high:.10g}"
    if option.low is not None or option.high is not None:
        return f"{kind} >= {option.low:.10g}" if option.low is not None else f"{kind} <= {option.high:.10g}"
    return kind
