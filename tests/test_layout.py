"""The shape of the repository: quick imports, truthful declarations, short files, clean pins, one version."""

import importlib
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import marlx_envs
import pytest
from marlx_envs.discovery import Entry, OrNone, Registry, declarations
from marlx_envs.options import UsageError

import marlx
from marlx.algorithms.method import Method

ROOT = Path(__file__).parents[1]
PACKAGES = {"marlx": ROOT / "marlx", "marlx_envs": ROOT / "envs" / "marlx_envs"}
HEAVY = "chex distrax flax jax jaxlib jaxmarl matplotlib numpy optax orbax pandas pyarrow scipy tensorflow_probability"
# Lines; a file past about 300 is two rooms.
LONGEST = {"marlx": 400, "envs": 400, "tests": 650, "experiments": 400, "benchmarks": 400, "docs": 400}
DECLARE: dict[str, type] = {"Entry": Entry, "Method": Method}


def sources(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.rglob("*.py"))


def imported_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_smax_is_played_without_jaxmarl() -> None:
    found = imported_after("import jax, marlx_envs; marlx_envs.make('smax', scenario='3m').reset(jax.random.key(0))")
    assert "marlx_envs" in found and "jaxmarl" not in found


@pytest.mark.parametrize(
    "statement",
    [
        "import marlx",
        "import marlx_envs",
        "import marlx, marlx_envs; list(marlx_envs.ENVIRONMENTS.values())",
        "import marlx; list(marlx.ALGORITHMS.values())",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement: str) -> None:
    found = imported_after(statement)
    assert not found & {*HEAVY.split(), "rich", "wandb"}
    assert "marlx_envs" in found or statement == "import marlx"


@pytest.mark.parametrize(
    "module, names",
    [
        ("marlx", "configure make_train mixers Run train"),
        ("marlx.critics", "JointCritic recognise"),
        ("marlx.intrinsic", "RND"),
        ("marlx.mixers", "Independent QMIX"),
        ("marlx.weightings", "CW cw potentially_optimal"),
        ("marlx_envs", "check make"),
    ],
)
def test_names_that_are_loaded_when_used_are_listed(module: str, names: str) -> None:
    """And each of them is there; to list them imports nothing."""
    listed = dir(importlib.import_module(module))
    assert set(names.split()) <= set(listed)
    assert all(hasattr(importlib.import_module(module), name) for name in listed)
    assert not imported_after(f"import {module}; dir({module})") & set(HEAVY.split())


def declaring_files() -> list[tuple[str, Path]]:
    """(name of the class called, file) of the top-level declarations anywhere in both packages."""
    return [
        (call, path)
        for path in sources(*PACKAGES.values())
        for call in DECLARE
        if [*declarations("", path, DECLARE[call])]
    ]


def test_every_declaration_stands_where_a_registry_reads_it() -> None:
    registries = {
        "Method": [(marlx.ALGORITHMS, "marlx.algorithms")],
        "Entry": [
            (marlx_envs.ENVIRONMENTS, "marlx_envs"),
            (marlx.intrinsic.INTRINSICS, "marlx.intrinsic"),
            (marlx.mixers.MIXERS, "marlx.mixers"),
            (marlx.weightings.WEIGHTINGS, "marlx.weightings"),
        ],
    }
    for call, path in declaring_files():
        declared = {keywords["name"] for _, keywords in declarations("", path, DECLARE[call])}
        listed = {name for registry, _ in registries[call] for name in registry}
        assert declared <= listed, path
    for registry, package in (pair for pairs in registries.values() for pair in pairs):
        for name, entry in registry.items():
            assert entry.name == name
            assert entry.module.startswith(package)


@pytest.mark.parametrize("call, path", declaring_files(), ids=lambda value: getattr(value, "stem", value))
def test_a_declaration_says_what_running_it_gives(call: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The literals read from the source are the keywords that Python itself passes when the module runs."""
    passed: list[dict[str, object]] = []
    original = DECLARE[call].__init__
    runpy.run_path(str(path), run_name=f"{path.stem}_before")  # what it imports is declared elsewhere

    def recorder(self: object, **keywords: object) -> None:
        passed.append(keywords)
        original(self, **keywords)

    monkeypatch.setattr(DECLARE[call], "__init__", recorder)
    runpy.run_path(str(path), run_name=f"{path.stem}_again")
    read = [keywords for _, keywords in declarations("some.module", path, DECLARE[call])]
    assert [{**keywords, "module": "some.module"} for keywords in passed] == [
        {**keywords, "module": "some.module"} for keywords in read
    ]


@pytest.mark.parametrize(
    "call, text, message",
    [
        (
            "Entry",
            "WORDS = {}\nEntry(\n  name='own',\n  options=WORDS,\n)",
            "line 4: options is read without an import",
        ),
        ("Entry", "X = 1\ndef broken(:\n    pass\n", "line 2: invalid syntax"),
        ("Entry", "\nEntry(name='half')", "line 2: Entry(...) lacks summary, source, factory"),
        ("Entry", "Entry('own', 'words', 'mine', 'Own')", "line 1: Entry(...) takes name=value alone"),
        ("Entry", "Entry(**{'name': 'own'})", "line 1: Entry(...) takes name=value alone"),
        ("Method", "Method(name='own', summary='')", "line 1: Method(...) lacks source"),
        (
            "Method",
            "Method(name='own', summary='', source='', default={})",
            "line 1: unknown argument of Method 'default'; did you mean 'defaults'?",
        ),
        ("Method", "Method(name=3, summary='', source='')", "line 1: name of Method must be a str, not 3"),
        (
            "Method",
            "Method(name='own', summary='', source='', defaults=3)",
            "line 1: defaults of Method must be a Mapping, not 3",
        ),
        (
            "Entry",
            "if True:\n    Entry(name='own', summary='', source='', factory='Own')",
            "line 2: Entry(...) is read without running the module and must stand at its top level",
        ),
    ],
)
def test_a_declaration_that_cannot_be_read_is_named(call: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UsageError) as error:
        list(declarations("", tmp_path, DECLARE[call]))
    assert str(error.value).startswith(f"{tmp_path / 'own.py'}, {message}")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"own\.py: .*can't decode byte 0xff"):
        list(declarations("", tmp_path, Entry))


def test_a_declaration_may_name_the_module_of_its_class(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("discovery.Entry(name='own', summary='', source='', factory='Own')\n")
    assert [keywords["name"] for _, keywords in declarations("", tmp_path, Entry)] == ["own"]


def test_calls_in_functions_are_no_declarations(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "try:\n    import own\nexcept ImportError:\n    def add():\n        Entry('own')\n"
    )
    assert not list(declarations("", tmp_path, Entry))


def test_two_declarations_of_one_name_are_named(tmp_path: Path) -> None:
    for file in ("one", "two"):
        (tmp_path / f"{file}.py").write_text("Entry(name='own', summary='', source='', factory='Own')\n")
    with pytest.raises(UsageError, match=r"^mixer 'own' is declared in some\.one and in some\.two; rename one$"):
        list(Registry("some", tmp_path, Entry, "mixer"))


@pytest.mark.parametrize(
    "modules, registered",
    [("", []), ("users_own", ["own"]), (" users_own,, users_other ", ["other", "own"])],
)
def test_modules_that_the_user_names_register_what_they_have(
    modules: str, registered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They alone, and from the current folder too."""
    entries = Registry("some", tmp_path / "none", Entry, "mixer")
    monkeypatch.setattr(marlx.mixers, "OWN", entries, raising=False)
    for name in ("own", "other"):
        text = "import marlx.mixers\nfrom marlx_envs.discovery import Entry\nadd = marlx.mixers.OWN.register\n"
        (tmp_path / f"users_{name}.py").write_text(f"{text}add(Entry('{name}', '', '', None))\n")
        monkeypatch.delitem(sys.modules, f"users_{name}", raising=False)
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARLX_MODULES", modules)
    assert sorted(entries) == registered
    assert ("users_own" in sys.modules) == ("own" in registered)


@pytest.mark.parametrize("name", ["no_such_module", "no.such", ".", ".own", "a/b", "two words"])
def test_a_module_that_is_not_there_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARLX_MODULES", name)
    with pytest.raises(UsageError, match=f"^MARLX_MODULES names '{re.escape(name)}', and there is no such module"):
        list(Registry("some", tmp_path / "none", Entry, "mixer"))


def test_what_a_users_module_lacks_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_broken.py").write_text("import no_such_module_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MARLX_MODULES", "users_broken")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_either"):
        list(Registry("some", tmp_path / "none", Entry, "mixer"))


def test_the_names_of_a_registry_and_none(tmp_path: Path) -> None:
    entries = Registry("some", tmp_path / "none", Entry, "intrinsic reward")
    names = OrNone(entries)
    entries.register(Entry("own", "", "", None))
    assert list(names) == ["none", "own"] and len(names) == 2
    assert "none" in names and "own" in names and "other" not in names


def test_what_an_entry_names_can_be_loaded() -> None:
    parts = (marlx.intrinsic.INTRINSICS, marlx.mixers.MIXERS, marlx.weightings.WEIGHTINGS)
    for entry in (entry for registry in (marlx_envs.ENVIRONMENTS, *parts) for entry in registry.values()):
        assert isinstance(entry.load(), type)
    for method in marlx.ALGORITHMS.values():
        assert callable(method.load_rule().build)
        assert method.section_defaults(method.composition).keys() == method.section_options(method.composition).keys()


def test_parts_by_name() -> None:
    """What a user takes from `marlx.critics` and `marlx.weightings`."""
    from marlx import critics, weightings

    for module, names in ((critics, critics._HOMES), (weightings, weightings._FUNCTIONS)):
        assert all(callable(getattr(module, name)) for name in names)
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


@pytest.mark.parametrize("folder, longest", LONGEST.items())
def test_a_file_fits_one_room(folder: str, longest: int) -> None:
    lengths = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources(ROOT / folder)}
    assert lengths
    assert not {path: length for path, length in lengths.items() if length > longest}


def test_every_package_folder_is_a_package() -> None:
    for folder in PACKAGES.values():
        assert (folder / "py.typed").exists()
        for path in sources(folder):
            assert (path.parent / "__init__.py").exists(), path


def test_constraints_pin_versions_and_nothing_else() -> None:
    lines = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; python_version [<>]=? \"3\.\d+\")?", line), line
    assert not [line for line in lines if re.search("cuda|nvidia|rocm|tpu", line)]


def test_constraints_pin_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + extras["smax"] + extras["tensorboard"] + extras["wandb"] + extras["dev"]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in asked} - {"marlx"}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert names <= {pin.partition("==")[0].replace("_", "-").lower() for pin in pins}


def test_installed_version_is_the_package_version() -> None:
    assert importlib.metadata.version("marlx") == marlx.__version__
