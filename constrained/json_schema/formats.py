"""The values of ``format`` that are enforced, each as an ECMA-262 pattern.

Languages are those of the RFCs named in JSON Schema 2020-12 section 7.3, and where a rule is not
regular (leap seconds at other offsets, say) a part of them: what is admitted is always valid.
"""

from __future__ import annotations

from functools import cache

_LEAP_YEAR = r"(?:\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_OFFSET = r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_TIME = (
    r"(?:(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?" + _OFFSET + r"|23:59:60(?:\.\d+)?"
    r"(?:[Zz]|[+-]00:00))"
)
_DURATION_TIME = r"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_DURATION = (
    rf"P(?:\d+W|(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)(?:{_DURATION_TIME})?"
    rf"|{_DURATION_TIME})"
)
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_HEX = r"[0-9A-Fa-f]{1,4}"
_LAST = rf"(?:{_HEX}:{_HEX}|{_IPV4})"
_IPV6 = (
    rf"(?:(?:{_HEX}:){{6}}{_LAST}|::(?:{_HEX}:){{5}}{_LAST}|(?:{_HEX})?::(?:{_HEX}:){{4}}{_LAST}"
    + "".join(
        rf"|(?:(?:{_HEX}:){{0,{before}}}{_HEX})?::(?:{_HEX}:){{{after}}}{_LAST}"
        for before, after in ((1, 3), (2, 2), (3, 1), (4, 0))
    )
    + rf"|(?:(?:{_HEX}:){{0,5}}{_HEX})?::{_HEX}|(?:(?:{_HEX}:){{0,6}}{_HEX})?::)"
)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN_LABEL = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}"  # no two hyphens, so never Punycode
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL}){{0,7}}"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL = rf"{_ATOM}(?:\.{_ATOM})*@{_HOSTNAME}"
_UUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_UNRESERVED = r"-A-Za-z0-9._~!$&'()*+,;="
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_SEGMENT = rf"(?:[{_UNRESERVED}:@]|{_ESCAPED})"
_AUTHORITY = (
    rf"(?:(?:[{_UNRESERVED}:]|{_ESCAPED})*@)?(?:\[{_IPV6}\]|(?:[{_UNRESERVED}]|{_ESCAPED})*)"
    r"(?::\d*)?"
)
_SUFFIX = rf"(?:\?(?:{_SEGMENT}|[/?])*)?(?:#(?:{_SEGMENT}|[/?])*)?"
_HIERARCHY = (
    rf"(?://{_AUTHORITY}(?:/{_SEGMENT}*)*|/(?:{_SEGMENT}+(?:/{_SEGMENT}*)*)?"
    rf"|{_SEGMENT}+(?:/{_SEGMENT}*)*)?"
)
_URI = rf"[A-Za-z][A-Za-z0-9+.-]*:{_HIERARCHY}{_SUFFIX}"
_FIRST_SEGMENT = rf"(?:[{_UNRESERVED}@]|{_ESCAPED})+"
_RELATIVE = (
    rf"(?://{_AUTHORITY}(?:/{_SEGMENT}*)*|/(?:{_SEGMENT}+(?:/{_SEGMENT}*)*)?"
    rf"|{_FIRST_SEGMENT}(?:/{_SEGMENT}*)*)?{_SUFFIX}"
)
_POINTER = r"(?:/(?:[^/~]|~[01])*)*"

_VARIABLE = (
    rf"(?:[A-Za-z0-9_]|{_ESCAPED})(?:\.?(?:[A-Za-z0-9_]|{_ESCAPED}))*(?:\*|:[1-9]\d{{0,3}})?"
)
_EXPRESSION = rf"\{{[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}}"
_REGEX_ITEM = (
    r"(?:[^\\^$.*+?()\[\]{}|]|\.|\\[dDwWsSbBnrtfv\\^$.*+?()\[\]{}|/-]"
    r"|\[\^?(?:[^\\\]\[-]|\\[dDwWsSnrtfv\\\]\[^-])+\])(?:[*+?]|\{\d{1,3}\})?"
)
_REGEX_BRANCH = rf"\^?(?:{_REGEX_ITEM})*\$?"

_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}[Tt]{_TIME}",
    "duration": _DURATION,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "hostname": _HOSTNAME,
    "idn-hostname": rf"{_PLAIN_LABEL}(?:\.{_PLAIN_LABEL}){{0,3}}",
    "email": _EMAIL,
    "uuid": _UUID,
    "uri": _URI,
    "uri-reference": rf"(?:{_URI}|{_RELATIVE})",
    "uri-template": rf"(?:[^\x00-\x20\"'%<>\\^`{{|}}]|{_ESCAPED}|{_EXPRESSION})*",
    "json-pointer": _POINTER,
    "regex": rf"{_REGEX_BRANCH}(?:\|{_REGEX_BRANCH})*",
    "relative-json-pointer": rf"(?:0|[1-9]\d*)(?:#|{_POINTER})",
}

# Formats over Unicode whose rules are not regular: the ASCII part, which is.
_ASCII_PART = {
    "idn-email": "email",
    "iri": "uri",
    "iri-reference": "uri-reference",
}


USUAL_FORMATS = (  # with a text of each
    ("date-time", "2025-01-31T12:00:00.5Z"),
    ("date", "2025-01-31"),
    ("time", "12:00:00Z"),
    ("email", "some.one@a.example.com"),
    ("uri", "https://example.com/a?b=c#d"),
    ("uuid", "01234567-89ab-4def-8123-456789abcdef"),
    ("ipv4", "192.168.1.10"),
    ("hostname", "a.example.com"),
)


@cache
def format_pattern(name: str) -> str | None:
    """The anchored pattern of a known format, None for one that stays an annotation."""
    pattern = _PATTERNS.get(_ASCII_PART.get(name, name))
    return None if pattern is None else f"^(?:{pattern})$"
