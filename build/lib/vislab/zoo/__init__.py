"""Small networks trained once on the worlds, and the door to the real ones: `zoo.load("clip")`."""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, dict.fromkeys(("Member", "check", "load", "make", "member", "read"), "base")
)
