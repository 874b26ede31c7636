"""HTTP load from one spinning thread: one request after the other, as many as go, or at a Poisson rate.

Open loop: a request's time counts from when it was due, so a server that falls behind cannot hide it.
"""

import collections
import random
import select
import socket
import time
from collections.abc import Callable, Iterator


def request(path: str, body: bytes, *, key: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One request at a time over one socket."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.received = b""

    def ask(self, message: bytes) -> bytes:
        """The answer's body; OSError where the server went away."""
        self.socket.sendall(message)
        while not self.take():
            pass
        return self.answer()

    def take(self) -> bool:
        """Receive once; True when the answer is whole."""
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionResetError("the server closed the connection")
        self.received += part
        at = self.received.find(b"\r\n\r\n")
        if at < 0:
            return False
        head = self.received[:at].lower()
        start = head.find(b"content-length:") + 15
        length = int(head[start : head.find(b"\r", start) if b"\r" in head[start:] else None])
        return len(self.received) >= at + 4 + length

    def answer(self) -> bytes:
        whole, self.received = self.received, b""
        if not whole.startswith(b"HTTP/1.1 200"):
            raise ValueError(whole[:600])
        return whole[whole.find(b"\r\n\r\n") + 4 :]


def open_loop(
    port: int,
    messages: Iterator[bytes],
    *,
    rate: float,
    seconds: float,
    seed: int,
    heard: Callable[[bytes], object] = len,
) -> list[float]:
    """Microseconds from due to answered, in order of answering. An infinite rate keeps all connections busy.

    `heard` is given each answer's body; ValueError where one is no 200.
    """
    chance, saturate = random.Random(seed), rate == float("inf")
    idle = collections.deque(Connection(port) for _ in range(16 if saturate else 64))
    of_fd, poll = {c.socket.fileno(): c for c in idle}, select.epoll()
    for fd in of_fd:
        poll.register(fd, select.EPOLLIN)
    taken: list[float] = []
    waiting: collections.deque[float] = collections.deque()
    due = time.perf_counter() + 0.01
    end = due + seconds
    while due < end or waiting or len(idle) < len(of_fd):
        now = time.perf_counter()
        while due < end and due <= now and (idle or not saturate):
            waiting.append(now if saturate else due)
            due = now if saturate else due + chance.expovariate(rate)
            if saturate and len(waiting) >= len(idle):
                break
        while waiting and idle:
            connection = idle.popleft()
            connection.due = waiting.popleft()
            connection.socket.sendall(next(messages))
        for fd, _ in poll.poll(0):
            connection = of_fd[fd]
            if connection.take():
                heard(connection.answer())
                taken.append((time.perf_counter() - connection.due) * 1e6)
                idle.append(connection)
    for connection in idle:
        connection.socket.close()
    return taken
