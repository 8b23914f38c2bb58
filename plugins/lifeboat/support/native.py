"""The native module, or None where the package's build made none.

That is so where files were copied, and where there was no compiler. Who uses it does the same without it, more slowly.
"""

from __future__ import annotations

try:
    from lifeboat.support import _native as native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["native"]
