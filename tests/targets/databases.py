"""Tasks that wait for databases: it says for each of them what awaitwhat has to say of its wait.

Its arguments are the library and the port of a server on this machine. The server itself, or the library's own count, tells when each task waits.
What has to stay unseen unless arguments are asked for is made of two halves, as the text of this file is no secret.
"""
import asyncio
import os
import sys
import types

import truth

LIBRARY, PORT = sys.argv[1], int(sys.argv[2])
HOST = "127.0.0.1"
PEER = f"{HOST}:{PORT}"
TABLE = f"target_{os.getpid()}"
SECRET = "some" + "bodys" + "data"
# Seconds between two questions to the server.
PAUSE = 0.02
HAS_TIMEOUT_IN_PLACE = sys.version_info >= (3, 12)

# By the address of a task: what is known of its wait.
expected = {}
tasks = {}


def identity(thing):
    return {"id": hex(id(thing)), "type": type(thing).__name__}


def start(coroutine, **facts):
    name = coroutine.__name__
    task = truth.create_task(coroutine, name)
    tasks[name] = task
    expected[hex(id(task))] = {"name": name, **facts}
    return task


def know(name, **facts):
    """Adds what is known of a task only once it runs."""
    expected[hex(id(tasks[name]))].update(facts)


def has(*names):
    """The tasks of these names, in the order in which holders are told."""
    return sorted((hex(id(tasks[name])) for name in names), key=lambda address: int(address, 16))


async def until(condition):
    while True:
        for task in tasks.values():
            if task.done():
                task.result()
                raise AssertionError(f"{task!r} does not wait")
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        await asyncio.sleep(PAUSE)


def ends(connection_socket):
    host, port = connection_socket.getsockname()[:2]
    return {"fd": connection_socket.fileno(), "local": f"{host}:{port}"}


LOCKED = "select count(*) from pg_stat_activity where application_name = '%s' and wait_event_type = 'Lock'" % TABLE


async def with_asyncpg():
    import asyncpg

    reach = {
        "host": HOST,
        "port": PORT,
        "user": "postgres",
        "database": "postgres",
        "server_settings": {"application_name": TABLE},
    }
    control = await asyncpg.connect(**reach)
    await control.execute(f"create table {TABLE} (id int primary key, v text); insert into {TABLE} values (1, '')")
    owner = await asyncpg.connect(**reach)
    await owner.execute(f"begin; update {TABLE} set v = 'x' where id = 1")
    pool = await asyncpg.create_pool(min_size=3, max_size=3, **reach)
    query = {"kind": "query", "peer": PEER, "holders": None}

    def at(connection):
        return ends(connection._transport.get_extra_info("socket"))

    connections = []

    async def guest(connection):
        """It knows a connection that is another's."""
        await truth.never()
        del connection

    async def in_block():
        async with pool.acquire() as connection:
            connections.append(connection)
            know("in_block", **at(connection))
            await connection.execute(f"update {TABLE}\n   set v = '{SECRET}'''\n where id = 1")

    async def in_variable():
        connection = await pool.acquire()
        know("in_variable", **at(connection))
        await connection.fetchrow(f"select v from {TABLE} where id = $1 and v <> $2 for update", 1, SECRET)

    async def of_pool():
        await pool.execute(f"delete from {TABLE} where id = $1", 1)

    async def prepared():
        connection = await asyncpg.connect(**reach)
        know("prepared", **at(connection))
        statement = await connection.prepare(f"select * from {TABLE} where id < 7.5 for update")
        await statement.fetch()

    async def many():
        connection = await asyncpg.connect(**reach)
        know("many", **at(connection))
        await connection.executemany(f"update {TABLE} set v = $1", [(SECRET,)])

    async def by_cursor():
        connection = await asyncpg.connect(**reach)
        know("by_cursor", **at(connection))
        async with connection.transaction():
            async for _ in connection.cursor(f"select * from {TABLE} for update"):
                pass

    async def wants_block():
        async with pool.acquire():
            pass

    app = types.SimpleNamespace(db=pool)

    async def wants_query():
        await app.db.fetch("select 1")

    start(in_block(), query=f"update {TABLE} set v = ? where id = ?", operation="execute", **query)
    start(in_variable(), query=f"select v from {TABLE} where id = $1 and v <> $2 for update", **query)
    start(of_pool(), query=f"delete from {TABLE} where id = $1", **query)
    start(prepared(), query=f"select * from {TABLE} where id < ? for update", **query)
    start(many(), query=f"update {TABLE} set v = $1", operation="executemany", **query)
    start(by_cursor(), query=f"select * from {TABLE} for update", operation="fetch", **query)

    async def are_locked():
        return await control.fetchval(LOCKED) == len(tasks)

    await until(are_locked)
    await control.close()
    start(guest(connections.pop()), kind="future", label="truth.never()", query=None)
    wanting = [(wants_block(), "pool"), (wants_query(), "app.db")]
    for position, (coroutine, label) in enumerate(wanting, 1):
        facts = {"size": 3, "limit": pool.get_max_size(), "waiters": 2, "holder_known": False, "label": label}
        start(coroutine, kind="pool", position=position, holders=has("in_block", "in_variable", "of_pool"), **facts, **identity(pool))
    await until(lambda: len(pool._queue._getters) == 2)
    assert pool.get_size() - pool.get_idle_size() == 3
    return owner


async def with_psycopg():
    import psycopg
    import psycopg_pool

    reach = f"host={HOST} port={PORT} user=postgres dbname=postgres application_name={TABLE}"
    control = await psycopg.AsyncConnection.connect(reach, autocommit=True)
    await control.execute(f"create table {TABLE} (id int primary key, v text)")
    await control.execute(f"insert into {TABLE} values (1, '')")
    owner = await psycopg.AsyncConnection.connect(reach)
    await owner.execute(f"update {TABLE} set v = 'x' where id = 1")
    pool = psycopg_pool.AsyncConnectionPool(reach, min_size=2, max_size=2, open=False, timeout=900)
    await pool.open(wait=True)
    query = {"kind": "query", "holders": None}

    async def in_block():
        async with pool.connection() as connection:
            know("in_block", fd=connection.fileno())
            await connection.execute(f"update {TABLE} set v = '{SECRET}' where id = 1")

    async def in_variable():
        connection = await pool.getconn()
        know("in_variable", fd=connection.fileno())
        async with connection.cursor() as cursor:
            await cursor.execute(f"select v from {TABLE} where id = %s and v <> %s for update", (1, SECRET))

    async def wants_block():
        async with pool.connection():
            pass

    async def wants_one():
        await pool.getconn()

    start(in_block(), query=f"update {TABLE} set v = ? where id = ?", operation="execute", **query)
    start(in_variable(), query=f"select v from {TABLE} where id = %s and v <> %s for update", **query)

    async def are_locked():
        cursor = await control.execute(LOCKED)
        return (await cursor.fetchone())[0] == len(tasks)

    await until(are_locked)
    await control.close()
    for coroutine in (wants_block(), wants_one()):
        facts = {"size": 2, "limit": 2, "waiters": 2, "holder_known": False, "detail": {"name": pool.name}}
        start(coroutine, kind="pool", holders=has("in_block", "in_variable"), **facts, **identity(pool))
    await until(lambda: len(pool._waiting) == 2)
    return owner


async def with_redis():
    import redis.asyncio as redis

    reach = {"host": HOST, "port": PORT, "socket_timeout": None}
    control = redis.Redis(**reach)
    pool = redis.BlockingConnectionPool(max_connections=3, timeout=900, **reach)
    client = redis.Redis(connection_pool=pool)
    lock = control.lock(f"lock {SECRET} {TABLE}", sleep=700)
    mine = control.lock(f"lock {SECRET} {TABLE}", timeout=900)
    await mine.acquire()
    common = {"peer": PEER, "holders": None}

    async def pop():
        await client.blpop([SECRET + TABLE], timeout=0)

    async def pipeline():
        async with client.pipeline(transaction=False) as commands:
            commands.get("a")
            commands.blpop([SECRET + TABLE], timeout=0)
            await commands.execute()

    async def listen():
        async with client.pubsub() as subscription:
            await subscription.subscribe("a", "b")
            async for _ in subscription.listen():
                pass

    async def wants_command():
        await client.set("a", "b")

    async def wants_pipeline():
        async with client.pipeline() as commands:
            commands.get("a")
            await commands.execute()

    async def wants_lock():
        async with lock:
            pass

    start(pop(), kind="query", query="BLPOP", **common)
    start(pipeline(), kind="query", detail={"commands": 2}, **common)
    start(listen(), kind="stream", detail={"channels": 2, "patterns": 0}, **common)
    start(wants_lock(), kind="lock", holders=None, **identity(lock))

    async def are_waiting():
        info = await control.info("clients")
        numbers = await control.pubsub_numsub("a", "b")
        asks = tasks["wants_lock"].get_coro() if sys.version_info >= (3, 8) else tasks["wants_lock"]._coro
        is_asleep = asks.cr_await is not None and "sleep" in repr(innermost(asks))
        return info["blocked_clients"] >= 2 and all(count for _, count in numbers) and is_asleep

    await until(are_waiting)
    for position, coroutine in enumerate([wants_command(), wants_pipeline()], 1):
        facts = {"size": 3, "limit": 3, "waiters": 2, "position": position, "holder_known": True}
        start(coroutine, kind="pool", holders=has("pop", "pipeline", "listen"), **facts, **identity(pool))
    await until(lambda: len(pool._condition._waiters) == 2)
    return control


def innermost(coroutine):
    while getattr(coroutine, "cr_await", None) is not None and hasattr(coroutine.cr_await, "cr_frame"):
        coroutine = coroutine.cr_await
    return coroutine


async def with_sqlalchemy():
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    # Before 3.12, a wait with a timeout is one of another task.
    timeout = {"pool_timeout": 900} if HAS_TIMEOUT_IN_PLACE else {"pool_timeout": None}
    reach = f"postgresql+asyncpg://postgres@{HOST}:{PORT}/postgres"
    settings = {"server_settings": {"application_name": TABLE}}
    control = create_async_engine(reach)
    engine = create_async_engine(reach, pool_size=1, max_overflow=1, connect_args=settings, **timeout)
    owner = await control.connect()
    await owner.execute(text(f"create table {TABLE} (id int primary key, v text)"))
    await owner.execute(text(f"insert into {TABLE} values (1, '')"))
    await owner.commit()
    await owner.execute(text(f"update {TABLE} set v = 'x' where id = 1"))
    query = {"kind": "query", "peer": PEER, "holders": None}
    pool = engine.sync_engine.pool

    async def by_connection():
        async with engine.connect() as connection:
            await connection.execute(text(f"update {TABLE} set v = '{SECRET}' where id = 1"))

    async def by_session():
        async with AsyncSession(engine) as session:
            await session.execute(text(f"update {TABLE} set v = :v where id = 1"), {"v": SECRET})

    async def wants_connection():
        async with engine.connect():
            pass

    async def wants_begun():
        async with engine.begin():
            pass

    async def wants_session():
        async with AsyncSession(engine) as session:
            await session.execute(text("select 1"))

    start(by_connection(), query=f"update {TABLE} set v = ? where id = ?", **query)
    start(by_session(), query=f"update {TABLE} set v = $1 where id = ?", **query)

    async def are_locked():
        # What a transaction has seen of others, it sees again.
        await owner.execute(text("select pg_stat_clear_snapshot()"))
        return (await owner.execute(text(LOCKED))).scalar() == len(tasks)

    await until(are_locked)
    for position, coroutine in enumerate([wants_connection(), wants_begun(), wants_session()], 1):
        facts = {"size": pool.checkedout(), "limit": 2, "waiters": 3, "position": position, "holder_known": True}
        start(coroutine, kind="pool", holders=has("by_connection", "by_session"), **facts, **identity(pool))
    await until(lambda: len(pool._pool._queue._getters) == 3)
    return owner


async def with_deadlock():
    """Each of two tasks has one of two connections and wants another one."""
    import asyncpg

    pool = await asyncpg.create_pool(host=HOST, port=PORT, user="postgres", database="postgres", min_size=2, max_size=2)
    have_one = []

    async def wants_two():
        async with pool.acquire():
            have_one.append(True)
            while len(have_one) < 2:
                await asyncio.sleep(PAUSE)
            async with pool.acquire():
                pass

    for number in range(2):
        task = truth.create_task(wants_two(), f"wants_two {number}")
        tasks[task.get_name()] = task
    for task in tasks.values():
        expected[hex(id(task))] = {"kind": "pool", "size": 2, "holders": has(*tasks), "holder_known": True}
    await until(lambda: len(pool._queue._getters) == 2)
    return pool


async def main():
    library = {"deadlock": with_deadlock, "asyncpg": with_asyncpg, "psycopg": with_psycopg, "redis": with_redis, "sqlalchemy": with_sqlalchemy}
    kept = await library[LIBRARY]()
    truth.announce({"expected": expected, "secret": SECRET})
    await truth.never()
    return kept


truth.run_loop(main)
