"""Compiles one outlines-core index in a process of its own, which its limits may end.

An index is built eagerly, in native code that cannot be interrupted, and may need minutes and
gigabytes. Run as a script: limits as arguments, vocabulary and pattern on stdin, index on stdout.
"""

from __future__ import annotations

import resource
import struct
import sys

import outlines_core

LENGTH = struct.Struct("<Q")  # of the vocabulary, which stands before the pattern
WRONG_PATTERN = 3  # exit status


def main() -> int:
    cpu_seconds, address_bytes = map(int, sys.argv[1:3])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    data = sys.stdin.buffer.read()
    (length,) = LENGTH.unpack_from(data)
    vocabulary = outlines_core.Vocabulary.from_binary(data[LENGTH.size : LENGTH.size + length])
    try:
        index = outlines_core.Index(data[LENGTH.size + length :].decode(), vocabulary)
    except ValueError as error:
        sys.stderr.write(str(error))
        return WRONG_PATTERN
    _, (binary,) = index.__reduce__()
    sys.stdout.buffer.write(binary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
