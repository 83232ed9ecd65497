"""Seeds that are derived from a recipe's seed, one for each purpose."""

import hashlib


def derived_seed(*parts: object) -> int:
    """A seed for one purpose: the same parts give the same number on every machine, other parts an unrelated one."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
