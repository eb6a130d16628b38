"""Regexes of the grammar benchmark, in Python's syntax, each with texts that match and that do not.

They are of the kinds that people ask for (dates, mails, identifiers, templates) and of the kinds
that are hard for automata: large counts, Unicode classes, alternations of many words, lookaround.
"""

from __future__ import annotations

from typing import NamedTuple


class RegexCase(NamedTuple):
    pattern: str
    yes: tuple[str, ...]
    no: tuple[str, ...]


def _words(count: int) -> list[str]:
    """Distinct words without order in them."""
    return [f"{'bcdfgklm'[n % 8]}{'aeiou'[n % 5]}{n * 7919 % 9973}" for n in range(count)]


_THOUSAND = "|".join(_words(1000))
_TEMPLATE = (
    r'\{"name": "[A-Z][a-z]{1,20}", "age": [1-9]\d?, "house": "(Gryffindor|Hufflepuff|Slytherin)",'
    r' "wand": \{"wood": "[a-z]{3,12}", "length": \d{1,2}\.\d\}\}'
)
_WIZARD = '{"name": "Harry", "age": 11, "house": "Gryffindor", "wand": {"wood": "holly", "length": '

REGEXES = [
    RegexCase(r"\d{4}-\d{2}-\d{2}", ("2025-11-22",), ("2025-1-2", "x")),
    RegexCase(
        r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", ("1999-12-31",), ("1999-13-01",)
    ),
    RegexCase(
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
        ("john.doe+x@mail.example.co.uk",),
        ("john@", "a@b.c"),
    ),
    RegexCase(
        r"((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)",
        ("192.168.0.255",),
        ("256.1.1.1", "1.2.3"),
    ),
    RegexCase(r"\+?\d{1,3}[- ]?\(?\d{3}\)?[- ]?\d{3}[- ]?\d{4}", ("+1 (555) 123-4567",), ("12",)),
    RegexCase(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        ("123e4567-e89b-42d3-a456-426614174000",),
        ("123e4567-e89b-12d3-a456-426614174000",),
    ),
    RegexCase(
        r"https?://[\w-]+(\.[\w-]+)+(/[\w./?%&=-]*)?", ("https://a.example/x?y=1",), ("ftp://a.b",)
    ),
    RegexCase(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", ("-12.5e+3", "0"), ("01", "1.")),
    RegexCase(r".{1,200}", ("x", "y" * 200), ("", "x" * 201, "a\nb")),
    RegexCase(r".{0,500}", ("", "z" * 500), ("z" * 501,)),
    RegexCase(r'"[^"\\]{0,1000}"', ('""', '"abc"'), ('"a"b"', '"' + "a" * 1001 + '"')),
    RegexCase(
        r'"([^"\\\x00-\x1f]|\\["\\bfnrt/]|\\u[0-9a-f]{4}){10,256}"',
        (r'"0123456789\n\u00e9"',),
        ('"short"',),
    ),
    RegexCase(r"(\w+\s){5,50}end", ("one two three four fünf end",), ("one two end",)),
    RegexCase(r"[А-Яа-яЁё ]+", ("Привет мир",), ("hello", "")),
    RegexCase(r"[\u4e00-\u9fff]{2,8}", ("日本語",), ("日", "ab")),
    RegexCase(r"\p{L}+", ("Größe",), ("a1", "")),
    RegexCase(r"\p{Lu}\p{Ll}{1,10}", ("Élan",), ("élan", "E")),
    RegexCase(r"(?i:yes|no|maybe)", ("YES", "nO"), ("y", "yess")),
    RegexCase(_THOUSAND, tuple(_words(1000)[::333]), ("ba", "b")),
    RegexCase(
        f"({_THOUSAND})(, ({_THOUSAND})){{0,9}}", (", ".join(_words(10)),), (", ".join(_words(11)),)
    ),
    RegexCase(r"(a|b)*c{3}", ("abbaccc",), ("cc", "acccc")),
    RegexCase(r"(a*)*b", ("aaab", "b"), ("aa",)),
    RegexCase(r"(a|b)*a(a|b){15}", ("ba" + "b" * 15,), ("b" * 20,)),
    RegexCase(r"((\d{1,3},){1,20};){1,20}", ("1,22,;333,;",), ("1,22", "1,;;")),
    RegexCase(r"<b>.*?</b>", ("<b>x</b>",), ("<b>x",)),
    RegexCase(r"^[a-z]{3,8}$", ("abc",), ("ab", "abc\n")),
    RegexCase(r"\bcat\b(, \bdog\b)?", ("cat", "cat, dog"), ("cats",)),
    RegexCase(r"(?=.*\d)(?=.*[a-z])[a-z\d]{6,12}", ("abc123",), ("abcdef", "123456")),
    RegexCase(r"(?!.*(foo|bar))[a-z]{3,12}", ("hello",), ("afoob",)),
    RegexCase(r"[a-z]+(?<!ing)", ("walk",), ("walking",)),
    RegexCase(r"(['\"])[a-z]*\1", ("'a'", '"b"'), ("'a\"",)),
    RegexCase(r"(?>a+)b|a*+c", ("aab", "aac"), ("aa",)),
    RegexCase(r"(?P<year>\d{4})/(?P<month>\d\d)", ("2025/11",), ("2025",)),
    RegexCase(_TEMPLATE, (_WIZARD + "11.0}}",), (_WIZARD + "11}}",)),
    RegexCase(
        r"(.|\n)*<answer>(yes|no)</answer>", ("why\nso <answer>no</answer>",), ("<answer>no",)
    ),
    RegexCase(
        r"(Step \d{1,2}: [^\n]{1,300}\n){1,20}Answer: -?\d+",
        ("Step 1: x\nAnswer: 4",),
        ("Answer: 4",),
    ),
]
