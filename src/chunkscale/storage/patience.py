"""How long a store is waited for, and how often it is asked again."""

from __future__ import annotations

from datetime import timedelta

#: A busy server is asked again for some seconds, and a request is given up after some minutes.
RETRIES = 6

FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=250), timedelta(seconds=4)

REQUEST_SECONDS = 120

#: Whether a server listens is known after this time.
CONNECT_SECONDS = 5.0

#: A server that sends nothing for so long will not send anything, nor one with so few bytes a
#: second: a chunk would take days.
SILENT_SECONDS, LEAST_SPEED = 60, 100

#: Of an answer from a web server, from the first byte to the last.
LONGEST_SECONDS = 900

#: Local files that are waited for are looked at so often: opening a pipe never ends.
LOOK_SECONDS = 2.0

#: A busy server is asked so often, which takes some seconds (tensorstore's default is a quarter
#: of an hour); after that a region is tried again from its beginning.
ATTEMPTS = 4
