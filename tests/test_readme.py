"""What the README tells a newcomer to type is what the project does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import assay

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_ci_runs_the_checks_and_the_readmes_test_command_and_nothing_else() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make check", "make test"]
    for command in ("make demo", "make test"):
        assert f"\n{command}\n" in README


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)$", README, re.MULTILINE)) <= targets


def test_the_readmes_python_is_python_and_names_what_exists() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
        assert set(re.findall(r"\bassay\.([A-Za-z_]+)", block)) <= set(assay.__all__)


def test_every_link_of_the_docs_leads_to_a_file() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
