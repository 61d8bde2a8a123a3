"""Ordinary texts, in which nobody hides anything: prose, code, mail with attachments, technical notes, eleven languages."""

from __future__ import annotations

import ast
import base64
import hashlib
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

_ROOT: Final = Path(__file__).parents[1]


def _sentences() -> Sequence[str]:
    """Of the tests of the embedded classifier."""
    return (_ROOT / "tests/classifiers/ordinary_sentences.txt").read_text(encoding="utf-8").splitlines()


def _code() -> Sequence[str]:
    """Every function and class of this project."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((_ROOT / "safety_proxy").rglob("*.py"))]
    return [
        ast.get_source_segment(source, node) or ""
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    ]


def _documentation() -> Sequence[str]:
    """Every paragraph of the documentation of this project."""
    paths = sorted(path for path in (_ROOT / "docs").rglob("*.md") if path.stem != "evasions")
    pages = [path.read_text(encoding="utf-8") for path in paths]
    return [paragraph for page in pages for paragraph in page.split("\n\n") if paragraph.strip()]


def _mail() -> Sequence[str]:
    """Mails with attachments: pictures, archives, keys. None of them holds text."""
    random = Random(3)  # noqa: S311 - the same mails every time
    mails = []
    for kind, data in (
        ("image/png", b"\x89PNG\r\n\x1a\n" + random.randbytes(3_000)),
        ("application/zip", b"PK\x03\x04" + random.randbytes(2_000)),
        ("application/gzip", zlib.compress(b"minutes of the meeting " * 400)),
        ("application/pgp-signature", random.randbytes(600)),
        ("image/jpeg", b"\xff\xd8\xff\xe0" + random.randbytes(5_000)),
    ):
        body = base64.encodebytes(data).decode()
        mails += [
            f"From: anna@example.org\nSubject: {subject}\nMIME-Version: 1.0\n"
            "Content-Type: multipart/mixed; boundary=x\n\n--x\n"
            f"Content-Type: text/plain; charset=utf-8\n\nHello Tom,\n\nhere is what you asked for.\n\nBest, Anna\n\n--x\n"
            f"Content-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{body}\n--x--\n"
            for subject in ("The pictures", "Minutes, draft 2", "Re: key")
        ]
    return mails


def _technical() -> Sequence[str]:
    """Logs, tokens, tables of parts: much that is no word."""
    random = Random(5)  # noqa: S311 - the same notes every time
    digests = [hashlib.sha256(random.randbytes(8)).hexdigest() for _ in range(8)]
    names = [uuid.UUID(bytes=random.randbytes(16)) for _ in range(8)]
    return [
        *(f"commit {digest[:40]}\nAuthor: Anna <anna@example.org>\n\n    Bump utf8proc to v2.9.0" for digest in digests),
        *(f'{{"id": "{name}", "etag": "{digest}", "size": 1024}}' for name, digest in zip(names, digests, strict=True)),
        *(f"sha256:{digest}  python3.11-slim-bookworm" for digest in digests),
        "The ESP32-S3 has 512KB SRAM, 2.4GHz Wi-Fi 802.11b/g/n, BLE 5.0 and 45 GPIOs; supply 3.3V, 500mA.",
        "Order no. A4-80g x500, B2B price 4,99 EUR, ships 24/7 from W1A 1AA; call 0800-555-0199 x12.",
        "i18n, l10n, a11y and k8s are words now. So are mp3, h264, x86_64, arm64, base64, s3 and ec2.",
        "GET /v1/search?q=caf%C3%A9+au+lait&page=2 HTTP/1.1\nHost: api.example.org\nX-Request-Id: 7f3a9c21",
        "Set-Cookie: sid=s%3AJ2d8fKq1.Zr0pQw; Path=/; HttpOnly; SameSite=Lax",
        "&lt;p class=&quot;note&quot;&gt;Fish &amp; chips, 5 &euro;&lt;/p&gt;",
        "Roman numerals: I, II, III, IV, V. Grades: A, B, C, D, E, F. Notes: c d e f g a h c.",
        "U.S.A., U.K., e.g., i.e., Ph.D., a.m., p.m., J. R. R. Tolkien, W. H. Auden",
        "0x7fff5fbff8a0 <+16>: mov %rsp,%rbp   # 48 89 e5 5d c3",
        'x = [i for i in range(10)]; y = a * b - c / d; print(f"{x!r:>10}", y)',
        "ls -la | grep -v '^d' | awk '{print $5, $9}' | sort -n > sizes.txt",
    ]


def _languages() -> Sequence[str]:
    """Some sentences in each of eleven languages."""
    return (Path(__file__).parent / "languages.txt").read_text(encoding="utf-8").splitlines()


ORDINARY: Final[Mapping[str, Callable[[], Sequence[str]]]] = {
    "English sentences": _sentences,
    "paragraphs of documentation": _documentation,
    "Python functions and classes": _code,
    "mails with attachments": _mail,
    "logs, identifiers, addresses, markup": _technical,
    "sentences in eleven languages": _languages,
}
"""Makers of texts, by what they are."""
