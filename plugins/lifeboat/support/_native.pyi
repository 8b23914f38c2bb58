from typing_extensions import Buffer

KEY_WAYS: tuple[str, ...]  # for processors, the fastest that this one can go first
ROW_WAYS: tuple[str, ...]

def derive_many(password: Buffer, salts: Buffer, way: int = 0, /) -> bytes: ...
def sum_rows(text: Buffer, separator: Buffer, way: int = 0, /) -> tuple[int, bytes]: ...
