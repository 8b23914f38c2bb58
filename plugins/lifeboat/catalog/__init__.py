"""Catalog: what a destination holds.

Belongs here: keys, markers, proofs, and what a listing of them says. Not here: the bytes of an archive (`archive`), nor
where they are kept (`storage`).
"""
