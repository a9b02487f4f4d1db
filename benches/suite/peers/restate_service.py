"""Services for W1 to W4 on Restate: a task is a call of a service."""

import asyncio
import os

import restate

tasks = restate.Service("Tasks")
flows = restate.Service("Flows")


@tasks.handler()
async def echo(ctx: restate.Context, value: int) -> int:
    return value


@flows.handler()
async def chain(ctx: restate.Context, length: int) -> int:
    value = 0
    for _ in range(length):
        value = await ctx.service_call(echo, arg=value)
    return value


@flows.handler()
async def wide(ctx: restate.Context, width: int) -> int:
    calls = [ctx.service_call(echo, arg=number) for number in range(width)]
    return len(await restate.gather(*calls))


app = restate.app(services=[tasks, flows])

if __name__ == "__main__":
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = ["127.0.0.1:" + os.environ["BENCH_SERVICE_PORT"]]
    asyncio.run(serve(app, config))
