"""Policies put to the test, through the very engine that enforces them.

- `cases`     what is put before a policy, and what it must decide: files of YAML and JSON Lines
- `cuttings`  a completion as the stream of a model, cut in many ways
- `outcome`   what was decided on a case, and what of it was not as expected
- `runner`    cases through the engine
"""
