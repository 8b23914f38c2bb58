"""SQL as text, of whatever engine: how it is cut into statements, and how names and texts are quoted.

Knows no server. What a statement means, and whether a restore runs it, is up to each engine.
"""
