"""Asks DuckDB which await point grew most between two sets of files, over all hosts and processes: `grown.py BEFORE AFTER`, each a pattern of files."""

import json
import sys

import duckdb

# Quantiles of several processes cannot be added up: the longest of each says where to look.
SLOWER = """
    select
        function, file, line,
        max(wait_p99_seconds) filter (is_after) as after,
        max(wait_p99_seconds) filter (not is_after) as before,
        coalesce(sum(waits) filter (is_after), 0) as waits_after,
        coalesce(sum(waits) filter (not is_after), 0) as waits_before,
        count(distinct host) as hosts
    from (
        select *, false as is_after from read_parquet($1)
        union all
        select *, true as is_after from read_parquet($2)
    )
    group by function, file, line
    having after is not null and before is not null
    order by after - before desc
"""
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
        , waits, wait_p50_seconds, wait_p90_seconds, wait_p99_seconds, wait_max_seconds, wait_precision_seconds,
        waits_in_part, longest_in_part_seconds, returns
    from read_parquet($1)
    order by all
"""


def rows(question, *arguments):
    found = duckdb.execute(question, arguments)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found.fetchall()]


before, after = sys.argv[1:]
grown, slower = rows(GROWN, before, after), rows(SLOWER, before, after)
print(json.dumps({"grown": grown, "slower": slower, "before": rows(ROWS, before), "after": rows(ROWS, after)}))
