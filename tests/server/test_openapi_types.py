"""The words of the schemas are JSON Schema."""

from __future__ import annotations

import jsonschema  # type: ignore[import-untyped]  # ships no types

from safety_proxy.server.openapi_types import INTEGER, NULLABLE, STRING, array, optional, record, ref, text_of


def test_they_make_schemas_that_take_and_refuse() -> None:
    schema = record("A list.", "names", names=array(STRING, minItems=1), note=NULLABLE, size=optional(INTEGER))
    checked = jsonschema.Draft202012Validator(schema)

    assert checked.is_valid({"names": ["a"], "note": None, "size": None, "other": 1})
    wrong: list[object] = [{}, {"names": []}, {"names": [1]}, {"names": ["a"], "size": "b"}]
    assert not any(map(checked.is_valid, wrong))


def test_what_is_required_and_what_has_a_name_is_only_written_where_it_is_meant() -> None:
    assert "required" not in record("Nothing is.", description=STRING)
    assert ref("Model") == {"$ref": "#/components/schemas/Model"}
    assert text_of("A name.") == {"type": "string", "description": "A name."}
