"""Tasks that live for some milliseconds: each takes a connection of a pool that is too small, and asks the query that its name says."""
import asyncio
import itertools
import random
import sys

import asyncpg
import truth

LIMIT = 3
VISITORS = 12
# Each is shown without its number.
QUERIES = [f"select pg_sleep($1), {number} as q{number}" for number in range(5)]
SHOWN = [f"select pg_sleep($1), ? as q{number}" for number in range(5)]


async def visit(pool, number):
    if random.random() < 0.5:
        async with pool.acquire() as connection:
            await connection.fetch(QUERIES[number], random.random() / 3)
    else:
        connection = await pool.acquire()
        try:
            await connection.fetch(QUERIES[number], random.random() / 3)
        finally:
            await pool.release(connection)


async def visitor(pool, counter):
    while True:
        number = random.randrange(len(QUERIES))
        task = truth.create_task(visit(pool, number), f"query {next(counter)} {number}")
        sum(range(random.randrange(20000)))
        await asyncio.wait([task])
        task.result()


async def main():
    pool = await asyncpg.create_pool(
        host="127.0.0.1", port=int(sys.argv[1]), user="postgres", database="postgres", min_size=LIMIT, max_size=LIMIT
    )
    counter = itertools.count()
    visitors = [truth.create_task(visitor(pool, counter), f"visitor {number}") for number in range(VISITORS)]
    await asyncio.sleep(0.2)
    truth.announce({"pool": hex(id(pool)), "limit": LIMIT, "queries": SHOWN})
    await asyncio.wait(visitors, return_when=asyncio.FIRST_EXCEPTION)


truth.run_loop(main)
