"""Build the native module; and let README's relative links lead to the repository: package indexes show it without the
files beside it."""

import ast
import re
import tomllib
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
REPOSITORY = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
PACKAGE = ast.parse((HERE / "plugins" / "lifeboat" / "__init__.py").read_text())
VERSION = next(
    ast.literal_eval(found.value)
    for found in PACKAGE.body
    if isinstance(found, ast.Assign) and ast.unparse(found.targets[0]) == "__version__"
)


def absolute(text: str) -> str:
    """Return a page of Markdown whose relative links and pictures name this version in the repository."""
    pages = re.sub(r"\]\((?!https?:|#)", f"]({REPOSITORY}/blob/v{VERSION}/", text)
    return re.sub(r'(src|srcset)="(?!https?:)', rf'\1="{REPOSITORY}/raw/v{VERSION}/', pages)


NATIVE = Extension(
    "lifeboat.support._native",
    ["plugins/lifeboat/support/_native.c"],
    extra_compile_args=["-O3", "-Wall", "-Wextra"],
    py_limited_api=True,  # one wheel for Python 3.11 and all later ones
    optional=True,  # without a compiler, Lifeboat is slower
)

setup(
    ext_modules=[NATIVE],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    long_description=absolute((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
