"""How much one request may ask for. More is refused before any work is done; /openapi.json states all of it."""

MAX_BODY = 1 << 20  # bytes
MAX_K = 1000
MAX_HISTORY = 10_000  # items of one history
MAX_HISTORIES = 256  # histories of one request, and of one pass of the model
MAX_FILTER = 10_000  # items in exclude or allow
MAX_WORK = 200_000  # of one request: histories times k + exclude + allow
MAX_NAME = 256  # characters of an item id, a user id, a category, an agent or a search
MAX_EVENTS = 1000  # events of one request
MAX_FOUND = 100  # titles that a search returns
MAX_HEADERS = 1 << 16  # bytes of a request's line and headers
KEPT_EVENTS = 1000  # newest events of a user that are kept
ARRIVAL_SECONDS = 20.0  # a request that takes longer to arrive is given up, and its connection closed
LINGER_SECONDS = 2.0  # what a client still sends after it was refused is thrown away so long
LINGER_BYTES = 8 << 20  # and so much of it
IDLE_SECONDS = 75.0  # a connection without a request is closed
DRAIN_SECONDS = 20.0  # after SIGTERM: requests that are under way may take so long
