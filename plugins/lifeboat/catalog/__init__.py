"""Catalog: what a destination holds.

Belongs here: keys, manifests, markers, proofs, and what a listing says. Not here: the bytes of an archive (`archive`),
nor where they are kept (`storage`).
"""
