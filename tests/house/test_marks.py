"""Nothing half done, nothing silenced without its reason, nothing that looks like a card number."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from greenlane.payments.guard import luhn_valid

ROOT = Path(__file__).parents[2]
TEXTS = {".csv", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}


def tracked() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0")[:-1] if listed.returncode == 0 else every_file()
    return (path for name in names if (path := ROOT / name).suffix in TEXTS and path.is_file())


def every_file() -> list[str]:
    """Without git, as in an unpacked archive."""
    hidden = (
        path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    )
    return [str(path.relative_to(ROOT)) for path in hidden if path.is_file()]


def python_lines() -> Iterator[tuple[str, str]]:
    for path in tracked():
        if path.suffix == ".py" and path != Path(__file__):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


def test_nothing_is_left_to_do() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    assert [where for where, line in python_lines() if mark.search(line)] == []


def test_what_is_silenced_says_why() -> None:
    silenced = re.compile(r"#\s*(?:ruff: )?noqa|#\s*type: ignore")
    with_reason = re.compile(r"(?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])\s*[-#]+ *\S+")
    bare = [where for where, line in python_lines() if silenced.search(line) and not with_reason.search(line)]
    assert bare == []


def test_a_broad_except_raises_again_or_says_why() -> None:
    bare = []
    for path in tracked():
        if path.suffix != ".py":
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler) and is_broad(node):
                line = text.splitlines()[node.lineno - 1]
                if "#" not in line and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert bare == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or getattr(handler.type, "id", "") in ("Exception", "BaseException")


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "legacy"}
    assert [str(path) for path in tracked() if path.stem in drawers] == []


def test_nothing_looks_like_a_card_number() -> None:
    number = re.compile(r"(?<![\w.])[2-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}(?![\w.])")
    found = []
    for path in tracked():
        for match in number.finditer(path.read_text(errors="replace")):
            digits = re.sub("[^0-9]", "", match[0])
            if 13 <= len(digits) <= 19 and luhn_valid(digits):
                found.append(str(path.relative_to(ROOT)))
    assert found == []
