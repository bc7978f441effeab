"""What the documents say exists: commands, files, settings, requirements."""

from __future__ import annotations

import ast
import re
import shlex
import sys

import pytest
from conftest import REPOSITORY

from synchrorama.__main__ import FORWARDED, build_parser, settings_table

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# How packages are called when they are imported, where that differs from their name on the index.
IMPORT_NAMES = {
    "pillow": "PIL", "imageio-ffmpeg": "imageio_ffmpeg", "opencv-contrib-python": "cv2", "scikit-image": "skimage",
    "vadersentiment": "vaderSentiment", "c2pa-python": "c2pa",
}  # fmt: skip
TOOLS = {"ruff", "tensorboard", "protobuf", "pytest-xdist", "onnxruntime"}  # run, used by others, or imported if there
# gradio brings its client; spaces exists on Spaces only, and the page does without it; ray is for generate --ray only,
# onnxruntime for the face embedding of the full profile, which is not necessary
OURS = {"synchrorama", "app", "page", "conftest", "gradio_client", "starlette", "spaces", "ray", "onnxruntime"}
RUN_TIME = (
    "app.py", "page/*.py", "synchrorama/*.py", "synchrorama/motion_frames/*.py", "synchrorama/evaluation/*.py",
    "synchrorama/emotion/*.py", "synchrorama/scene/*.py", "synchrorama/diffusion/*.py", "synchrorama/backends/*.py",
)  # fmt: skip
BESIDES = ("synchrorama/training/*.py", "tests/*.py", "benchmarks/*.py", "assets/*.py")


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def requirements(name: str) -> list[str]:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    return [re.split(r"[<>=!~;\[ ]", line)[0].lower() for line in lines if line and line[0] not in "#-"]


def imports(*patterns: str) -> set[str]:
    """What the files import, by the first part of its name, but for each other."""
    found = set()
    files = [path for pattern in patterns for path in REPOSITORY.glob(pattern)]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - {path.stem for path in files}


def test_the_readme_starts_with_two_commands_one_of_which_ci_runs():
    assert commands(README)[:2] == [
        "pip install -r requirements.txt && python app.py",
        "pip install -r requirements-dev.txt && python -m pytest -n 2",
    ]
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "grep -m1 '^pip install -r requirements-dev.txt && ' README.md" in ci


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_of_the_documents_exist_as_written(document):
    for line in commands(document.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)
        if words[:3] != ["python", "-m", "synchrorama"]:
            continue
        if words[3] not in FORWARDED and "--help" not in words:
            build_parser().parse_args(words[3:])
        for word in words[4:]:
            if word.startswith("assets/"):
                assert (REPOSITORY / word).is_file(), line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_of_the_documents_are_there(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (document.parent / target).exists(), target


def test_python_of_the_readme_compiles_and_its_files_exist():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Constant) and str(node.value).startswith(("assets/", "checkpoints/")):
                assert (REPOSITORY / node.value).exists(), node.value


def test_the_table_of_settings_is_the_one_in_the_code():
    # python -c "from synchrorama.__main__ import settings_table; print(settings_table())" prints the new one
    assert settings_table() in (REPOSITORY / "docs" / "command_line.md").read_text(encoding="utf-8")


def test_the_space_starts_the_app():
    front_matter = README.split("---")[1]
    assert "sdk: gradio\n" in front_matter and "app_file: app.py\n" in front_matter
    short = re.search(r"short_description: (.*)", front_matter).group(1)
    assert len(short) <= 60


def test_what_a_generation_needs_is_required_and_nothing_else_is():
    at_run_time = imports(*RUN_TIME)
    required = {IMPORT_NAMES.get(name, name) for name in requirements("requirements.txt")}
    assert required - at_run_time == set()
    assert at_run_time - required - OURS - set(sys.stdlib_module_names) == set()


def test_what_training_and_tests_need_is_required_and_nothing_else_is():
    elsewhere = imports(*BESIDES)
    names = requirements("requirements-dev.txt")
    assert {IMPORT_NAMES.get(name, name) for name in names if name not in TOOLS} - elsewhere == set()
    required = {IMPORT_NAMES.get(name, name) for name in names + requirements("requirements.txt")}
    assert elsewhere - required - OURS - set(sys.stdlib_module_names) == set()


def test_no_file_of_code_is_longer_than_400_lines():
    folders = [REPOSITORY / name for name in ("synchrorama", "page", "tests", "benchmarks")]
    for path in [*REPOSITORY.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name
