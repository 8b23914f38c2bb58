"""Parametrizations of tests over pairs of a server and a client."""

from __future__ import annotations

import pytest

from tests.matrix.subjects import ACROSS_MYSQL, ACROSS_POSTGRESQL, FURTHER, FURTHER_MYSQL, ORDINARY, Pair


def _param(pair: Pair, *marks: pytest.MarkDecorator) -> object:
    return pytest.param(pair, marks=[pytest.mark.needs(*pair.needs), *marks], id=str(pair))


def over(ordinary: tuple[Pair, ...], further: tuple[Pair, ...]) -> pytest.MarkDecorator:
    """Run a test with each pair, in `make matrix` only with the further ones."""
    params = [*map(_param, ordinary), *(_param(pair, pytest.mark.matrix) for pair in further)]
    return pytest.mark.parametrize("pair", params, indirect=True)


every_pair = over(ORDINARY, FURTHER)
of_mysql = over(ORDINARY[:2], FURTHER_MYSQL)
across_mysql = over((), ACROSS_MYSQL)
across_postgresql = over((), ACROSS_POSTGRESQL)
