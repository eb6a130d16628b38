"""Text of many kinds for tokenizers."""

from __future__ import annotations

TEXTS = [
    "Hello world, it's a test. We'll see what they've done!",
    "",
    " ",
    "\n",
    "   leading and trailing   ",
    "tabs\tand\n\nnew lines\r\n\r\n  mixed \t \n end",
    "def f(x: int) -> str:\n    return f'{x:>10}'  # comment\n\n\nclass A:\n\tpass\n",
    "1234567890 3.14159 1,000,000 0x1F -42 10% x2y3",
    "Größe naïve façade Ελληνικά русский العربية हिन्दी 漢字かな 한국어",
    "🙂👩‍👩‍👧‍👦🇫🇷 ½ ﷽ \u200b\ufeff",
    "a\x00b\x07c\x7f",
    "CamelCaseWORDS ALLCAPS don't DON'T it’s “quoted” — dashes…",
    '{"json": [1, 2.5, null, true], "nested": {"k": "v\\n"}}',
    "https://example.com/path?query=1&other=%20#anchor user@example.org",
    "word" * 50,
    "!?!?!?...---===***((()))[[[]]]{{{}}}<<<>>>",
]
