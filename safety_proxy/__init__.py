"""Content-safety moderation proxy for language-model endpoints.

A pure core in a thin asyncio rim. Imports point from the bottom of this list to its top; a linter holds them to it.

- vocabulary: `model` (what is judged, said, decided), `events` (what enters the filter, what it orders), `errors`
- text: `normalise` (positions, spelling), `readings` (how else a text may be read), `jsontext`, `yaml`, `documents`
- core: `windows` (where text is cut), `choice` and `stream` (the filter that keeps the law), `asynchronous` (the one that
  does not), `sse`, `policy` (`decide`), `policy_shape` and `policy_file` (policies as written), `dialects` (wire formats)
- adapters: `classifiers` (one file each, and one frame for all services), `backend` (the model server)
- application: `inquiry` (whom to ask), `moderation` (texts to decisions), `relay` (drives a filter), `engine`
- rim: `settings*`, `assembly` (from settings to classifiers), `logs`, `server`, `cli*`, `demo*`
- for tests, yours too: `testing`

`docs/life-of-a-request.md` follows one request through all of them.
"""

__version__ = "0.1.0"
