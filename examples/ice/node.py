"""A node for natrig that connects by ICE (RFC 8445), as the library aioice does it, with TURN (RFC 8656) where nothing else works.

On its standard input it is told `connect NAME` and `send NAME FILE`; what happens it says in lines on its standard output.
"""

import argparse
import asyncio
import functools
import hashlib
import itertools
import json
import pathlib
import struct
import sys

from aioice import Candidate, Connection
from aioice.stun import TransactionError

CONNECT_TIMEOUT = 30
SIGNALLING_RETRY = 2
# So long before its answer the answering side's checks begin, for its NAT to be open when those of the other side come. aioice nominates
# the first pair that works, and where they meet a closed NAT that is a relayed one.
HEAD_START = 0.5

CHUNK_SIZE = 1000
WINDOW = 32
RETRANSMIT_AFTER = 1

# Kind of datagram, transfer, chunk. STUN and data share the port, and aioice takes for STUN what has its own length at the third
# byte: as a length, these letters are more than any datagram has.
HEADER = struct.Struct("!4sII")
DATA, ACK = b"DATA", b"ACK "
# The first chunk of a transfer: how many follow, and the SHA-256 of the file.
START = struct.Struct("!I32s")


def say(*words):
    print(*words, flush=True)


class Files:
    """Files in both directions over the datagrams of one ICE connection: every chunk is acknowledged, or sent again."""

    received = itertools.count(1)

    def __init__(self, ice, peer):
        self.ice = ice
        self.peer = peer
        self.transfers = itertools.count(1)
        self.unacknowledged = {}
        self.incoming = {}

    async def send(self, path):
        """Returns when the peer has all of the file."""
        content = path.read_bytes()
        chunks = [content[at : at + CHUNK_SIZE] for at in range(0, len(content), CHUNK_SIZE)]
        chunks.insert(0, START.pack(len(chunks), hashlib.sha256(content).digest()))
        transfer = next(self.transfers)
        window = asyncio.Semaphore(WINDOW)
        async with asyncio.TaskGroup() as group:
            for number, chunk in enumerate(chunks):
                await window.acquire()
                group.create_task(self.send_chunk(transfer, number, chunk, window))

    async def send_chunk(self, transfer, number, chunk, window):
        acknowledged = self.unacknowledged[transfer, number] = asyncio.get_running_loop().create_future()
        while not acknowledged.done():
            await self.ice.send(HEADER.pack(DATA, transfer, number) + chunk)
            await asyncio.wait([acknowledged], timeout=RETRANSMIT_AFTER)
        window.release()

    async def receive(self):
        """Handles what arrives, for as long as there is a connection."""
        while True:
            datagram = await self.ice.recv()
            if len(datagram) < HEADER.size:
                continue
            kind, transfer, number = HEADER.unpack_from(datagram)
            if kind == DATA:
                await self.ice.send(HEADER.pack(ACK, transfer, number))
                self.take(transfer, number, datagram[HEADER.size :])
            elif kind == ACK and (acknowledged := self.unacknowledged.pop((transfer, number), None)):
                acknowledged.set_result(None)

    def take(self, transfer, number, chunk):
        chunks = self.incoming.setdefault(transfer, {})
        if chunks is None:
            return  # a chunk once more, of a file that is complete
        chunks[number] = chunk
        if 0 not in chunks:
            return
        count, digest = START.unpack(chunks[0])
        if len(chunks) <= count:
            return
        self.incoming[transfer] = None
        content = b"".join(chunks[number] for number in range(1, count + 1))
        if hashlib.sha256(content).digest() != digest:
            say(f"error: what {self.peer} sent has another SHA-256 than it should have")
            return
        path = pathlib.Path(f"/run/received.{next(self.received)}")
        path.write_bytes(content)
        say("received", path, "from", self.peer)


class Node:
    def __init__(self, arguments):
        self.arguments = arguments
        self.signalling = None
        self.answers = {}
        self.files = {}
        self.tasks = set()

    def start(self, coroutine):
        """Runs it beside the rest. The event loop alone would not keep its task."""
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self):
        loop = asyncio.get_running_loop()
        # aioice leaves it to the event loop to say that a TURN server refused a channel. Such a pair's check fails, no more.
        loop.set_exception_handler(lambda _, context: say("error:", repr(str(context.get("exception", context)))))
        self.start(self.follow_signalling())
        commands = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        async for line in commands:
            match line.decode().split():
                case ["connect", peer]:
                    self.start(self.connect(peer))
                case ["send", peer, path]:
                    self.start(self.send(peer, pathlib.Path(path)))
                case command:
                    say("error: no such command:", *command)

    async def follow_signalling(self):
        """Registers at the signalling server, does what it says, and comes back to it when it has gone."""
        while True:
            try:
                reader, self.signalling = await asyncio.open_connection(*self.arguments.signalling)
                self.signal(register=self.arguments.name)
                async for line in reader:
                    match json.loads(line):
                        case {"registered": name}:
                            say("ready as", name)
                        case {"error": reason, "to": peer} if peer in self.answers:
                            self.answers.pop(peer).set_exception(ConnectionError(reason))
                        case {"kind": "answer", "from": peer, **answer} if peer in self.answers:
                            self.answers.pop(peer).set_result(answer)
                        case {"kind": "offer", "from": peer, **offer}:
                            self.start(self.connect(peer, offer))
                say("error: the signalling server has closed the connection")
            except OSError as error:
                say("error: no signalling server:", error)
            self.signalling = None
            await asyncio.sleep(SIGNALLING_RETRY)

    def signal(self, **message):
        if self.signalling is None:
            raise ConnectionError("no signalling server")
        self.signalling.write(json.dumps(message).encode() + b"\n")

    async def connect(self, peer, offer=None):
        """Answers an offer or, where there is none, makes one. Who makes the offer has the controlling role."""
        ice = Connection(
            ice_controlling=offer is None,
            stun_server=self.arguments.turn,
            turn_server=self.arguments.turn,
            turn_username=self.arguments.user,
            turn_password=self.arguments.password,
            use_ipv6=False,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await ice.gather_candidates()
                description = {
                    "username": ice.local_username,
                    "password": ice.local_password,
                    "candidates": [candidate.to_sdp() for candidate in ice.local_candidates],
                }
                if offer is None:
                    remote = await self.ask(peer, description)
                else:
                    answer = functools.partial(self.signal, to=peer, kind="answer", **description)
                    asyncio.get_running_loop().call_later(HEAD_START, answer)
                    remote = offer
                # It is not. But then aioice nominates one pair, instead of each that it checks, of which the two sides may take two.
                ice.remote_is_lite = True
                ice.remote_username = remote["username"]
                ice.remote_password = remote["password"]
                for candidate in remote["candidates"]:
                    await ice.add_remote_candidate(Candidate.from_sdp(candidate))
                await ice.add_remote_candidate(None)
                await ice.connect()
        except (OSError, TransactionError) as error:
            say(f"failed: {peer}: {str(error) or f'timed out after {CONNECT_TIMEOUT} s'}")
            await ice.close()
            return
        say(f"connected peer={peer} path={path_of(ice)}")
        files = self.files[peer] = Files(ice, peer)
        try:
            await files.receive()
        except ConnectionError as error:
            say(f"lost peer={peer}: {error}")

    async def ask(self, peer, offer):
        """Sends an offer, and returns the answer to it."""
        answer = self.answers[peer] = asyncio.get_running_loop().create_future()
        try:
            self.signal(to=peer, kind="offer", **offer)
            return await answer
        finally:
            self.answers.pop(peer, None)

    async def send(self, peer, path):
        if peer not in self.files:
            say("error: not connected to", peer)
            return
        try:
            await self.files[peer].send(path)
        except* OSError as errors:
            say(f"error: {path} to {peer}: {errors.exceptions[0]}")


def path_of(ice):
    """Whether the nominated pair has a relayed candidate at either end.

    By address, since one that was learnt from a check is of type prflx. aioice 0.8 has no public name for the pair.
    """
    relays = {candidate.host for candidate in ice.local_candidates + ice.remote_candidates if candidate.type == "relay"}
    pair = ice._nominated[1]
    return "relay" if relays & {pair.local_addr[0], pair.remote_addr[0]} else "direct"


def server(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--signalling", type=server, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--turn", type=server, required=True, metavar="ADDRESS:PORT", help="used for STUN as well")
    parser.add_argument("--user", required=True, help="at the TURN server")
    parser.add_argument("--password", required=True)
    asyncio.run(Node(parser.parse_args()).run())


main()
