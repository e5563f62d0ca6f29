"""SQLAlchemy's asyncio layer: the application's own functions run in a greenlet, and the query that they make is awaited by `greenlet_spawn`.

The greenlet's frames are not read; that they are missing is marked.
"""
# needs: aiosqlite
# needs: greenlet
# needs: sqlalchemy
import threading

import truth
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

queried = threading.Event()
engine = create_async_engine("sqlite+aiosqlite://")


@event.listens_for(engine.sync_engine, "connect")
def add_function(connection, record):
    connection.create_function("block", 0, block)


def block():
    queried.set()
    threading.Event().wait()


def rebuild_index(session):
    return session.execute(text("select block()"))


async def main():
    async with AsyncSession(engine) as session:
        await session.run_sync(rebuild_index)


truth.greenlet_drivers.add("greenlet_spawn")
truth.run(main, ready=queried.is_set)
