"""A hook of MkDocs (mkdocs.yml): links that leave docs/ lead to the repository, for the site has only these pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def on_page_markdown(markdown: str, *, config: Mapping[str, Any], **_: object) -> str:
    """Return a page as MkDocs is to read it."""
    return markdown.replace("](../", f"]({config['repo_url']}/blob/main/")
