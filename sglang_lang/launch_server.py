"""``python -m sglang_lang.launch_server``: the server, with the flags of ``sglang-lang serve``."""

from __future__ import annotations

import sys

from .extras import MissingExtraError, needs


def main() -> int:
    try:
        with needs("runtime"):
            from .runtime import launch_server
    except MissingExtraError as error:
        print(f"sglang-lang: error: {error}", file=sys.stderr)
        return 2
    return launch_server.main()


if __name__ == "__main__":
    sys.exit(main())
