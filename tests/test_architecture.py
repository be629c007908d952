"""Imports run one way, mathematics stays pure, one room writes files, one module prints."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("cli/**/*.py"), *ROOT.glob("pipeline/**/*.py")])
ORDER = (
    {"values"},
    {"ewc", "evaluation", "store"},
    {"modeling", "report", "sources", "helpdesk"},
    {"recorded"},
    {"stages"},
    {"inspection", "operations"},
    {"month"},
    {"experiments"},
    {"front door"},
    {"cli"},
)
"""Every room may import what lies above it here, where FORBIDDEN does not say otherwise."""
FORBIDDEN = {
    "modeling": {"evaluation"},
    "report": {"store"},
    "helpdesk": {"ewc", "store"},
    "sources": {"ewc", "evaluation"},
    "recorded": {"helpdesk"},
    "stages": {"report", "helpdesk"},
    "month": {"operations", "report"},
}
MAY_IMPORT = {
    room: set().union(*ORDER[:place]) - FORBIDDEN.get(room, set())
    for place, rooms in enumerate(ORDER)
    for room in rooms
}
"""`values` are the modules that lie in `pipeline/` itself."""

IMPURE = {
    "os", "io", "pathlib", "shutil", "tempfile", "glob", "logging", "time", "subprocess", "socket",
    "pyarrow", "safetensors", "transformers", "datasets", "yaml",
}  # fmt: skip


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "cli":
        return "cli"
    if parts[0] != "pipeline":
        return None
    if len(parts) == 1:
        return "front door"
    return parts[1] if (ROOT / "pipeline" / parts[1]).is_dir() else "values"


def imported(file: Path, *, types: bool = True) -> Iterator[str]:
    """Every module that a file imports, also inside functions and, unless `types` is False, for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded and not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(file: Path) -> Iterator[str]:
    """The last name of everything that a file calls."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


def files_of(*rooms: str) -> list[Path]:
    return [file for file in SOURCES if room_of(name_of(file)) in rooms]


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room_of(name_of(file)) for file in SOURCES} == set(MAY_IMPORT)


def module_imports() -> dict[str, set[str]]:
    """Module to the modules of the project that it imports, also inside functions, but not for types alone."""
    names = {name_of(file) for file in SOURCES}
    return {
        name_of(file): {module for module in imported(file, types=False) if module in names} - {name_of(file)}
        for file in SOURCES
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    waiting = module_imports()
    while free := {name for name, needed in waiting.items() if not needed & waiting.keys()}:
        for name in free:
            del waiting[name]
    assert not waiting


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_imports_run_one_way(file: Path) -> None:
    own = room_of(name_of(file))
    assert own is not None
    rooms = {room for module in imported(file) if (room := room_of(module)) is not None}
    assert rooms <= MAY_IMPORT[own] | {own, "values"}


def test_the_smallest_value_types_import_no_other() -> None:
    for name in ("errors", "progress"):
        assert not [
            module for module in imported(ROOT / f"pipeline/{name}.py") if module.startswith("pipeline")
        ]


@pytest.mark.parametrize("file", files_of("ewc", "evaluation"), ids=name_of)
def test_the_mathematics_opens_no_file_and_reads_no_clock(file: Path) -> None:
    assert not {module.split(".")[0] for module in imported(file)} & IMPURE
    forbidden = {"open", "print", "read_text", "write_text", "read_bytes", "write_bytes", "getenv", "now"}
    assert not forbidden & set(called(file))


@pytest.mark.parametrize("file", files_of("ewc", "evaluation"), ids=name_of)
def test_the_mathematics_does_not_know_the_configuration(file: Path) -> None:
    assert "pipeline.config" not in set(imported(file))


@pytest.mark.parametrize("file", files_of("store"), ids=name_of)
def test_the_store_does_not_know_transformers(file: Path) -> None:
    libraries = {module.split(".")[0] for module in imported(file)}
    assert not libraries & {"transformers", "accelerate", "datasets", "peft"}


@pytest.mark.parametrize("file", [f for f in SOURCES if room_of(name_of(f)) != "store"], ids=name_of)
def test_only_the_store_writes_files(file: Path) -> None:
    writing = {
        "write_text",
        "write_bytes",
        "mkdir",
        "unlink",
        "rmtree",
        "copytree",
        "copyfile",
        "copy2",
        "makedirs",
    }
    assert not writing & set(called(file))


def test_only_the_seam_of_processes_knows_that_there_are_several() -> None:
    knowing = {
        name_of(file)
        for file in SOURCES
        if any(module.startswith(("torch.distributed", "accelerate")) for module in imported(file))
    }
    assert knowing == {"pipeline.processes"}


@pytest.mark.parametrize("file", [f for f in SOURCES if f.name != "render.py"], ids=name_of)
def test_only_one_module_prints(file: Path) -> None:
    assert "print" not in set(called(file))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_modules_are_named_for_an_idea_and_stay_readable(file: Path) -> None:
    assert file.stem not in {"utils", "util", "common", "helpers", "misc", "tools"}
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring or file.name == "__init__.py"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_module_holds_more_than_one_can_keep_in_mind(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400
