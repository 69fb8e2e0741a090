"""How long a store is waited for, and how often it is asked again."""

from __future__ import annotations

from datetime import timedelta

#: A busy server is asked again for some seconds, and a request is given up after some minutes.
RETRIES = 6

FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=250), timedelta(seconds=4)

REQUEST_SECONDS = 120

#: A server that sends nothing for so long will not send anything.
SILENT_SECONDS = 60

#: A busy server is asked so often, which takes some seconds (tensorstore's default is a quarter
#: of an hour); after that a region is tried again from its beginning.
ATTEMPTS = 4
