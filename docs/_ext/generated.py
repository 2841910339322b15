"""What pages take from the code and from recorded results: `<!-- NAME: WORDS -->` on a line of a page is replaced.

Nothing is typed twice: methods, environments, options, commands, figures and the list of modules are read when the
pages are built. Pages of modules and pictures are written to `generated/`, which git ignores.
"""

import argparse
import ast
import importlib
import inspect
import json
import pkgutil
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import marlx_envs
from marlx_envs import ENVIRONMENTS
from marlx_envs.discovery import Registry
from marlx_envs.options import defaults_of, options_of
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import marlx
from marlx.algorithms import ALGORITHMS
from marlx.host.cli import COMMANDS
from marlx.host.listing import kind_words, value_words

ROOT = Path(marlx.__file__).parents[1]
DOCS = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
MARKER = re.compile(r"^<!-- (\w+)(?:: (.+?))? -->$", re.M)
UNLISTED = ("marlx.__main__", "marlx.host.commands")  # the command line has a page of its own
TABLES = {"joint": "Q_tot", "recognition": "Q_r", "explained": "Q_tot + w Q_r", "transformed": "Q_tot + V"}
PAYOFF = "payoff_resq79"
REGISTRIES: dict[str, Mapping[str, Any]] = {"methods": ALGORITHMS, "environments": ENVIRONMENTS}


def filled(text: str) -> str:
    """A page's source with every marker replaced by what it stands for."""
    return MARKER.sub(lambda found: WRITERS[found[1]](found[2] or ""), text)


# Text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def named(values: Mapping[str, Any]) -> str:
    """Values as on a command line."""
    return ", ".join(f"`{name}={value_words(value)}`" for name, value in values.items())


def record(name: str) -> Any:
    """A file of recorded results."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def hardware(found: Mapping[str, Any]) -> str:
    """On what, with which JAX and when a record was made."""
    on = found["hardware"]
    device = "" if on["device"] == "cpu" else f", {on['devices']} x {on['device']}"
    device += f" (driver {on['driver']})" if "driver" in on else ""
    cores = f"{on['cores']} core{'s' * (on['cores'] != 1)} of {on['cpu']}{device}"
    return f"{cores}, jax {found['versions']['jax']}, {found['date'][:10]}"


# Methods and environments: hand-written parts, each of which says which entries it describes


def described(folder: str, registry: Mapping[str, Any]) -> dict[Path, str]:
    """The hand-written parts of a page. Raises where an entry of the registry has none, or two."""
    parts = {path: path.read_text(encoding="utf-8") for path in sorted((DOCS / folder).glob("*.md"))}
    words = [
        name
        for text in parts.values()
        for marker, names in MARKER.findall(text)
        if marker == folder
        for name in names.split()
    ]
    missing, twice = set(registry) - set(words), {name for name in words if words.count(name) > 1}
    if missing or twice or set(words) - set(registry):
        raise ExtensionError(f"docs/{folder}: no text for {missing}; more than one for {twice}; words: {words}")
    return parts


def parts(folder: str) -> str:
    """All hand-written parts of a page, filled."""
    return "\n\n".join(filled(text) for text in described(folder, REGISTRIES[folder]).values())


def method_sections(names: str) -> str:
    """A section for each method."""
    return "\n".join(line for name in names.split() for line in _method(name))


def _method(name: str) -> Iterator[str]:
    method = ALGORITHMS[name]
    yield from (f"### `{name}`", "", f"{method.summary[0].upper()}{method.summary[1:]}. From: {method.source}.", "")
    yield f"- Parts: {named(method.composition) or 'those of its rule'}"
    if method.defaults:
        yield f"- Defaults of its own: {named(method.defaults)}"
    for environment, own in method.environments.items():
        yield f"- In `{environment}`: {named(own)}"
    yield f"- Code: {', '.join(f'{{py:mod}}`{module}`' for module in _modules(method))}"
    yield from list(_recorded(name)) or ["- Recorded: nothing yet"]
    if name in record(PAYOFF)["methods"]:
        yield from ("", f"![what {name} learns of a payoff](generated/{PAYOFF}_{name}.svg)")
    yield ""


def _modules(method: Any) -> list[str]:
    """Where the code of a method's parts is."""
    homes = {"mixer": "mixers", "weighting": "weightings", "intrinsic": "intrinsic"}
    entries = [
        importlib.import_module(f"marlx.{home}").__dict__[f"{home.rstrip('s').upper()}S"][method.composition[part]]
        for part, home in homes.items()
        if part in method.composition
    ]
    return list(dict.fromkeys([method.load_rule().__name__, *(entry.module for entry in entries)]))


def _recorded(name: str) -> Iterator[str]:
    """What recorded results say of a method."""
    payoff = record(PAYOFF)
    if name in payoff["methods"]:
        found = payoff["methods"][name]
        seeds, steps = (_argument(payoff, word) for word in ("seeds", "steps"))
        most = ", ".join(f"{joint} {share:.0%}" for joint, share in list(found["greedy"].items())[:3])
        yield f"- `resq79`, uniform data, {steps} steps, {seeds} seeds: **{found['share']:.0%}** at the best; {most}"
    suite = record("payoff_suite")
    if name in suite["shares"]:
        shares = suite["shares"][name]
        poor = ", ".join(f"`{game}` {share:.0%}" for game, share in shares.items() if share < 1)
        mean = sum(shares.values()) / len(shares)
        yield (
            f"- {len(shares)} games of the papers, uniform data, {_argument(suite, 'steps')} steps, "
            f"{_argument(suite, 'seeds')} seeds each: **{mean:.0%}** at the best in the mean; fewer than all in {poor}"
        )
    for label, found in record("risk_reward")["means"].items():
        setting, _, method = label.partition(", ")
        if method.partition(",")[0] == name:
            variant = method.partition(", ")[2]
            yield (
                f"- `risk_reward` {setting}{f', {variant}' if variant else ''}: mean normalised return "
                f"{found['normalised_return']:.2f}, at the optimum {found['optimal']:.0%}"
            )
    for path in sorted(RESULTS.glob("predator_prey_*.json")):
        content = record(path.stem)
        for label, found in content.get("runs", content).items():  # older records have a command for each run
            method, _, penalty = label.partition(", p = ")
            if method == name and found["status"] == "finished":
                made = content if "command" in content else found
                final, steps = found["result"]["evaluation_return"], _argument(made, "steps")
                own = "".join(f", `{word}`" for word in re.findall(r"(?:training|algorithm)\.\S+", made["command"]))
                yield (
                    f"- `predator_prey` with punishment {penalty}, {steps} steps, {final['seeds']} seeds{own}: greedy "
                    f"return {final['iqm']:.1f} ({final['low']:.1f} to {final['high']:.1f})"
                )
    for game, outcomes in record("nm_qmix")["outcomes"].items() if name == "nm_qmix" else ():
        shares = ", ".join(f"{label} {found['share']:.0%}" for label, found in outcomes.items())
        yield f"- `{game}`, share of seeds at the best: {shares}"


def _argument(found: Mapping[str, Any], word: str) -> str:
    """The value of an option in the command of a record."""
    match = re.search(rf"--{word} (\d+)", found["command"])
    assert match
    return f"{int(match[1]):,}"


def code(text: str) -> str:
    """Text as code; an empty one is said to be empty."""
    return f"`{text}`" if text else "(empty)"


def environment_sections(names: str) -> str:
    """A section for each environment."""
    return "\n".join(line for name in names.split() for line in _environment(name))


def _environment(name: str) -> Iterator[str]:
    entry = ENVIRONMENTS[name]
    factory = entry.load()
    yield from (f"### `{name}`", "", f"{entry.summary}. From: {entry.source}.", "")
    yield f"Code: {{py:mod}}`{entry.module}`."
    if name != "jaxmarl":  # whose sizes are the task's
        spec = marlx_envs.make(name).spec
        yield (
            f"Sizes by default: agents {spec.n_agents}, actions {spec.n_actions}, features of an observation "
            f"{spec.observation_size} and of the state {spec.state_size}, steps at most {spec.episode_limit}."
        )
    defaults = {**defaults_of(factory), **entry.options}
    rows = [
        (f"`{field}`", code(value_words(defaults[field])), kind_words(option), option.doc)
        for field, option in options_of(factory).items()
    ]
    yield from (
        "",
        table(("option", "default", "kind, range or choices", "meaning"), rows) if rows else "No options.\n",
    )
    for field, values in factory.named_values().items():
        yield from (f"Names for `{field}`: {', '.join(f'`{value}`' for value in values)}.", "")


def overview(folder: str) -> str:
    """A table of all entries with links to their sections."""
    rows = [(f"[`{name}`](#{name})", entry.summary, entry.source) for name, entry in REGISTRIES[folder].items()]
    return table(("name", "what", "from"), rows)


# The command line and figures


def commands(_: str) -> str:
    """A section for each command, from its parser."""
    return "\n".join(line for name in COMMANDS for line in _command(name))


def _command(name: str) -> Iterator[str]:
    command = importlib.import_module(f"marlx.host.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"marlx {name}", formatter_class=_Wide)
    command.arguments(parser)
    yield from (
        f"## `marlx {name}`",
        "",
        command.__doc__ or "",
        "",
        "```text",
        parser.format_usage().strip(),
        "```",
        "",
    )
    rows = []
    for action in parser._actions:
        words = action.metavar or action.dest
        flags = [f"{flag} {words}" if action.nargs != 0 else flag for flag in action.option_strings]
        shown_as = ", ".join(f"`{flag}`" for flag in flags or [str(words)])
        choices = f" One of {', '.join(f'`{choice}`' for choice in action.choices)}." if action.choices else ""
        rows.append((shown_as, f"{action.help or ''}{choices}"))
    yield table(("argument", "meaning"), rows)


class _Wide(argparse.HelpFormatter):
    """Lines as long as a page's, whatever the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=90)


def benchmarks(kind: str) -> str:
    """Recorded figures of a kind, `speed` or `reliability`: every file of `benchmarks/results`, grouped by machine."""
    lines = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*/*.json")):
        if path.name.startswith("reliability") == (kind == "reliability"):
            found = json.loads(path.read_text(encoding="utf-8"))
            for part in found["tables"]:
                lines += [f"### {part['title']}: `{path.parent.name}/{path.stem}`", ""]
                lines += [table(part["columns"], [[_cell(cell) for cell in row] for row in part["rows"]])]
                lines += [f"`{path.relative_to(ROOT)}`: {hardware(found)}.", ""]
    return "\n".join(lines)


def _cell(cell: Any) -> str:
    """As `python -m benchmarks` prints it."""
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 or isinstance(cell, int) else f"{cell:.3g}"


def names(_: str) -> str:
    """The public names of `marlx`."""
    rows = []
    for name in marlx.__all__:
        found = getattr(marlx, name)
        if isinstance(found, ModuleType):
            role, full = "mod", found.__name__
        else:
            home = marlx._HOMES[name]
            role, full = "obj", _full(found, home, name)
        about = ALGORITHMS_DOC if name == "ALGORITHMS" else str(found.__doc__).strip().splitlines()[0]
        rows.append((f"`marlx.{name}`", f"{{py:{role}}}`{full}`", about.replace("`", "")))
    return table(("name", "where it is described", "what"), rows)


ALGORITHMS_DOC = "Every method by name."


def _full(found: Any, home: str, name: str) -> str:
    """Where a name is defined; data say nothing of it."""
    return f"{home}.{name}" if isinstance(found, Registry) else f"{found.__module__}.{name}"


WRITERS: dict[str, Callable[[str], str]] = {
    "methods": method_sections,
    "environments": environment_sections,
    "overview": overview,
    "parts": parts,
    "commands": commands,
    "benchmarks": benchmarks,
    "names": names,
}


# Files


def modules(package: ModuleType) -> list[str]:
    """A package and all public modules in it."""
    within = pkgutil.walk_packages(getattr(package, "__path__", ()), f"{package.__name__}.")
    return [name for name in (package.__name__, *(info.name for info in within)) if not _unlisted(name)]


def _unlisted(name: str) -> bool:
    return name.startswith(UNLISTED) or any(part.startswith("_") for part in name.split("."))


def reference() -> dict[str, str]:
    """Page -> source, one for each module or package beneath `marlx`, and one for `marlx_envs`."""
    tops = [info.name for info in pkgutil.iter_modules(marlx.__path__, "marlx.") if not _unlisted(info.name)]
    pages = {top: "\n".join(_page(top)) for top in [*tops, "marlx_envs"]}
    entries = "\n".join(f"   {name}" for name in pages)
    return {**pages, "index": f"Modules\n=======\n\n.. toctree::\n   :maxdepth: 1\n\n{entries}\n"}


def _page(top: str) -> Iterator[str]:
    for index, name in enumerate(modules(importlib.import_module(top))):
        yield from (name, ("-" if index else "=") * len(name), "", f".. automodule:: {name}", "")
        for constant in constants(importlib.import_module(name)):
            yield from (constant, "")


def constants(module: ModuleType) -> Iterator[str]:
    """A directive for each public constant that a module defines; short values are shown."""
    for node in ast.parse(inspect.getsource(module)).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                value = getattr(module, target.id)
                short = isinstance(value, int | float | str | tuple) and len(repr(value)) <= 80
                yield f".. autodata:: {module.__name__}.{target.id}\n{'' if short else '   :no-value:'}"


def write(app: Sphinx) -> None:
    """Writes pages of modules and pictures beside the sources; what has not changed keeps its date."""
    folder = Path(app.srcdir) / "generated"
    (folder / "reference").mkdir(parents=True, exist_ok=True)
    pages = {f"{name}.rst": text for name, text in reference().items()}
    for path in (folder / "reference").glob("*.rst"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / "reference" / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for picture in RESULTS.glob("*.png"):
        shutil.copy2(picture, folder)
    draw(folder)


def draw(folder: Path) -> None:
    """What each method has learnt of the payoff, as one small picture."""
    from marlx.analysis.plots import payoff_tables

    truth = marlx_envs.make("matrix_game", payoff="resq79").params["rewards"][0]
    methods = {name: found for name, found in record(PAYOFF)["methods"].items() if name in marlx.ALGORITHMS}
    for name, found in methods.items():  # not its variants
        tables = {TABLES[kind]: found["tables"][kind] for kind in TABLES if kind in found["tables"]}
        chosen = [ord(letter) - ord("A") for letter in next(iter(found["greedy"]))]
        figure = payoff_tables(tables, truth, {"Q_tot": found["share"]}, greedy=dict.fromkeys(tables, chosen))
        figure.savefig(folder / f"{PAYOFF}_{name}.svg", metadata={"Date": None})


def setup(app: Sphinx) -> dict[str, bool]:
    """Pages are filled as they are read."""
    app.connect("builder-inited", write)
    app.connect("source-read", lambda app, page, source: source.__setitem__(0, filled(source[0])))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
