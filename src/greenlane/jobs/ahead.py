"""What a generator makes, made ahead in a process of its own: items travel as msgpack, through a bounded pipe."""

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import TypeVar

import msgspec

T = TypeVar("T")


def made_ahead(make: Callable[..., Iterator[T]], *given: object, of: type[T]) -> Iterator[T]:
    """`make(*given)`, an item of type `of` after the other, as in this process; what is given is pickled.

    RuntimeError where the other process failed: it has told why on standard error.
    """
    spawning = multiprocessing.get_context("spawn")
    received, sent = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_send, args=(sent, make, given), daemon=True)
    process.start()
    sent.close()
    decoder = msgspec.msgpack.Decoder(of)
    try:
        while item := received.recv_bytes():
            yield decoder.decode(item)
    except (EOFError, OSError) as error:
        raise RuntimeError(f"the process of {make.__name__} ended before its work") from error
    finally:
        received.close()
        process.join()


def _send(sent: Connection, make: Callable[..., Iterator[object]], given: tuple[object, ...]) -> None:
    gc.disable()  # many lasting objects, few cycles, and the process ends with its work
    encode = msgspec.msgpack.Encoder().encode
    try:
        for item in make(*given):
            sent.send_bytes(encode(item))
        sent.send_bytes(b"")
    except BrokenPipeError:
        return  # whoever asked has stopped
