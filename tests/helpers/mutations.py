"""Mutations of valid files: what `fuzz.py` gives to the readers. The same generator gives the same file."""

import json
import random
from copy import deepcopy
from typing import Any

WORDS = (
    b"NaN",
    b"-1",
    b"1e999",
    b"1000000000",
    b"null",
    b"[[[[[[[[",
    b'"',
    b"\x00",
    b"\xff\xff\xff\xff",
    b"{}",
    b"9" * 400,
    b"[" * 5000,
    b'{"a":' * 5000,
)
VALUES = (None, True, -1, 0, 1, 2**31, 2**64, 10**9, 1e300, -0.0, "", "x", "\x1b[31m", [], [1], {}, {"a": 1}, 0.5)


def mutated_record(record: Any, rng: random.Random) -> bytes:
    """Change a JSON record at one to three places: another value, a name or element less, more or twice."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, step = record, rng.randrange(1, 6)
        while step and isinstance(holder, dict | list) and holder:
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if step == 1 or not isinstance(holder[key], dict | list):
                value = deepcopy(rng.choice((*VALUES, holder[key], [holder[key]] * 3)))
                match rng.randrange(3):
                    case 0:
                        del holder[key]
                    case 1 if isinstance(holder, dict):
                        holder[f"{key}x"] = value
                    case _:
                        holder[key] = value
                break
            holder, step = holder[key], step - 1
    return json.dumps(record).encode()


def mutated(valid: bytes, rng: random.Random) -> bytes:
    """Change a file at one to eight places: bits, bytes, numbers, pieces that are cut, doubled, moved or put in."""
    if valid.startswith(b"{") and rng.random() < 0.7:
        records = valid.splitlines() if b"}\n{" in valid else [valid]
        place = rng.randrange(len(records))
        records[place] = mutated_record(json.loads(records[place]), rng)
        return b"\n".join(records)
    data = bytearray(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 64) + 1)
        length = rng.choice((1, 2, 4, 8, rng.randrange(1, 64)))
        match rng.randrange(8):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(data):
                data[place] = rng.randrange(256)
            case 2:
                data[place : place + length] = rng.randbytes(length)
            case 3:
                data[place : place + length] = b""
            case 4:
                data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
            case 5:
                data[place : place + rng.choice((0, 1, 4))] = rng.choice(WORDS)
            case 6:
                number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20, 10**9))
                data[place : place + 4] = number.to_bytes(4, rng.choice(("little", "big")))
            case 7:
                del data[place:]
    return bytes(data)
