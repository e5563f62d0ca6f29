"""Tells what OpenTelemetry's own messages read from a file: for each resource its process id, and for each of its profiles the kind of value and the sum."""

import json
import sys

from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesData


def value_of(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def read(path):
    data = ProfilesData()
    with open(path, "rb") as file:
        data.MergeFromString(file.read())
    tables = data.dictionary
    # What the format demands of each table: the first entry is the empty one.
    for field, table in tables.ListFields():
        empty = "" if field.name == "string_table" else type(table[0])()
        assert table[0] == empty, field.name
    return [of_resource(it, tables) for it in data.resource_profiles]


def of_resource(of_resource, tables):
    attributes = {it.key: value_of(it.value) for it in of_resource.resource.attributes}
    (scope,) = of_resource.scope_profiles
    assert scope.scope.name == "awaitwhat"
    profiles = [of_profile(it, tables) for it in scope.profiles]
    return {"pid": attributes.get("process.pid"), "attributes": attributes, "profiles": profiles}


def of_profile(profile, tables):
    texts, functions, seconds = tables.string_table, set(), 0
    for sample in profile.samples:
        (value,) = sample.values
        assert value > 0 and sample.stack_index > 0
        seconds += value / 1e9
        for index in tables.stack_table[sample.stack_index].location_indices:
            (line,) = tables.location_table[index].lines
            functions.add(texts[tables.function_table[line.function_index].name_strindex])
        for index in sample.attribute_indices:
            assert texts[tables.attribute_table[index].key_strindex] == "awaitwhat.resource"
    kind = profile.sample_type
    return {
        "type": texts[kind.type_strindex],
        "unit": texts[kind.unit_strindex],
        "seconds": seconds,
        "functions": sorted(functions),
        "duration": profile.duration_nano / 1e9,
    }


print(json.dumps(read(sys.argv[1])))
