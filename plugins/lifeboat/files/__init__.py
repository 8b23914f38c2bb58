"""Files: an application's directory, from its root into an archive and back.

Belongs here: which files are captured, capturing and packing them, where they go in a restore, whether they came back.
Not here: the ZIP itself (`archive`).
"""
