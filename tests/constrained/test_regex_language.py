"""Languages of patterns, against Python's ``re`` and by example for ECMA-262."""

from __future__ import annotations

import re
from collections import deque

import interegular
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.constrained.derivatives import derivative, is_empty, matches
from sglang_lang.constrained.errors import GrammarError, UnsupportedGrammarError
from sglang_lang.constrained.regex_language import regex_language
from sglang_lang.constrained.regex_tree import NOTHING, Node

LETTERS = st.text("aAbB1_ é\n", max_size=7)
ATOMS = st.sampled_from(
    ["a", "b", "1", ".", r"\d", r"\w", r"\s", r"\W", "[ab]", "[^a]", "[a-c1]", "é", r"\n", "(?i:a)"]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from("* + ? {2} {1,3} {0,2}? *?".split())),
    ),
    max_leaves=6,
)
ASSERTIONS = st.builds(
    "".join,
    st.lists(
        st.sampled_from(["a", "b", "1", " ", ".", r"\b", r"\B", "^", "$", "(?=a)", "(?!b)", r"\w"]),
        max_size=5,
    ),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(PATTERNS, LETTERS)
def test_whole_matches_are_those_of_re(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern, text) is not None
    assert matches(regex_language(pattern, "python"), text.encode()) == expected


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ASSERTIONS, st.text("ab1 _", min_size=1, max_size=5))  # re has no \\B in ""
def test_assertions_found_anywhere_are_those_of_re(pattern: str, text: str) -> None:
    try:
        language = regex_language(pattern, "python", search=True)
    except UnsupportedGrammarError:
        return
    assert matches(language, text.encode()) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"(?<=a)b", ["ab", "xab"], ["b", "xb"]),
        (r"(?<!a)b", ["b", "xb"], ["ab"]),
        (r"^(?=.*\d)(?=.*[a-z]).{3,}$", ["a1x", "x1y2"], ["abc", "123", "a1"]),
        (r"^(?!.*--)[a-z-]+$", ["a-b"], ["a--b"]),
        (r"\bcat\b", ["a cat!", "cat"], ["cats", "concat"]),
        (r"^a|b$", ["ax", "xb"], ["xa", "bx"]),
        (r"^(a$|b)$", ["a", "b"], ["ab"]),
        (r"(?=a$)", ["a", "ba"], ["ab"]),
        (r"^\p{Lu}\p{L}*$", ["Éa", "A"], ["é", "1"]),
        (r"^\u{1F600}$", ["😀"], ["x"]),
        (r"^\uD83D\uDE00$", ["😀"], ["x"]),
        (r"^[^]$", ["a", "\n"], [""]),
        (r"^\d$", ["7"], ["٣"]),
        (r"^\s$", ["\ufeff", "\u00a0"], ["a"]),
        (r"^\cA\x41\/$", ["\x01A/"], ["A"]),
    ],
)
def test_ecma_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    language = regex_language(pattern, "ecma", search=True)
    assert [text for text in yes if not matches(language, text.encode())] == []
    assert [text for text in no if matches(language, text.encode())] == []


@pytest.mark.parametrize(
    ("pattern", "position"),
    [
        (r"(a)\1", 3),
        ("(a", 0),
        ("a)", 1),
        ("a**", 2),
        ("[a", 0),
        ("[b-a]", 1),
        ("a{3,1}", 1),
        ("a{1,999999}", 1),
        (r"\q", 0),
        (r"\xZZ", 0),
        ("(?P=x)", 0),
        ("a++", 2),
        ("(?:^a)*b", 6),
        ("(" * 200 + ")" * 200, 100),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_position(pattern: str, position: int) -> None:
    with pytest.raises(GrammarError) as caught:
        regex_language(pattern, "python")
    assert caught.value.position == position


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a*)*c", "(a|aa)*$", ".{0,100000}", "(x+x+)+y"])
def test_patterns_that_defeat_backtracking_are_harmless(pattern: str) -> None:
    language = regex_language(pattern, "python")
    assert not matches(language, b"a" * 200 + b"!\n")


@pytest.mark.parametrize(
    "pattern", ["(?i:[^k])", "(?i:[a-s])", "(?i)i", "(?i)[^s]", "(?ai)[^k]", "(?i)ß"]
)
@pytest.mark.parametrize("text", "kKſsSiIİı\N{KELVIN SIGN}ßẞ")
def test_case_is_ignored_as_re_does(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern, text) is not None
    assert matches(regex_language(pattern, "python"), text.encode()) == expected


@pytest.mark.parametrize(
    "pattern",
    ["(.{0,1000}){0,1000}", r"(\w{1,1000}){1,1000}x", "(a?){5000}", "((a{0,99}b){99}){99}"],
)
def test_repeats_in_repeats_are_refused_where_they_multiply(pattern: str) -> None:
    with pytest.raises(UnsupportedGrammarError, match="position"):
        regex_language(pattern, "python")


@pytest.mark.parametrize(
    "pattern",
    [".{0,100000}", "(.{0,20000})?", r"([a-z]{1,63}\.){1,127}", "(ab){9000}", "(a+){9000}"],
)
def test_large_counts_that_do_not_multiply_are_kept(pattern: str) -> None:
    assert regex_language(pattern, "python") is not NOTHING


ASCII_PATTERNS = [
    *(r"(a|b)*c{3}", r"(a*)*b", "(a|b)*a(a|b){3}", r"[0-9]{1,3}(\.[0-9]{1,3}){3}", "x{,3}y|"),
    *(r"(?i:ab)c", r"[^\n\"]{0,5}\"", "(abc|abd|ab)+?e", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", "a??b"),
]


@pytest.mark.parametrize("pattern", ASCII_PATTERNS)
def test_the_language_is_that_of_interegulars_automaton(pattern: str) -> None:
    """The product of both automata, over ASCII, never finds a text that one of them alone takes.

    interegular is right on such patterns; it is not on classes beyond ASCII and on lookahead.
    """
    fsm = interegular.parse_pattern(pattern).to_fsm()
    start: tuple[Node, object] = (regex_language(pattern, "python"), fsm.initial)
    living = {state for state in fsm.states if fsm.islive(state)}  # type: ignore[no-untyped-call]
    seen, pending = {start}, deque([start])
    while pending:
        ours, theirs = pending.popleft()
        assert ours.nullable == (theirs in fsm.finals)
        for byte in range(128):
            symbol = fsm.alphabet[chr(byte)]
            following = fsm.map[theirs].get(symbol) if theirs in living else None
            alive = following in living
            step = (derivative(ours, byte), following if alive else None)
            if is_empty(step[0]):
                assert not alive, (pattern, chr(byte))
            elif step not in seen:
                seen.add(step)
                pending.append(step)
    assert len(seen) > 2
