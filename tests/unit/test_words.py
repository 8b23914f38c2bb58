"""The project's own list of words that read as translated, each with the better one, over all prose and comments."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from itertools import groupby
from pathlib import Path

import pytest

from tests.conftest import PROJECT

WORDS = {
    r"told\b(?! apart)": "reported, logged",
    r"tells? of": "reports",
    r"anew": "again",
    r"(?<!no )for ever": "indefinitely",
    r"half-?way|half-published": "interrupted, partial",
    r"by hand(?! only)": "manually",  # 'by hand only' is a kind of limit
    r"beside": "next to",
    r"stands? (there|here|below|behind|under)": "is",
    r"who may|whoever|nobody may": "users who can, users allowed to, anyone who",
    r"where not": "otherwise, if not",
    r"nothing where": "empty if",
    r"(?<!there )(is|are|was|were) no (?!longer|more than)": "is not a",
    r"no more(?! than)": "no longer",
    r"in words": "as text",
    r"dead man('s \w+)?": "heartbeat URL",
    r"go(es|ing)? on": "continue",
    r"of (its|their|your|his) own(?! kind)": "its own, separate",
    r"must be there": "required",
    r"(left|leaves?|leaving) out": "omitted; default: ...",
    r"in the clear": "unencrypted",
    r"all the same": "anyway, always",
    r"wall clock": "local time",
    r"rehears\w+": "test-restore, drill",
    r"belongs? into": "belong in",
    r"mighty": "privileged",
    r"all in all": "overall",
    r"thereof|therein|wherein|whereby|hereby": "of it, in it, by which",
}
STARTS = {  # of headings and docstrings, by suffix
    ".md": (r"^#+ (What|Who|Whose|Whether|How|Where|Which)\b", "a heading names the thing"),
    ".py": (r'^ *"""(What|Who|Whose|Whether|How|Where)\b', "a docstring starts with a verb or a noun phrase"),
}
FOUND = [
    "A disk that is not mounted is neither read nor written, and is told.",
    "What dies half-way is marked, and begun anew.",
    "Views of who may restore",
    "'x' is no database",
    "staging has it no more",
    "retained beside the new ones",
    "a key of its own",
]
ACCEPTED = [
    "a marker tells it apart; told apart",
    "There are no archives.",
    "It is no longer published, and no more than one is kept.",
    "loaded by hand only",
    "besides",
    "# Fault-injection results",
]


def whole(text: str) -> Iterator[str]:
    yield text


def of_python(text: str) -> Iterator[str]:
    """Yield the comments and docstrings without code in backticks and names of parameters."""
    comments = [token for token in tokenize.generate_tokens(StringIO(text).readline) if token.type == tokenize.COMMENT]
    blocks = groupby(enumerate(comments), lambda each: (each[1].start[0] - each[0], each[1].start[1]))
    found = ["\n".join(comment.string for _, comment in block) for _, block in blocks]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.append(f'"""{node.value.value}')
    for passage in found:
        yield re.sub(r"(`+)[^`]+\1|:param \w+:", "`", passage)


def of_scripts(text: str) -> Iterator[str]:
    """Yield each comment of a shell or browser script, whose commands and messages are not judged."""
    for block in re.finditer(r"(?:(?:^|(?<=\s))(?:#|//) .*\n?\s*)+", text, re.MULTILINE):
        yield re.sub("^ *//", "#", block[0], flags=re.MULTILINE)


def of_html(text: str) -> Iterator[str]:
    """Yield a page's text and code without what only scripts and styles read."""
    yield re.sub(r' (?:id|class|for)="[^"]*"', "", text)


PROSE: dict[str, Callable[[str], Iterable[str]]] = {
    **dict.fromkeys(("*.md", "docs/*.md", "docs/**/*.py", "include/*.yaml", "deploy/**/*.*"), whole),
    **dict.fromkeys(("plugins/**/*.py", "dags/*.py", "include/**/*.py"), of_python),
    **dict.fromkeys(("plugins/**/*.js", "scripts/*"), of_scripts),
    "plugins/**/*.html": of_html,
}


def objections(text: str, suffix: str = "") -> list[str]:
    """Return each banned word of a text, in its context, with the better word."""
    start, reason = STARTS.get(suffix, (r"(?!)", ""))
    running = re.sub(r"\s*\n[\s#]*", " ", text)  # phrases span lines, also in comments
    return [
        f"...{running[max(0, found.start() - 30) : found.end() + 30]}...: write {better}"
        for pattern, better in WORDS.items()
        for found in re.finditer(rf"\b(?:{pattern})\b", running, re.IGNORECASE)
    ] + [f"{found[0].strip()}: {reason}" for found in re.finditer(start, text, re.MULTILINE)]


@pytest.mark.parametrize("text", FOUND)
def test_the_list_finds(text: str) -> None:
    assert objections(text) != []


@pytest.mark.parametrize(("text", "suffix"), [("# What was done to it", ".md"), ('"""Whether a lock is held.', ".py")])
def test_the_list_finds_questions(text: str, suffix: str) -> None:
    assert objections(text, suffix) != []


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_list_accepts(text: str) -> None:
    assert objections(text) == []


@pytest.mark.parametrize(
    ("reader", "text", "expected"),
    [
        (of_python, "told = 'anew'  # left out\n", ["# left out"]),
        (of_python, "# goes\n# on\n", ["# goes\n# on"]),
        (of_python, 'def f():\n    """Return ``told``."""\n', ['"""Return `.']),
        (of_python, 'x: int\n"""Whether it is."""\n', ['"""Whether it is.']),
        (of_scripts, 'echo "told" # left out\n', ["# left out\n"]),
        (of_scripts, "const told = 1; // goes\n// on\n", ["# goes\n# on\n"]),
        (of_scripts, 'const told = "https://told";\n', []),
        (of_html, '<p id="told">Text</p>', ["<p>Text</p>"]),
    ],
)
def test_only_prose_is_read(reader: Callable[[str], Iterable[str]], text: str, expected: list[str]) -> None:
    assert list(reader(text)) == expected


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        pytest.param(path, reader, id=str(path.relative_to(PROJECT)))
        for pattern, reader in PROSE.items()
        for path in sorted(PROJECT.glob(pattern))
    ],
)
def test_prose_is_plain_english(path: Path, reader: Callable[[str], Iterable[str]]) -> None:
    passages = reader(path.read_text(encoding="utf-8"))
    assert [objection for passage in passages for objection in objections(passage, path.suffix)] == []
