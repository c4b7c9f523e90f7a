"""Ways in which files become bad: bits flip, ends are missing, blocks are lost, doubled or overwritten."""

import random
from collections.abc import Callable

EDGE_BYTES = 2_000  # headers and indexes lie at the ends, and are rare among the pixels
MAX_FLIPS = 8
MAX_BLOCK = 5_000
ZSTD_MAGIC, LZ4_MAGIC = b'\x28\xb5\x2f\xfd', b'\x04\x22\x4d\x18'
VALUES = (b'null', b'-1', b'[]', b'{a: b}', b'../../etc/passwd', b'1e999', b'"', b'zstd', b'&a [*a]')

type Mutation = Callable[[bytes, random.Random], bytes]


def _place(size: int, rng: random.Random) -> int:
    """Anywhere, or near either end."""
    edge = min(size, EDGE_BYTES)
    ranges = [(0, size), (0, edge), (size - edge, size)]
    return rng.randrange(*ranges[rng.randrange(3)])


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """One bit, or a few."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, rng.randint(2, MAX_FLIPS)])):
        changed[_place(len(data), rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Only the beginning is left."""
    return data[: _place(len(data), rng)]


def zero_block(data: bytes, rng: random.Random) -> bytes:
    """A block was never written."""
    begin, end = _block(data, rng)
    return data[:begin] + bytes(end - begin) + data[end:]


def overwrite_block(data: bytes, rng: random.Random) -> bytes:
    """Something else was written there."""
    begin, end = _block(data, rng)
    return data[:begin] + rng.randbytes(end - begin) + data[end:]


def remove_block(data: bytes, rng: random.Random) -> bytes:
    """A block is missing, and the rest moved up."""
    begin, end = _block(data, rng)
    return data[:begin] + data[end:]


def repeat_block(data: bytes, rng: random.Random) -> bytes:
    """A block is there twice."""
    begin, end = _block(data, rng)
    return data[:end] + data[begin:]


def change_line(data: bytes, rng: random.Random) -> bytes:
    """A line of a text is missing, doubled, moved, or says something else."""
    lines = data.splitlines(keepends=True)
    number = rng.randrange(len(lines))
    line = lines.pop(number)
    key, _, _ = line.partition(b':')
    match rng.randrange(4):
        case 0:
            return b''.join(lines)
        case 1:
            lines[number:number] = [line, line]
        case 2:
            lines.insert(rng.randrange(len(lines) + 1), line)
        case _:
            lines.insert(number, key + b': ' + rng.choice(VALUES) + b'\n')
    return b''.join(lines)


def swell(data: bytes, rng: random.Random) -> bytes:
    """A compressed frame claims to unpack to gigabytes; without one in it, a bit flips."""
    size = rng.choice([2**31, 2**34, 2**40]).to_bytes(8, 'little')
    for magic, head in (
        (ZSTD_MAGIC, b'\xe0'),
        (LZ4_MAGIC, b'\x68\x40'),
    ):  # both say: eight bytes of size follow
        if (place := data.find(magic, _place(len(data), rng))) >= 0 or (place := data.find(magic)) >= 0:
            begin = place + len(magic)
            return data[:begin] + head + size + data[begin + len(head) + len(size) :]
    return flip_bits(data, rng)


BLOCKS: list[Mutation] = [zero_block, overwrite_block, remove_block, repeat_block]
BINARY: list[Mutation] = [flip_bits, flip_bits, flip_bits, truncate, truncate, swell, *BLOCKS]
TEXT: list[Mutation] = [flip_bits, truncate, overwrite_block, change_line, change_line, change_line]


def _block(data: bytes, rng: random.Random) -> tuple[int, int]:
    begin = _place(len(data), rng)
    return begin, min(len(data), begin + rng.randint(1, rng.choice([16, 200, MAX_BLOCK])))
