"""anyio on trio: task groups are nurseries."""
# needs: trio
import anyio
import trio_truth


async def child(event):
    await event.wait()


async def main():
    trio_truth.enter()
    send, receive = anyio.create_memory_object_stream(0)
    async with anyio.create_task_group() as group:
        group.start_soon(child, anyio.Event(), name="child")
        group.start_soon(receive.receive)
        group.start_soon(anyio.sleep, 3600)


trio_truth.end_with_stdin()
trio_truth.report_once_settled()
anyio.run(main, backend="trio")
