"""Claims about the kinds of values in the configuration file."""

from __future__ import annotations

import pytest

from safety_proxy.documents import parse, validate
from safety_proxy.errors import ConfigError
from safety_proxy.settings_file import BackendSettings, FileShape, expand

SECRET = "sk-top-secret"


def read(text: str, environ: dict[str, str] | None = None, file: str = "proxy.yaml") -> FileShape:
    return validate(FileShape, expand(parse(text, file), environ or {}))


def mistake(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def backend(entry: str, environ: dict[str, str] | None = None) -> BackendSettings:
    return read(f"backends: {{llama: {entry}}}", environ).backends["llama"]


@pytest.mark.parametrize(("text", "expected"), [("1B", 1), ("512KiB", 524_288), ("8MiB", 8_388_608), ("1GiB", 2**30)])
def test_sizes_are_read_as_bytes(text: str, expected: int) -> None:
    assert read(f"limits: {{body: {text}}}").limits.body == expected


@pytest.mark.parametrize("text", ["8MB", "8", "0KiB", "1.5MiB", "-1B", "MiB", "true"])
def test_other_sizes_are_refused(text: str) -> None:
    assert mistake(f"limits:\n  body: {text}") == "proxy.yaml:2: limits.body: must be a size such as 512KiB or 8MiB"


@pytest.mark.parametrize(("text", "expected"), [("250ms", 0.25), ("1.5s", 1.5), ("2m", 120.0), ("0s", 0.0)])
def test_times_are_read_as_seconds(text: str, expected: float) -> None:
    assert read(f"drain: {text}").drain == expected


@pytest.mark.parametrize("text", ["30", "30h", "-1s", "true"])
def test_other_times_are_refused(text: str) -> None:
    assert mistake(f"drain: {text}") == "proxy.yaml:1: drain: must be a duration such as 250ms, 1.5s or 2m"


def test_a_time_out_cannot_be_zero() -> None:
    assert "must be more than 0" in mistake("backends: {a: {url: 'http://h', timeout: {idle: 0s}}}")


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("65535", 65535), ("'81'", 81)])
def test_ports_are_numbers_or_digits(text: str, expected: int) -> None:
    assert read(f"listen: {{port: {text}}}").listen.port == expected


@pytest.mark.parametrize("text", ["65536", "-1", "true", "x", "1.5", "'0x1'"])
def test_other_ports_are_refused(text: str) -> None:
    assert mistake(f"listen: {{port: {text}}}").startswith("proxy.yaml:1: listen.port: must be")


@pytest.mark.parametrize("url", ["http://h", "https://h:8/v1/", "http://[::1]:8000/v1"])
def test_urls_of_servers_are_kept(url: str) -> None:
    assert backend(f"{{url: '{url}'}}").url == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "h:80",
        "http://",
        "//h",
        "http://h:99999",
        "http://h:0",
        "http://[h",
        "http://h/a b",
        "http://h/\u00e9",
        "",
        f"http://u:{SECRET}@h",
        f"http://h?key={SECRET}",
        f"http://h#{SECRET}",
    ],
)
def test_other_urls_are_refused_and_not_quoted(url: str) -> None:
    assert mistake(f"backends:\n  a:\n    url: '{url}'").startswith("proxy.yaml:3: backends.a.url: must be a URL")


@pytest.mark.parametrize("header", ["Host", "content-length", "Transfer-Encoding", "x-request-id", "cookie", "accept"])
def test_headers_that_are_ours_cannot_be_set(header: str) -> None:
    assert "is a header that cannot be set" in mistake(f"backends: {{a: {{url: 'http://h', headers: {{{header}: x}}}}}}")


@pytest.mark.parametrize("header", ["'a b'", "'a:b'", '"a\\r\\nb"', "''"])
def test_headers_have_names_of_headers(header: str) -> None:
    assert "is not a name of a header" in mistake(f"backends: {{a: {{url: 'http://h', headers: {{{header}: x}}}}}}")


@pytest.mark.parametrize("key", ["''", "' '", '"a\\r\\nb"', "\u00e9", "' a'"])
def test_keys_can_stand_in_a_header(key: str) -> None:
    assert "must be printable ASCII" in mistake(f"backends: {{a: {{url: 'http://h', key: {key}}}}}")


def test_a_key_is_sent_in_one_place() -> None:
    entry = f"{{url: 'http://h', key: {SECRET}, headers: {{Authorization: x}}}}"
    assert "has a key and a header that carries one" in mistake(f"backends: {{a: {entry}}}")


def test_nothing_printed_shows_a_secret() -> None:
    entry = f"{{url: 'http://h', key: {SECRET}, headers: {{x-key: {SECRET}}}, query: {{key: {SECRET}}}}}"
    file = read(
        f"backends: {{a: {entry}}}\nclassifiers: {{c: {{type: azure_content_safety, endpoint: 'http://h', key: {SECRET}}}}}"
    )
    assert SECRET not in repr(file) + str(file) + file.model_dump_json()
