"""The keywords of JSON Schema, by what they speak of and by what they hold."""

from __future__ import annotations

TYPES = frozenset(("null", "boolean", "integer", "number", "string", "array", "object"))
NUMBER_KEYWORDS = frozenset(
    ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
)
STRING_KEYWORDS = frozenset(("minLength", "maxLength", "pattern", "format"))
ARRAY_KEYWORDS = frozenset(
    "contains minContains maxContains minItems maxItems uniqueItems items prefixItems "
    "additionalItems".split()
)
OBJECT_KEYWORDS = frozenset(
    "required properties patternProperties additionalProperties minProperties maxProperties "
    "dependentRequired dependencies".split()
)
COMBINING_KEYWORDS = frozenset(
    "$ref $dynamicRef allOf anyOf oneOf not if propertyNames dependentSchemas dependencies "
    "unevaluatedItems unevaluatedProperties".split()
)
VALUE_KEYWORDS = NUMBER_KEYWORDS | STRING_KEYWORDS | ARRAY_KEYWORDS | OBJECT_KEYWORDS
BEYOND_TYPE = VALUE_KEYWORDS | COMBINING_KEYWORDS | {"const", "enum", "$recursiveRef"}
SCHEMA_KEYWORDS = frozenset(
    "additionalProperties additionalItems contains contentSchema else if items not propertyNames "
    "then unevaluatedItems unevaluatedProperties".split()
)
SCHEMA_LIST_KEYWORDS = frozenset("allOf anyOf items oneOf prefixItems".split())
SCHEMA_MAP_KEYWORDS = frozenset(
    "$defs definitions dependencies dependentSchemas patternProperties properties".split()
)
NAMING_KEYWORDS = frozenset(("$id", "id", "$anchor", "$dynamicAnchor"))
