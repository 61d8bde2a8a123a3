"""``safety-proxy classify``: what a classifier makes of some texts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TextIO, TypeVar

import click
import orjson

from safety_proxy.assembly import build_classifier
from safety_proxy.classifiers.base import Classifier
from safety_proxy.classifiers.embedded import EmbeddedClassifier
from safety_proxy.documents import Document, read, validate
from safety_proxy.errors import ClassifierError, ConfigError
from safety_proxy.inquiry import forms_of, together
from safety_proxy.model import JSON, Category, JSONObject, Kind, Query, Severity, Verdict
from safety_proxy.readings import readings
from safety_proxy.settings_file import FileShape, expand

_UNWRITTEN: Final[JSONObject] = {
    "embedded": {"type": "embedded"},
    "azure_content_safety": {
        "type": "azure_content_safety",
        "endpoint": "${CONTENT_SAFETY_ENDPOINT}",
        "key": "${CONTENT_SAFETY_KEY}",
    },
}
"""The classifiers that are there without an entry in a configuration file."""

_WIDTH: Final = 60
"""Characters of a text that a line for people shows."""
_DIGITS: Final = 6
_Value = TypeVar("_Value")
_COLOURS: Final = {Severity.SAFE: None, Severity.LOW: "yellow", Severity.MEDIUM: "red", Severity.HIGH: "red"}


@click.command(
    short_help="Ask a classifier about texts.",
    epilog="\b\nExamples:\n"
    '  safety-proxy classify "How do I bake a cake?" --explain\n'
    "  safety-proxy classify --json --kind completion --file answers.txt",
)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--file", "file", metavar="FILE", type=click.File(errors="replace", encoding="utf-8"), help="A text a line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--explain", is_flag=True, help="Show the words that weighed most, if the classifier tells them.")
@click.option("--classifier", "name", metavar="NAME", default="embedded", show_default=True, help="Whom to ask.")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file with the classifier.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in Kind if kind is not Kind.IMAGE]),
    default=Kind.USER_PROMPT.value,
    show_default=True,
    help="What the texts are to the model: jailbreaks are looked for in user prompts, indirect attacks in documents.",
)
def classify(
    texts: tuple[str, ...], file: TextIO | None, name: str, config: Path | None, kind: str, *, as_json: bool, explain: bool
) -> None:
    """Ask a classifier about texts: arguments, else the lines of a file, else the lines of standard input.

    Severity is 0-7: safe (0-1), low (2-3), medium (4-5), high (6-7). Without a configuration file the classifiers
    are `embedded` and `azure_content_safety`, which needs CONTENT_SAFETY_ENDPOINT and CONTENT_SAFETY_KEY.

    Exit status 1 if there was no verdict on a text.
    """
    lines = _texts(texts, file)
    classifier = _choose(name, config)
    decided = asyncio.run(_classify(classifier, lines, Kind(kind), as_json=as_json, explain=explain))
    if not decided:
        raise click.exceptions.Exit(1)


def _texts(texts: tuple[str, ...], file: TextIO | None) -> Iterable[str]:
    if texts and file is not None:
        raise click.UsageError("Give texts or --file, not both.")
    # Bytes of arguments that are no UTF-8 arrive as surrogates, which nothing can be written with.
    if texts:
        return [text.encode(errors="surrogateescape").decode(errors="replace") for text in texts]
    source = file or click.open_file("-", encoding="utf-8", errors="replace")
    if source.isatty():
        raise click.UsageError("Give texts, or --file, or lines on standard input.")
    return (line.removesuffix("\n") for line in source)


def _choose(name: str, config: Path | None) -> Classifier:
    """The classifier called *name*. Raises `ConfigError`."""
    document = read(config) if config is not None else Document("", {})
    written = document.content.get("classifiers")
    known = {**_UNWRITTEN, **written} if isinstance(written, dict) else _UNWRITTEN
    if name not in known:
        raise ConfigError(f"no classifier is called `{name}`; known are: {', '.join(known)}", field="--classifier")
    # The others need not be complete: their keys may be elsewhere.
    chosen = Document(document.file, {"classifiers": {name: known[name]}}, document.lines)
    settings = validate(FileShape, expand(chosen, os.environ)).classifiers
    return build_classifier(name, settings[name])


# -------------------------------------------------------------------------------------------------------------- asking


async def _classify(classifier: Classifier, texts: Iterable[str], kind: Kind, *, as_json: bool, explain: bool) -> bool:
    """Print what *classifier* says of each text. Returns whether there was a verdict on everything."""
    decided = True
    try:
        for text in texts:
            query = Query(text, kind)
            try:
                verdict = await _ask(classifier, query, explain=explain)
            except ClassifierError as error:
                verdict = Verdict(failures=dict.fromkeys(sorted(error.categories or classifier.reports(kind)), error.reason))
            decided = decided and not verdict.failures
            if as_json:
                click.echo(orjson.dumps(_object(classifier, query, verdict, spans=explain)))
            else:
                click.echo("\n".join(_lines(text, verdict, spans=explain)))
    finally:
        await classifier.close()
    return decided


async def _ask(classifier: Classifier, query: Query, *, explain: bool) -> Verdict:
    if explain and isinstance(classifier, EmbeddedClassifier):
        return classifier.explain(query)
    forms = forms_of(query, readings(query.text), classifier)
    outcome = together(
        forms, iter(await classifier.classify([part for form in forms for part in form.parts])), classifier.overlap
    )
    if isinstance(outcome, ClassifierError):
        raise outcome
    return outcome


# -------------------------------------------------------------------------------------------------------------- telling


def _object(classifier: Classifier, query: Query, verdict: Verdict, *, spans: bool) -> JSONObject:
    told: JSONObject = {
        "text": query.text,
        "kind": query.kind.value,
        "classifier": classifier.identity,
        "severities": {category.value: severity for category, severity in _in_order(verdict.severities)},
        "labels": {category.value: Severity.of(severity).label for category, severity in _in_order(verdict.severities)},
        "detections": {category.value: found for category, found in _in_order(verdict.detections)},
        "blocklists": dict(verdict.blocklists),
        "failures": {category.value: reason for category, reason in _in_order(verdict.failures)},
        "scores": {name: round(score, _DIGITS) for name, score in verdict.scores.items()},
    }
    found: JSON = [
        {
            "start": span.start,
            "end": span.end,
            "text": query.text[span.start : span.end],
            "label": span.label,
            "weight": span.weight,
        }
        for span in verdict.spans
    ]
    return {**told, "spans": found} if spans else told


def _lines(text: str, verdict: Verdict, *, spans: bool) -> Iterator[str]:
    """For people: what was found, category by category, and the beginning of the text; then what weighed most."""
    columns = [_severity(category, severity) for category, severity in _in_order(verdict.severities)]
    columns += [_yes_or_no(category.value, found) for category, found in _in_order(verdict.detections)]
    columns += [_yes_or_no(f"blocklist {name}", found) for name, found in sorted(verdict.blocklists.items())]
    columns += [click.style(f"{category} ? ({reason})", fg="magenta") for category, reason in _in_order(verdict.failures)]
    yield "  ".join([*columns, _shown(text, _WIDTH)])
    for span in verdict.spans if spans else ():
        yield f"    {span.label} {span.weight:+.2f}  {_shown(text[span.start : span.end], _WIDTH)}"


def _severity(category: Category, severity: int) -> str:
    level = Severity.of(severity)
    return f"{category} " + click.style(f"{level.label} {severity}".ljust(len("medium 4")), fg=_COLOURS[level])


def _yes_or_no(name: str, found: bool) -> str:
    return f"{name} " + (click.style("yes", fg="red") if found else "no ")


def _shown(text: str, width: int) -> str:
    """The beginning of *text*, without anything that would move a cursor."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _in_order(found: Mapping[Category, _Value]) -> list[tuple[Category, _Value]]:
    return [(category, found[category]) for category in Category if category in found]
