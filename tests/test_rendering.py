"""Data goes out as it came in, and bodies are what the contract says, byte for byte."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.model import PayloadVersion
from hookline.rendering import DEPTH_MAX, NotJson, body, compact, media_type, names_taken_by_v1, request_token

V1, V2, STANDARD, RAW = PayloadVersion.V1, PayloadVersion.V2, PayloadVersion.STANDARD, PayloadVersion.RAW
AT = 1_795_420_800_000  # 2026-11-23T08:00:00Z

# --- compact ---------------------------------------------------------------------------------------------------------

KEPT = [
    b'{"a":1.10}',
    b"18446744073709551616",
    b"-18446744073709551616.000",
    b"1e999",
    b"1E+05",
    b"-0",
    b"-0.0",
    b"1e-400",
    b'{"a":1,"a":2,"\\u0061":3}',
    b'{"b":1,"a":2}',
    b'"\\u0000"',
    b'"\\/\\b\\f\\n\\r\\t\\"\\\\"',
    b'"\\u00e9\xc3\xa9"',
    b'"\\ud83d\\ude00\xf0\x9f\x98\x80"',
    b'"\\udbff\\udfff"',
    b'"\x7f"',
    b'"\xe2\x80\xa8"',
    b'"\xef\xbb\xbf"',
    b'"[[[{{{ : , // not a comment"',
    b'" two  spaces\\t"',
    b'""',
    b'{"":""}',
    b"{}",
    b"[]",
    b"true",
    b"null",
]


@pytest.mark.parametrize("text", KEPT)
def test_compact_text_stays_byte_for_byte(text: bytes) -> None:
    assert compact(text) == text


@pytest.mark.parametrize(
    ("text", "compacted"),
    [
        (b" { } ", b"{}"),
        (b"[ ]\n", b"[]"),
        (b'\r\n{\t"a b" :\n1.10 , "c":[ 1 , 2 ]}\t', b'{"a b":1.10,"c":[1,2]}'),
        (b'{"a": "\\" : , "}', b'{"a":"\\" : , "}'),
        (b" 1", b"1"),
    ],
)
def test_white_space_between_tokens_goes(text: bytes, compacted: bytes) -> None:
    assert compact(text) == compacted


REFUSED = {
    "nothing": b"",
    "only white space": b" \n",
    "byte order mark": b"\xef\xbb\xbf{}",
    "invalid UTF-8 in a string": b'"\xff"',
    "invalid UTF-8 in a name": b'{"\xc3":1}',
    "overlong UTF-8": b'"\xc0\x80"',
    "surrogate as UTF-8": b'"\xed\xa0\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "UTF-16": '{"a":1}'.encode("utf-16-le"),
    "NaN": b"NaN",
    "NaN inside": b'{"a":NaN}',
    "Infinity": b"Infinity",
    "minus Infinity": b"[-Infinity]",
    "raw line feed in a string": b'"\n"',
    "raw tab in a string": b'"\t"',
    "raw NUL in a string": b'"\x00"',
    "raw control character": b'"\x1f"',
    "raw control character in a name": b'{"\x01":1}',
    "escaped raw line feed": b'"\\\n"',
    "NUL outside": b"{}\x00",
    "vertical tab as white space": b"{}\x0b",
    "form feed as white space": b"\x0c{}",
    "no-break space as white space": b"{\xc2\xa0}",
    "high surrogate alone": b'"\\ud800"',
    "high surrogate before text": b'"\\ud800abc"',
    "high surrogate before another escape": b'"\\ud800\\n"',
    "high surrogate before no surrogate": b'"\\ud800\\u0041"',
    "two high surrogates": b'"\\ud800\\ud800"',
    "low surrogate alone": b'"\\udc00"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "halves in two strings": b'["\\ud800","\\udc00"]',
    "surrogate in a name": b'{"\\uD800":1}',
    "trailing garbage": b"{} x",
    "two values": b"{}{}",
    "leading zero": b"01",
    "minus leading zero": b"-01",
    "no digit after the point": b"1.",
    "no digit before the point": b".5",
    "no digit in the exponent": b"1e+",
    "plus sign": b"+1",
    "hexadecimal": b"0x10",
    "trailing comma in an object": b'{"a":1,}',
    "trailing comma in an array": b"[1,]",
    "no comma": b"[1 2]",
    "no colon": b'{"a" 1}',
    "unquoted name": b"{a:1}",
    "single quotes": b"{'a':1}",
    "comment": b"/* */{}",
    "unknown escape": b'"\\x41"',
    "short escape": b'"\\u12"',
    "bad escape": b'"\\u12g4"',
    "open string": b'"abc',
    "open object": b'{"a":1',
    "wrong bracket": b'{"a":1]',
    "half a word": b"tru",
    "word in capitals": b"True",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson) as refused:
        compact(text)
    assert str(refused.value)


def _nested(depth: int, *, opening: bytes, core: bytes, closing: bytes) -> bytes:
    return opening * depth + core + closing * depth


@pytest.mark.parametrize(
    "parts",
    [
        {"opening": b"[", "core": b"", "closing": b"]"},
        {"opening": b'{"a":', "core": b"1", "closing": b"}"},
        {"opening": b'{"a":[', "core": b"1", "closing": b"]}"},
        {"opening": b'["\\"[[",', "core": b'"{{["', "closing": b"]"},
    ],
)
def test_nesting_ends_at_the_limit(parts: dict[str, bytes]) -> None:
    levels = parts["closing"].count(b"]") + parts["closing"].count(b"}")
    deepest = DEPTH_MAX // levels
    assert compact(_nested(deepest, **parts))
    for depth in (deepest + 1, deepest * 2, 100_000):
        with pytest.raises(NotJson, match="nested deeper than 512"):
            compact(_nested(depth, **parts))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    text = b"[" + b"[],{}," * 5_000 + b'"' + b"[" * 5_000 + b'"]'
    assert compact(text) == text


def test_brackets_in_strings_neither_hide_nor_make_depth() -> None:
    deep = _nested(DEPTH_MAX, opening=b"[", core=b"", closing=b"]")
    assert compact(b'{"a":"' + b"]" * 600 + b'","b":' + deep[1:-1] + b"}")
    with pytest.raises(NotJson, match="nested"):
        compact(b'{"a":"' + b"]" * 600 + b'","b":' + deep + b"}")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), JSON_VALUES, max_size=5)


@given(value=JSON_VALUES, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 0, 1, "\t", " \r\n "]))
def test_compacting_changes_white_space_alone(*, value: Any, ensure_ascii: bool, indent: Any) -> None:
    tight = json.dumps(value, ensure_ascii=ensure_ascii, separators=(",", ":")).encode()
    loose = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=(" , ", " : ")).encode()
    assert compact(loose) == compact(tight) == tight


def _is_json(text: bytes) -> bool:
    """Judge by the standard library's parser, made strict where it is not."""

    def refuse(_: str) -> Any:
        raise ValueError

    try:
        value = json.loads(text.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


ALMOST_JSON = st.lists(
    st.sampled_from(
        [
            *KEPT,
            *REFUSED.values(),
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b"\\",
            b"\\ud8",
            b"\\udc00",
            b"0",
            b"-",
            b" ",
        ]
    ),
    max_size=8,
).map(b"".join)


@given(ALMOST_JSON | st.binary(max_size=12))
@example(b'"\\ud800\\"')
@example(b'"\\ud800\\\\udc00"')
@example(b'"\\\\ud800"')
def test_it_takes_what_a_strict_parser_takes_and_nothing_else(text: bytes) -> None:
    try:
        compacted = compact(text)
    except NotJson:
        assert not _is_json(text)
    else:
        assert _is_json(text)
        assert json.loads(compacted) == json.loads(text)
        assert compact(compacted) == compacted


# --- what shapes look for in data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"{}", ()),
        (b'{"eventType":1}', ("eventType",)),
        (b'{"timestamp":null}', ("timestamp",)),
        (b'{"timestamp":1,"eventType":2}', ("eventType", "timestamp")),
        (b'{"event\\u0054ype":1}', ("eventType",)),
        (b'{"\\u0074imestamp":1}', ("timestamp",)),
        (b'{"eventType":1,"eventType":2}', ("eventType",)),
        (b'{"a":{"eventType":1,"timestamp":2}}', ()),
        (b'{"a":"\\"eventType\\":"}', ()),
        (b'{"eventtype":1,"event_type":2,"eventType ":3,"timeStamp":4,"event\\\\u0054ype":5}', ()),
    ],
)
def test_names_that_v1_writes_itself_are_found_at_the_top_alone(data: bytes, names: tuple[str, ...]) -> None:
    assert names_taken_by_v1(data) == names


@pytest.mark.parametrize(
    ("data", "token"),
    [
        (b"{}", None),
        (b'{"requestToken":"dead"}', b'"dead"'),
        (b'{"requestToken":"\\u0064\\/"}', b'"\\u0064\\/"'),
        (b'{"request\\u0054oken":"a"}', b'"a"'),
        (b'{"requestToken":"a","requestToken":"b"}', b'"b"'),
        (b'{"requestToken":""}', b'""'),
        (b'{"requestToken":5}', None),
        (b'{"requestToken":null}', None),
        (b'{"requestToken":["a"]}', None),
        (b'{"requesttoken":"a"}', None),
        (b'{"a":{"requestToken":"a"}}', None),
    ],
)
def test_the_request_token_is_taken_as_written_where_it_is_a_string(data: bytes, token: bytes | None) -> None:
    assert request_token(data) == token


@given(value=OBJECTS, is_escaped=st.booleans())
def test_names_are_found_however_they_are_escaped(*, value: dict[str, Any], is_escaped: bool) -> None:
    value |= {"eventType": 1}
    text = json.dumps(value, separators=(",", ":"))
    if is_escaped:
        text = text.replace("eventType", "".join(f"\\u{ord(c):04x}" for c in "eventType"))
    assert "eventType" in names_taken_by_v1(text.encode())


# --- bodies ----------------------------------------------------------------------------------------------------------


def _body(shape: PayloadVersion, data: bytes, *, source: str | None = "https://hooks.example.com") -> bytes:
    return body(shape, type_name="note.created", source=source, event_id="evt_1", occurred_at=AT, data=data)


def test_v1_reads_as_in_the_contract() -> None:
    assert _body(V1, b'{"requestToken":"deadbeefdeadbeef","noteToken":"a1b2c3"}') == (
        b'{"eventType":"note.created","requestToken":"deadbeefdeadbeef","noteToken":"a1b2c3",'
        b'"timestamp":"2026-11-23T08:00:00.000Z"}'
    )


def test_v1_of_empty_data_has_no_stray_comma() -> None:
    assert _body(V1, b"{}") == b'{"eventType":"note.created","timestamp":"2026-11-23T08:00:00.000Z"}'


def test_v2_reads_as_in_the_contract() -> None:
    assert _body(V2, b'{"requestToken":"dead\\u0062eef","n":1.10}') == (
        b'{"specversion":"1.0","id":"evt_1","source":"https://hooks.example.com","type":"note.created",'
        b'"time":"2026-11-23T08:00:00.000Z","datacontenttype":"application/json","subject":"dead\\u0062eef",'
        b'"data":{"requestToken":"dead\\u0062eef","n":1.10}}'
    )


@pytest.mark.parametrize("data", [b"{}", b'{"requestToken":7}', b'{"requestToken":""}'])
def test_v2_has_no_subject_without_a_token_that_cloudevents_allows(data: bytes) -> None:
    assert "subject" not in json.loads(_body(V2, data))


def test_standard_and_raw_read_as_in_the_contract() -> None:
    data = b'{"a":1.10}'
    assert _body(STANDARD, data) == (
        b'{"type":"note.created","timestamp":"2026-11-23T08:00:00.000Z","data":{"a":1.10}}'
    )
    assert _body(RAW, data) == data


def test_names_are_escaped_where_json_needs_it() -> None:
    made = body(V2, type_name='a"b', source='x\\"\n', event_id="e", occurred_at=AT, data=b"{}")
    assert (json.loads(made)["type"], json.loads(made)["source"]) == ('a"b', 'x\\"\n')


@given(OBJECTS, st.sampled_from(PayloadVersion))
def test_every_shape_is_json_that_holds_the_data(value: dict[str, Any], shape: PayloadVersion) -> None:
    value.pop("eventType", None)
    value.pop("timestamp", None)
    data = compact(json.dumps(value).encode())
    made = _body(shape, data)
    assert compact(made) == made
    assert made.count(data[1:-1])
    match shape:
        case PayloadVersion.V1:
            parsed = json.loads(made)
            assert [*parsed] == ["eventType", *value, "timestamp"]
        case PayloadVersion.RAW:
            assert json.loads(made) == value
        case _:
            assert json.loads(made)["data"] == value


@pytest.mark.parametrize(
    ("shape", "policy", "expected"),
    [
        (V1, None, "application/json"),
        (STANDARD, None, "application/json"),
        (RAW, None, "application/json"),
        (V2, None, "application/cloudevents+json"),
        (V2, "application/json", "application/json"),
    ],
)
def test_media_types(shape: PayloadVersion, policy: str | None, expected: str) -> None:
    assert media_type(shape, policy) == expected
