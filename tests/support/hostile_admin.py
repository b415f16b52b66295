"""A hostile client of an admin server, for a number of seconds.

    hostile_admin.py HOST:PORT SECONDS [KEY]

Half of its connections are slow: they send a head a byte at a time. Others open and close as fast as they can, by the thousand; send heads and bodies of
the largest size and beyond; ask for pages, metrics and logins with a wrong password. Prints what it has done as JSON.
"""

import asyncio
import collections
import json
import os
import sys
import time

done = collections.Counter()


async def opened(host, port):
    done["connections"] += 1
    return await asyncio.wait_for(asyncio.open_connection(host, port), 5)


async def closed(writer):
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), 1)
    except (OSError, asyncio.TimeoutError):
        pass


async def slow(host, port):
    """A byte of a head at a time, and then a body likewise."""
    _, writer = await opened(host, port)
    try:
        for byte in b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n{" + b" " * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            done["slow bytes"] += 1
            await asyncio.sleep(0.1)
    finally:
        await closed(writer)


async def storm(host, port):
    """Opens, says nothing, closes."""
    _, writer = await opened(host, port)
    await closed(writer)
    await asyncio.sleep(0.02)


async def huge(host, port):
    """Heads and bodies of the largest size and beyond."""
    for head, body in [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(100)) + b"\r\n", b""),
        (b"POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n", b"[" * 4_000_000),
        (b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n", b"[" * 60_000),
    ]:
        reader, writer = await opened(host, port)
        try:
            writer.write(head + body)
            await asyncio.wait_for(writer.drain(), 5)
            await asyncio.wait_for(reader.read(1), 5)
            done["huge requests"] += 1
        finally:
            await closed(writer)
    await asyncio.sleep(0.2)


async def tailing(host, port, key):
    """Everything that is published, as it comes, read more slowly than it comes."""
    reader, writer = await opened(host, port)
    try:
        writer.write(b"GET /api/v1/tail?filter=%%23 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n" % key.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        done["tails %s" % head.split()[1].decode()] += 1
        for _ in range(20):
            if not await asyncio.wait_for(reader.read(100), 5):
                break
            done["reads of a tail"] += 1
            await asyncio.sleep(0.1)
    finally:
        await closed(writer)


async def asking(host, port, key):
    """Right requests, one after the other, and logins with a wrong password."""
    reader, writer = await opened(host, port)
    bearer = b"Authorization: Bearer %s\r\n" % key.encode() if key else b""
    login = b'{"user":"ann","password":"wrong"}'
    requests = [b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (path, bearer) for path in (
        b"/metrics", b"/api/v1/clients?limit=256", b"/api/v1/clients?prefix=nobody&limit=256", b"/api/v1/top?by=messages_sent", b"/api/v1/topics",
        b"/healthz", b"/api/v1/openapi.json",
    )]
    requests.append(b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(login), login))
    try:
        for request in requests:
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if length:
                await asyncio.wait_for(reader.readexactly(int(length[0].split(b":")[1])), 5)
            done["answers %s" % head.split()[1].decode()] += 1
    finally:
        await closed(writer)


async def again(end, what, *arguments):
    while time.monotonic() < end:
        try:
            await what(*arguments)
        except (OSError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError):
            done["refused or cut off"] += 1
            await asyncio.sleep(0.05)


async def main():
    address, seconds = sys.argv[1], float(sys.argv[2])
    host, port = address.rsplit(":", 1)
    key = sys.argv[3] if len(sys.argv) > 3 else ""
    end = time.monotonic() + seconds
    work = [again(end, slow, host, port) for _ in range(64)]
    work += [again(end, storm, host, port) for _ in range(16)]
    work += [again(end, huge, host, port) for _ in range(2)]
    work += [again(end, asking, host, port, key) for _ in range(8)]
    if key:
        work += [again(end, tailing, host, port, key) for _ in range(2)]
    tasks = [asyncio.create_task(one) for one in work]
    _, late = await asyncio.wait(tasks, timeout=seconds + 1)
    for task in late:
        task.cancel()
    print(json.dumps(done))
    # What was refused costs nothing: it was to be asked what is dear.
    if key and not (done["answers 200"] and done["tails 200"]):
        sys.exit("no right request was answered")


# What it costs itself is no matter of the broker's.
os.nice(19)
asyncio.run(main())
