"""Structural tags: free text in which tagged sections must follow a JSON Schema each.

Two spellings are read: ``{"structures": [{"begin", "schema", "end"}], "triggers": [...]}``, and
``{"type": "structural_tag", "format": {"type": "triggered_tags", "triggers", "tags": [{"begin",
"content": {"type": "json_schema", "json_schema"}, "end"}]}}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import GrammarError

MAX_SECTIONS = 256


@dataclass(slots=True, frozen=True)
class TaggedSection:
    """One kind of section.

    Args:
        trigger: text that starts the constraint; a prefix of ``begin``.
        begin: the whole opening.
        schema: JSON Schema of what stands between.
        end: the closing.
    """

    trigger: str
    begin: str
    schema: dict[str, Any]
    end: str


@dataclass(slots=True, frozen=True)
class StructuralTag:
    sections: tuple[TaggedSection, ...]


def parse_structural_tag(value: Any) -> StructuralTag:
    """Reads either spelling from parsed JSON.

    Raises:
        GrammarError: a field is missing, of a wrong type, or a section fits no trigger.
    """
    if not isinstance(value, dict):
        raise GrammarError("structural_tag must be a JSON object")
    if "structures" in value:
        entries = [(entry, "schema") for entry in _objects(value, "structures", "")]
        triggers = _triggers(value, "")
        return _structural_tag([(e, _schema(e, key, "")) for e, key in entries], triggers)
    tag_format = value.get("format")
    if not isinstance(tag_format, dict) or tag_format.get("type") != "triggered_tags":
        raise GrammarError(
            "structural_tag needs 'structures' and 'triggers', or a 'format' of type "
            "'triggered_tags'; other formats are not supported"
        )
    tags = _objects(tag_format, "tags", "/format")
    contents = [_content(tag) for tag in tags]
    return _structural_tag(
        [
            (tag, _schema(content, "json_schema", "content"))
            for tag, content in zip(tags, contents, strict=True)
        ],
        _triggers(tag_format, "/format"),
    )


def _structural_tag(
    entries: list[tuple[dict[str, Any], dict[str, Any]]], triggers: list[str]
) -> StructuralTag:
    if not 0 < len(entries) <= MAX_SECTIONS:
        raise GrammarError(f"structural_tag takes 1 to {MAX_SECTIONS} sections, got {len(entries)}")
    sections = []
    for entry, schema in entries:
        begin, end = _text(entry, "begin"), _text(entry, "end")
        trigger = next((t for t in triggers if begin.startswith(t)), None)
        if trigger is None:
            raise GrammarError(f"structural_tag: begin {begin!r} starts with none of the triggers")
        sections.append(TaggedSection(trigger, begin, schema, end))
    return StructuralTag(tuple(sections))


def _content(tag: dict[str, Any]) -> dict[str, Any]:
    content = tag.get("content")
    if not isinstance(content, dict) or content.get("type") != "json_schema":
        raise GrammarError("structural_tag: content must be of type 'json_schema'")
    return content


def _objects(value: dict[str, Any], key: str, pointer: str) -> list[dict[str, Any]]:
    entries = value.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise GrammarError(f"structural_tag: {pointer}/{key} must be a list of objects")
    return entries


def _triggers(value: dict[str, Any], pointer: str) -> list[str]:
    triggers = value.get("triggers")
    if not isinstance(triggers, list) or not all(isinstance(t, str) and t for t in triggers):
        raise GrammarError(f"structural_tag: {pointer}/triggers must be a list of strings")
    return triggers


def _schema(value: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    schema = value.get(key)
    if not isinstance(schema, dict):
        raise GrammarError(f"structural_tag: {where}/{key} must be a JSON Schema object")
    return schema


def _text(entry: dict[str, Any], key: str) -> str:
    text = entry.get(key)
    if not isinstance(text, str):
        raise GrammarError(f"structural_tag: {key} must be a string, got {text!r}")
    return text
