"""The signalling server of the ICE example: passes messages on from one peer to another.

Both ways go JSON objects, one a line. A peer first says {"register": NAME}, and is told {"registered": NAME}. Each further line
names the peer that it is for in "to"; that one gets it with "from" set.
"""

import asyncio
import json
import sys


class Signalling:
    """The peers that are registered now, by name."""

    def __init__(self):
        self.peers = {}

    async def serve(self, reader, writer):
        """Serves one peer until it closes its connection."""
        name = None

        def tell(peer, **message):
            peer.write(json.dumps(message).encode() + b"\n")

        try:
            async for line in reader:
                message = json.loads(line)
                if "register" in message:
                    name = message["register"]
                    # A node that was started anew takes the place of its predecessor.
                    self.peers[name] = writer
                    tell(writer, registered=name)
                elif message["to"] in self.peers:
                    tell(self.peers[message["to"]], **message | {"from": name})
                else:
                    tell(writer, error=f"no peer {message['to']} has registered", to=message["to"])
        except (OSError, ValueError, LookupError) as error:
            print(f"{name}: {error!r}", flush=True)
        finally:
            if self.peers.get(name) is writer:
                del self.peers[name]
            writer.close()


async def main(address, port):
    server = await asyncio.start_server(Signalling().serve, address, int(port))
    print(f"listening on {address}:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1].rsplit(":", 1)))
