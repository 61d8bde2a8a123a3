"""Policies put to the test, through the very engine that enforces them.

- `cases`       what is put before a policy, and what it must decide: files of YAML and JSON Lines
- `imports`     collections of others as cases: tables, OpenAI's samples, promptfoo's tests
- `classifiers` those that policies under test name
- `cuttings`    a completion as the stream of a model, cut in many ways
- `replay`      a completion judged whole and as streams: the same decision, and nothing shown that was found
- `runner`      cases through the engine; `outcome` what was decided, and what of it was not as expected
- `plan`        all that a run needs, in a form that travels: `pool` over processes, `dask_pool` over machines
- `suite`       cases for pytest
- `recording`   verdicts that are kept, so that nobody need be asked again
- `summary`     what many outcomes come to; `reports` and `html` tell of it, `progress` while it goes on
- `figures`     precision, recall and the like at every threshold; `intervals` how sure one can be of them
- `sweep`       what thresholds would come to; `stream_curve` what windows of streams delay and expose
- `diff`        what two policies decide differently
"""
