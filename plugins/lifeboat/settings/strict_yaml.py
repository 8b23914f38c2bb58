"""YAML as settings need it: duplicate keys, deep nesting, alias bombs and invalid scalars are refused."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, cast

import yaml

DEEPEST = 100  # lists and keys in one another
MOST_NODES = 100_000  # keys and values, counted as often as aliases repeat them


def load(text: str) -> Any:
    """Return what a YAML text holds.

    :raises yaml.YAMLError: it is not YAML, or YAML that is refused here.
    """
    _check_depth(text)
    return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader


class _Loader(yaml.CSafeLoader):
    """Refuses duplicate keys: YAML would silently drop the first, and with it what it protects.

    Refuses aliases of aliases, which may become millions of values, and scalars that are not a value of any type: both
    would fail later, with an error that names no place in the file.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._flattened: set[int] = set()

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _weight(node, {}) > MOST_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, "its aliases expand to too many values", node.start_mark
            )
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and re.search(r":|^[-+]?0\d", node.value):
            problem = f"YAML reads {node.value} in base 8 or 60; put text in quotes, write numbers without a leading 0"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # "2001-99-99" and the like
            raise yaml.constructor.ConstructorError(None, None, "not a valid value", node.start_mark) from error

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if "\0" in str(value):
            raise yaml.constructor.ConstructorError(None, None, "a NUL is not allowed", node.start_mark)
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what ``<<`` merges into a mapping, whose own keys are checked before: merged keys may repeat them."""
        if id(node) not in self._flattened:
            self._flattened.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or {...} cannot be a key; put text in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} appears twice", key_node.start_mark)
            seen.add(key)


def _check_depth(text: str) -> None:
    """Refuse what nests too deeply: libyaml would crash on it."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.parser.ParserError(
                None, None, "lists or keys are nested too deeply", cast(yaml.error.Mark, event.start_mark)
            )


def _weight(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many keys and values a node becomes; too many where it contains itself.

    :param known: weights by the id of a node.
    """
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inside = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
        known[id(node)] = 1 + sum(_weight(each, known) for each in inside)
    return known[id(node)]
