"""Bytes between a client and a server, passed on as they come but later: a network of a given round trip.

``python delay_relay.py LISTEN TARGET MS``: listens at LISTEN (``HOST:PORT``, or a port on loopback), connects to TARGET
for each connection, and holds what goes either way for half of MS milliseconds. The rate is not limited, the order is
kept.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable

PIECE = 2**18
PIECES = 256
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def take(source: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]], delay: float) -> None:
    """Read what comes, and note when it is to go on; nothing is the end."""
    loop = asyncio.get_running_loop()
    piece = b"-"
    while piece:
        try:
            piece = await source.read(PIECE)
        except OSError:
            piece = b""
        await pieces.put((loop.time() + delay, piece))


async def pass_on(pieces: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
    """Write each piece when its time has come, then close."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(due - loop.time(), 0))
            if not piece:
                return
            target.write(piece)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def one_way(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
    """Pass on one direction of a connection until it ends."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES)
    taking = asyncio.create_task(take(source, pieces, delay))
    try:
        await pass_on(pieces, target)
    finally:
        taking.cancel()


def relay(target: tuple[str, int], delay: float) -> Handler:
    """What is done with each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, outward = await asyncio.open_connection(*target)
        except OSError:
            writer.close()
            return
        for end in (writer, outward):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(one_way(reader, outward, delay), one_way(onward, writer, delay))

    return connected


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``PORT`` as a pair."""
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


async def main(listen: str, target: str, milliseconds: str) -> None:
    """Listen until the process is ended."""
    connected = relay(address(target), float(milliseconds) / 2000)
    server = await asyncio.start_server(connected, *address(listen), backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        pass
