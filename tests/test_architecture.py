"""What holds for the whole tree: its doors, its sizes, and what may not be in it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import grimp
import pytest

import hanlin

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "hanlin"
MODULES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted(module.name for module in pkgutil.iter_modules(hanlin.__path__))
SECOND_DOORS = {"hanlin.wire.admin"}  # pydantic-heavy, so apart from the data plane's door
LIGHT = ("cli", "gateway", "control", "console", "sdk", "engines", "fleet", "audit")
HEAVY = ("torch", "transformers")
LONGEST_MODULE = 400


class TestDoors:
    def test_packages_are_entered_by_their_front_door(self) -> None:
        """Code outside a package imports the package, never a module inside it."""
        graph = grimp.build_graph("hanlin", cache_dir=None)
        trespasses = [
            f"{importer} imports {imported}"
            for importer in graph.modules
            for imported in graph.find_modules_directly_imported_by(importer)
            if imported.count(".") > 1 and imported.split(".")[:2] != importer.split(".")[:2]
            if imported not in SECOND_DOORS and not _takes_a_symbol(graph, importer, imported)
        ]

        assert trespasses == []

    @pytest.mark.parametrize("package", LIGHT)
    def test_serving_does_not_load_a_training_library(self, package: str) -> None:
        """Whoever serves, manages or only asks never pays for torch, and needs none to be installed."""
        program = f"import sys, json, hanlin.{package}; print(json.dumps(sorted(sys.modules)))"

        loaded = json.loads(subprocess.check_output([sys.executable, "-c", program], timeout=60))

        assert f"hanlin.{package}" in loaded
        assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)

    @pytest.mark.parametrize("package", PACKAGES)
    def test_everything_at_the_door_is_explained(self, package: str) -> None:
        """Every class and function that a package offers has a docstring of its own, and the package has one."""
        doors = [importlib.import_module(name) for name in (f"hanlin.{package}", *_second_doors(package))]

        assert all(door.__doc__ for door in doors)
        assert [f"{door.__name__}.{name}" for door in doors for name in _unexplained(door)] == []


class TestModules:
    def test_are_short_enough_to_read(self) -> None:
        """No module is longer than 400 lines."""
        lengths = {_place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}

        assert {place: length for place, length in lengths.items() if length > LONGEST_MODULE} == {}

    def test_never_run_what_they_read(self) -> None:
        """No module can turn data into code: no pickles in any guise, no eval, no remote code."""
        findings = {_place(path): list(_banned(ast.parse(path.read_text(encoding="utf-8")))) for path in MODULES}

        assert len(findings) > 200
        assert {place: found for place, found in findings.items() if found} == {}

    @pytest.mark.parametrize(
        ("source", "finding"),
        [
            ("import pickle", "1: import pickle"),
            ("def f():\n    from joblib.numpy_pickle import load", "2: import joblib"),
            ("import cloudpickle as harmless", "1: import cloudpickle"),
            ("eval('1')", "1: eval()"),
            ("import builtins\nbuiltins.exec(text)", "2: exec()"),
            ("yaml.load(text)", "1: yaml.load()"),
            ("torch.load(path, weights_only=False)", "1: torch.load()"),
            ("np.load(path, allow_pickle=True)", "1: allow_pickle=True"),
            ("AutoModel.from_pretrained(x, trust_remote_code=True)", "1: trust_remote_code=True"),
            ("options = {'trust_remote_code': True}", "1: trust_remote_code=True"),
            ("__import__('pickle')", "1: import pickle"),
            ("importlib.import_module('dill')", "1: import dill"),
            ("model.eval()\njson.load(file)\nre.compile('x')\ncursor.execute(sql)", None),
        ],
    )
    def test_the_ban_sees_what_it_should(self, source: str, finding: str | None) -> None:
        """The ban list finds every way to name what is banned, and leaves harmless namesakes alone."""
        assert list(_banned(ast.parse(source))) == ([] if finding is None else [finding])


class TestPages:
    def test_error_codes_are_snake_case(self) -> None:
        """Every code of docs/errors.md is in snake_case, named once, in order."""
        page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
        codes = re.findall(r"^\| `([^`]*)` \|", page, re.MULTILINE)

        assert len(codes) > 100
        assert [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code)] == []
        assert codes == sorted(set(codes))

    def test_pages_made_from_the_code_are_current(self) -> None:
        """docs/settings.md and docs/errors.md say what the code says."""
        command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]

        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

        assert (done.returncode, done.stderr) == (0, "")

    def test_both_readmes_name_the_same_commands(self) -> None:
        """A reader of either language can do the same things: the commands are the same, in the same order."""
        english, chinese = (_commands(ROOT / name) for name in ("README.md", "README.zh.md"))

        assert "./dev demo" in english
        assert english == chinese

    def test_both_readmes_point_to_the_same_pages(self) -> None:
        """Both languages link to the same pages."""
        english, chinese = (_links(ROOT / name) for name in ("README.md", "README.zh.md"))

        assert "docs/quickstart.md" in english
        assert english == chinese


def _takes_a_symbol(graph: grimp.ImportGraph, importer: str, imported: str) -> bool:
    """Say whether `from package import name` means what the door offers, and a module only has the same name."""
    package, _, name = imported.rpartition(".")
    lines = [str(d["line_contents"]) for d in graph.get_import_details(importer=importer, imported=imported)]
    return (
        all(line.startswith(f"from {package} import ") for line in lines)
        and name in importlib.import_module(package).__all__
    )


def _second_doors(package: str) -> list[str]:
    return [door for door in sorted(SECOND_DOORS) if door.startswith(f"hanlin.{package}.")]


def _unexplained(door: ModuleType) -> Iterator[str]:
    for name in door.__all__:
        symbol = getattr(door, name)
        is_ours = getattr(symbol, "__module__", "").startswith("hanlin.")
        if not (is_ours and (inspect.isclass(symbol) or inspect.isfunction(symbol))):
            continue
        written = symbol.__dict__.get("__doc__") if inspect.isclass(symbol) else symbol.__doc__
        if not written or written.startswith(f"{name}("):  # dataclasses write one themselves
            yield name


def _place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


BANNED_MODULES = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"})
BANNED_CALLS = frozenset({"eval", "exec", "builtins.eval", "builtins.exec", "yaml.load", "torch.load"})
BANNED_FLAGS = frozenset({"allow_pickle", "trust_remote_code"})
IMPORTERS = frozenset({"__import__", "import_module", "importlib.import_module"})


def _banned(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for finding in (*_imports(node), *_calls(node), *_flags(node)):
            yield f"{getattr(node, 'lineno', 0)}: {finding}"


def _imports(node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
        names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
    yield from (f"import {n.split('.')[0]}" for n in names if n.split(".")[0] in BANNED_MODULES)


def _calls(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in BANNED_CALLS:
        yield f"{name.removeprefix('builtins.')}()"


def _flags(node: ast.AST) -> Iterator[str]:
    """Find the flags as arguments of a call and as items of a dictionary that may become arguments."""
    pairs: list[tuple[object, ast.AST]] = []
    if isinstance(node, ast.Call):
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Dict):
        pairs = [(getattr(k, "value", None), v) for k, v in zip(node.keys, node.values, strict=True)]
    for name, value in pairs:
        is_off = isinstance(value, ast.Constant) and value.value is False
        if name in BANNED_FLAGS and not is_off:
            yield f"{name}={ast.unparse(value)}"


def _commands(path: Path) -> list[str]:
    """Return what a reader is told to type: the lines of shell blocks without comments, and inline commands."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    lines = [line.partition("#")[0].strip() for line in blocks.splitlines()]
    typed = [re.sub(r"<[^>]*>", "<…>", line) for line in lines if line]
    return typed + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def _links(path: Path) -> set[str]:
    found = set(re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")))
    return {link for link in found if link.startswith("docs/") and not link.startswith("docs/images/")}
