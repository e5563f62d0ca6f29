"""Asks DuckDB which await point grew most between two sets of files, over all hosts and processes: `grown.py BEFORE AFTER`, each a pattern of files."""

import json
import sys

import duckdb

GROWN = """
    select
        function, file, line,
        coalesce(sum(waiting_seconds / duration_seconds) filter (is_after), 0) as after,
        coalesce(sum(waiting_seconds / duration_seconds) filter (not is_after), 0) as before
    from (
        select *, false as is_after from read_parquet($1)
        union all
        select *, true as is_after from read_parquet($2)
    )
    group by function, file, line
    order by after - before desc
"""
ROWS = """
    select
        host, pid, command, python, epoch(started_at) as started_at, duration_seconds,
        function, file, line, awaits, resource, waiting_seconds, ready_seconds, running_seconds
    from read_parquet($1)
    order by all
"""


def rows(question, *arguments):
    found = duckdb.execute(question, arguments)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found.fetchall()]


before, after = sys.argv[1:]
print(json.dumps({"grown": rows(GROWN, before, after), "before": rows(ROWS, before), "after": rows(ROWS, after)}))
