"""Run on a proxy's host: a query through the pooler every 100 ms, until standard input ends.

Each by a connection that stays, as the proxy's do, and by one made for it. Prints one JSON object.
Argument: a JSON object of psycopg.connect's arguments.
"""

import contextlib
import json
import select
import sys
import time

import psycopg

where = json.loads(sys.argv[1])


def connect():
    return psycopg.connect(**where, connect_timeout=10, prepare_threshold=None, autocommit=True)


done, failures, users, longest_ms = 0, [], [], 0.0
lasting = connect()
while not select.select([sys.stdin], [], [], 0.1)[0]:
    for is_new in (False, True):
        started = time.monotonic()
        done += 1
        try:
            with connect() if is_new else contextlib.nullcontext(lasting) as link:
                user = link.execute("SELECT session_user::text").fetchone()[0]
            if user not in users:
                users.append(user)
        except psycopg.Error as error:
            failures.append([time.time(), is_new, str(error)])
            if lasting.closed:
                lasting = connect()
        longest_ms = max(longest_ms, (time.monotonic() - started) * 1000)
print(json.dumps({"done": done, "failures": failures, "users": users, "longest_ms": longest_ms}))
