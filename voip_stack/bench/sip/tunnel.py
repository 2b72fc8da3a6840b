"""TLS for sipp, in the lab's outside guest: `python3 tunnel.py ORDER`.

Debian's sipp does not get through a handshake here (it is built with wolfSSL: "Unable to send TLS
message"). So it speaks TCP to this, and this TLS to the proxy: a connection for each of sipp's, the
proxy's name and certificate verified. Standard library only. The order, in JSON: {"address",
"port", "server_name", "ca" (file), "listen" (port of the loopback)}. Prints a line when it listens;
ends when it is told to.
"""

import asyncio
import json
import ssl
import sys

CHUNK = 65536


async def passed(reader, writer):
    """Everything from one side to the other, and its end."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass  # either side may go at any time
    finally:
        writer.close()


async def main(order):
    context = ssl.create_default_context(cafile=order["ca"])

    async def taken(reader, writer):
        there, back = await asyncio.open_connection(
            order["address"], order["port"], ssl=context, server_hostname=order["server_name"]
        )
        await asyncio.gather(passed(reader, back), passed(there, writer))

    server = await asyncio.start_server(taken, "127.0.0.1", order["listen"])
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
