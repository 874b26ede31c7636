"""The machine code of the stream engine: every loop over state, and nothing that knows a feature's name.

One arena of int64 words holds all state; an address is an index into it, 0 is nowhere. Its first words are the head
(where the free part begins, ...). Blocks are powers of two long; freed ones wait in a list per size. A hash table leads
from (entity, key) to a record:

    record       entity, key, expires_us, touched_us, then per aggregation the address of its block (or 0)
    aggregation  its size class, latest t of an event of sign +1, then two words per store
    store        block << 28 | capacity in cells;  head << 32 | count
    tile store   a ring of the non-empty tiles, oldest first: start, [latest t,] the words of the measures
    value store  for distinct: value, last seen; the newest `cap` by (last seen, value)

No event costs more than the tiles it touches, and nothing here makes a Python object. All of it stands in one file
because numba's cache of a kernel looks at no other.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from greenlane.features.definition import ABSENT, EMPTY, NEVER, WARMING

Ints = npt.NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., object])

# the head, at the front of the arena
TOP, RECORDS, HAND, NOW, FIRST_COMPLETE, LARGEST, NEW_WORDS, FREE = 0, 1, 2, 3, 4, 5, 6, 8
HEAD_WORDS: Final = FREE + 56
UNKNOWN: Final = NEVER

# words of a row: what happened, or what is asked
INGEST, EMITS, SIGN, OCCURRED, PAYMENT, WANTED, ROW_HEAD = 0, 1, 2, 3, 4, 5, 6
READ_ONLY: Final = -1
"""EMITS of a row that is a question and no entry."""

# columns of the program's tables
PART_FROM, PART_TO, RECORD_CLASS, AGG_FROM, AGG_TO = 0, 1, 2, 3, 4
ATOM, ABSENT_VALUE = 0, 1
A_ENTITY, A_PLACE, A_SOURCE, A_TIME, A_TTL, A_WHERE, A_CLASS = 0, 1, 2, 3, 4, 5, 6
A_STORE_FROM, A_STORE_TO, A_SLOT_FROM, A_SLOT_TO, A_TIMED, A_COLUMN_FROM, A_COLUMN_TO = 7, 8, 9, 10, 11, 12, 13
S_KIND, S_HOP, S_REACH, S_WORDS, S_ATOM, S_ABSENT, S_CAP = 0, 1, 2, 3, 4, 5, 6
SLOT_OP, SLOT_ATOM, SLOT_AT = 0, 1, 2
C_OP, C_WIDTH, C_HOP, C_DELAY, C_STORE, C_AT, C_WORDS = 0, 1, 2, 3, 4, 5, 6
TILES, VALUES = 0, 1
COUNT, SUM, MIN, MAX, LAST, FIRST, TIME_SINCE, GAP, DISTINCT, SEEN = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
"""In the order of `definition.OPS`."""

NAME, REF = 0, 1

# words of a record and of an aggregation's block
ENTITY, KEY, EXPIRES, TOUCHED, RECORD_HEAD = 0, 1, 2, 3, 4
CLASS_OF_BLOCK, LATEST, BLOCK_HEAD = 0, 1, 2
SWEPT_PER_ENTRY: Final = 16


class Program(NamedTuple):
    """A feature set as tables of integers; what their columns hold is named above."""

    entities: Ints
    parts: Ints
    aggregations: Ints
    stores: Ints
    slots: Ints
    columns: Ints


PROGRAM_WIDTH: Final = 14
"""One array crosses from Python faster than six: row 0 of a program holds how many rows each table has."""


class State(NamedTuple):
    arena: Ints
    table: Ints
    """int64[slots, 2]: the key of each slot (its entity stands in the record) and the address of its record, or 0."""


def kernel(function: F) -> F:
    """Compiled once per machine; divisions follow numpy, so nothing here can raise."""
    return cast(F, njit(cache=True, error_model="numpy")(function))


@kernel
def tables(program: Ints) -> Program:
    """The tables that lie one after the other in a program."""
    n = program[0]
    a, b, c, d = 1 + n[0], 1 + n[0] + n[1], 1 + n[0] + n[1] + n[2], 1 + n[0] + n[1] + n[2] + n[3]
    e, f = d + n[4], d + n[4] + n[5]
    return Program(program[1:a], program[a:b], program[b:c], program[c:d], program[d:e], program[e:f])


# ---- keys


@kernel
def scramble(x: int) -> int:
    """The finaliser of splitmix64 on a signed word."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@kernel
def key_of(program: Program, row: Ints, entity: int) -> int:
    """The 64-bit key of `row` for an entity, its parts mixed in order; ABSENT where a part is absent."""
    begin, end = program.entities[entity, PART_FROM], program.entities[entity, PART_TO]
    key = row[program.parts[begin, ATOM]]
    if key == program.parts[begin, ABSENT_VALUE]:
        return ABSENT
    for i in range(begin + 1, end):
        part = row[program.parts[i, ATOM]]
        if part == program.parts[i, ABSENT_VALUE]:
            return ABSENT
        key = scramble(key) * 31 + part
    return scramble(key) if end - begin > 1 else key


@kernel
def home_of(entity: int, key: int) -> int:
    """Hash of a record's name; the low bits are its slot."""
    return scramble(key + entity * -7046029254386353131)


@kernel
def find(state: State, entity: int, key: int) -> int:
    """The table slot of a record, or the bitwise inverse of the slot where it would go."""
    mask = len(state.table) - 1
    at = home_of(entity, key) & mask
    while state.table[at, REF] != 0:
        if state.table[at, NAME] == key and state.arena[state.table[at, REF] + ENTITY] == entity:
            return at
        at = (at + 1) & mask
    return ~at


@kernel
def rehash(state: State, larger: Ints) -> None:
    """Every record of `state` into an empty, larger table."""
    mask = len(larger) - 1
    for i in range(len(state.table)):
        if state.table[i, REF] != 0:
            at = home_of(state.arena[state.table[i, REF] + ENTITY], state.table[i, NAME]) & mask
            while larger[at, REF] != 0:
                at = (at + 1) & mask
            larger[at] = state.table[i]


@kernel
def unlink(state: State, slot: int) -> None:
    """Take a slot out of the table and close the gap, so that no tombstone stays."""
    table, mask = state.table, len(state.table) - 1
    at = slot
    while True:
        at = (at + 1) & mask
        if table[at, REF] == 0:
            break
        home = home_of(state.arena[table[at, REF] + ENTITY], table[at, NAME]) & mask
        if ((at - home) & mask) >= ((at - slot) & mask):
            table[slot] = table[at]
            slot = at
    table[slot, REF] = 0


# ---- blocks


@kernel
def allocate(arena: Ints, size_class: int) -> int:
    """A block of 2**size_class words, zeroed. The caller has made sure of room (`room_needed`)."""
    block = arena[FREE + size_class]
    if block != 0:
        arena[FREE + size_class] = arena[block]
    else:
        block = arena[TOP]
        arena[TOP] += 1 << size_class
    arena[LARGEST] = max(arena[LARGEST], size_class)
    for word in range(block, block + (1 << size_class)):
        arena[word] = 0
    return block  # type: ignore[no-any-return] # numpy's stubs: an element is Any


@kernel
def release(arena: Ints, block: int, size_class: int) -> None:
    arena[block] = arena[FREE + size_class]
    arena[FREE + size_class] = block


@kernel
def class_for(words: int) -> int:
    size_class = 1
    while 1 << size_class < words:
        size_class += 1
    return size_class


@kernel
def room_needed(program: Program, state: State) -> int:
    """Words that one entry can need at most: every record and block new, and every store doubled."""
    return state.arena[NEW_WORDS] + len(program.stores) * (2 << state.arena[LARGEST])  # type: ignore[no-any-return] # as above


@kernel
def store_at(arena: Ints, at: int) -> tuple[int, int, int, int]:
    """(block, capacity, head, count) of a store."""
    return arena[at] >> 28, arena[at] & 0xFFFFFFF, arena[at + 1] >> 32, arena[at + 1] & 0xFFFFFFFF


@kernel
def release_store(arena: Ints, at: int, words: int) -> None:
    if arena[at] != 0:
        release(arena, arena[at] >> 28, class_for((arena[at] & 0xFFFFFFF) * words))
        arena[at], arena[at + 1] = 0, 0


@kernel
def around(place: int, capacity: int) -> int:
    """A place in a ring (a division would cost more than the rest)."""
    return place - capacity if place >= capacity else place


@kernel
def grown(arena: Ints, at: int, words: int) -> None:
    """Move a store's ring to a block twice as long (or give it its first), oldest first."""
    block, capacity, head, count = store_at(arena, at)
    size_class = class_for(capacity * words) + 1 if block else class_for(words)
    larger = allocate(arena, size_class)
    for i in range(count):
        source = block + around(head + i, capacity) * words
        for w in range(words):
            arena[larger + i * words + w] = arena[source + w]
    release_store(arena, at, words)
    arena[at], arena[at + 1] = larger << 28 | (1 << size_class) // words, count


@kernel
def drop_record(program: Program, state: State, slot: int) -> None:
    arena, record = state.arena, state.table[slot, REF]
    entity = arena[record + ENTITY]
    unlink(state, slot)
    for a in range(program.entities[entity, AGG_FROM], program.entities[entity, AGG_TO]):
        block = arena[record + RECORD_HEAD + program.aggregations[a, A_PLACE]]
        if block:
            begin = program.aggregations[a, A_STORE_FROM]
            for s in range(begin, program.aggregations[a, A_STORE_TO]):
                release_store(arena, block + BLOCK_HEAD + 2 * (s - begin), program.stores[s, S_WORDS])
            release(arena, block, program.aggregations[a, A_CLASS])
    release(arena, record, program.entities[entity, RECORD_CLASS])
    state.arena[RECORDS] -= 1


# ---- stores


@kernel
def forget(arena: Ints, at: int, words: int, before: int) -> None:
    """Drop the tiles that start at or before `before`.

    Tiles start at multiples of the hop, so "starts before floor(x / hop) * hop" is "starts at or before x - hop": no
    division where every event passes.
    """
    if arena[at] == 0:
        return
    block, capacity, head, count = store_at(arena, at)
    while count > 0 and arena[block + head * words] <= before:
        head = head + 1 if head + 1 < capacity else 0
        count -= 1
    if count == 0:
        release_store(arena, at, words)
    else:
        arena[at + 1] = head << 32 | count


@kernel
def tile_at(arena: Ints, at: int, words: int, hop: int, t: int) -> tuple[int, bool]:
    """Address of the tile that holds `t`, and whether it is new (all zero but its start)."""
    block, capacity, head, count = store_at(arena, at)
    place = count
    while place > 0:
        tile = block + around(head + place - 1, capacity) * words
        if arena[tile] <= t:
            if t < arena[tile] + hop:
                return tile, False
            break
        place -= 1
    if count == capacity:
        grown(arena, at, words)
        block, capacity, head, count = store_at(arena, at)
    for i in range(count, place, -1):
        above, below = block + around(head + i, capacity) * words, block + around(head + i - 1, capacity) * words
        for w in range(words):
            arena[above + w] = arena[below + w]
    tile = block + around(head + place, capacity) * words
    arena[tile] = t // hop * hop
    for word in range(tile + 1, tile + words):
        arena[word] = 0
    arena[at + 1] = head << 32 | (count + 1)
    return tile, True


@kernel
def fold_tile(program: Program, arena: Ints, a: int, tile: int, row: Ints, t: int, new: bool) -> None:
    """One event into the words of one tile. Entries come in order, so an equal t is later."""
    sign, slots, timed = row[SIGN], program.slots, program.aggregations[a, A_TIMED]
    if new and timed:
        arena[tile + 1] = NEVER
    latest = arena[tile + 1] if timed else NEVER
    for s in range(program.aggregations[a, A_SLOT_FROM], program.aggregations[a, A_SLOT_TO]):
        op, at = slots[s, SLOT_OP], tile + slots[s, SLOT_AT]
        if op == COUNT:
            arena[at] += sign
            continue
        value = row[slots[s, SLOT_ATOM]]
        if op == SUM:
            arena[at] += sign * value
        elif sign < 0:
            continue
        elif op == MIN:
            arena[at] = value if latest == NEVER else min(arena[at], value)
        elif op == MAX:
            arena[at] = value if latest == NEVER else max(arena[at], value)
        elif op == LAST:
            arena[at] = value if t >= latest else arena[at]
        elif op == FIRST:
            if latest == NEVER or t < arena[at]:
                arena[at], arena[at + 1] = t, value
        elif op == GAP:
            arena[at] = latest if t >= latest else max(arena[at], t)
    if timed and sign > 0:
        arena[tile + 1] = max(latest, t)


@kernel
def fold_value(arena: Ints, at: int, cap: int, value: int, t: int) -> None:
    """Remember when a value was last seen; beyond `cap` the oldest by (t, value) goes."""
    block, capacity, _, count = store_at(arena, at)
    for cell in range(block, block + 2 * count, 2):
        if arena[cell] == value:
            arena[cell + 1] = max(arena[cell + 1], t)
            return
    if count < cap:
        if count == capacity:
            grown(arena, at, 2)
            block = arena[at] >> 28
        arena[block + 2 * count], arena[block + 2 * count + 1] = value, t
        arena[at + 1] = count + 1
        return
    oldest = block
    for cell in range(block, block + 2 * count, 2):
        seen, than = arena[cell + 1], arena[oldest + 1]
        if seen < than or (seen == than and arena[cell] < arena[oldest]):
            oldest = cell
    if t > arena[oldest + 1] or (t == arena[oldest + 1] and value > arena[oldest]):
        arena[oldest], arena[oldest + 1] = value, t


# ---- one entry


@kernel
def record_for(program: Program, state: State, entity: int, key: int) -> int:
    slot = find(state, entity, key)
    if slot >= 0:
        return state.table[slot, REF]  # type: ignore[no-any-return] # numpy's stubs: an element is Any
    arena = state.arena
    record = allocate(arena, program.entities[entity, RECORD_CLASS])
    arena[record + ENTITY], arena[record + KEY], arena[record + EXPIRES] = entity, key, NEVER
    state.table[~slot, NAME], state.table[~slot, REF] = key, record
    arena[RECORDS] += 1
    return record


@kernel
def apply_to(program: Program, state: State, a: int, record: int, row: Ints, t: int) -> None:
    """A kept event into one aggregation of its record."""
    arena, now = state.arena, row[INGEST]
    place = record + RECORD_HEAD + program.aggregations[a, A_PLACE]
    block = arena[place]
    if block == 0:
        block = allocate(arena, program.aggregations[a, A_CLASS])
        arena[place] = block
        arena[block + LATEST] = NEVER
    arena[record + EXPIRES] = max(arena[record + EXPIRES], t + program.aggregations[a, A_TTL])
    if row[SIGN] > 0:
        arena[block + LATEST] = max(arena[block + LATEST], t)
    begin = program.aggregations[a, A_STORE_FROM]
    for s in range(begin, program.aggregations[a, A_STORE_TO]):
        at = block + BLOCK_HEAD + 2 * (s - begin)
        if program.stores[s, S_KIND] == VALUES:
            value = row[program.stores[s, S_ATOM]]
            if row[SIGN] > 0 and value != program.stores[s, S_ABSENT]:
                fold_value(arena, at, program.stores[s, S_CAP], value, t)
            continue
        hop, words = program.stores[s, S_HOP], program.stores[s, S_WORDS]
        out_of_reach = now - program.stores[s, S_REACH] - hop
        forget(arena, at, words, out_of_reach)
        if t - hop >= out_of_reach or t // hop * hop > out_of_reach:
            tile, new = tile_at(arena, at, words, hop, t)
            fold_tile(program, arena, a, tile, row, t, new)


@kernel
def apply_row(program: Program, state: State, row: Ints) -> None:
    now = row[INGEST]
    entity, record, key = -1, 0, ABSENT
    for e in range(program.entities.shape[0]):
        for a in range(program.entities[e, AGG_FROM], program.entities[e, AGG_TO]):
            where = program.aggregations[a, A_WHERE]
            if row[EMITS] & program.aggregations[a, A_SOURCE] == 0 or (where >= 0 and row[where] == 0):
                continue
            t = min(row[OCCURRED] if program.aggregations[a, A_TIME] == 0 else row[PAYMENT], now)
            if t < now - program.aggregations[a, A_TTL]:
                continue
            if entity != e:
                entity, record, key = e, 0, key_of(program, row, e)
            if key == ABSENT:
                break
            if record == 0:
                record = record_for(program, state, e, key)
                state.arena[record + TOUCHED] = now
            apply_to(program, state, a, record, row, t)


@kernel
def sweep(program: Program, state: State, now: int) -> None:
    """Look at the next few slots and drop what no read can reach any more."""
    mask = len(state.table) - 1
    at = state.arena[HAND] & mask
    for _ in range(SWEPT_PER_ENTRY):
        if state.table[at, REF] != 0 and state.arena[state.table[at, REF] + EXPIRES] < now:
            drop_record(program, state, at)
        else:
            at = (at + 1) & mask
    state.arena[HAND] = at


# ---- one read


@kernel
def tile_value(arena: Ints, at: int, columns: Ints, c: int, now: int) -> int:
    """One measure over the tiles of one window, newest first. No division: see `forget`."""
    op, words, slot = columns[c, C_OP], columns[c, C_WORDS], columns[c, C_AT]
    block, capacity, head, count = store_at(arena, at)
    delay = columns[c, C_DELAY]
    before_left, last_start = now - delay - columns[c, C_WIDTH] - columns[c, C_HOP], now - delay
    total, latest, before = 0, NEVER, NEVER
    place = around(head + count - 1, capacity)
    for _ in range(count):
        tile = block + place * words
        place = place - 1 if place > 0 else capacity - 1
        if arena[tile] <= before_left:
            break
        if delay > 0 and arena[tile] > last_start:
            continue
        if op in (COUNT, SUM):
            total += arena[tile + slot]
            continue
        t = arena[tile + 1]
        if t == NEVER:
            continue
        if op == GAP:
            if latest != NEVER:
                before = t
                break
            latest, before = t, arena[tile + slot]
            if before != NEVER:
                break
            continue
        if op == MIN:
            total = arena[tile + slot] if latest == NEVER else min(total, arena[tile + slot])
        elif op == MAX:
            total = arena[tile + slot] if latest == NEVER else max(total, arena[tile + slot])
        elif op == FIRST:
            total = arena[tile + slot + 1]
        else:
            total = arena[tile + slot] if op == LAST else now - t
            latest = t
            break
        latest = t
    if op in (COUNT, SUM):
        return total
    if op == GAP:
        return EMPTY if before == NEVER else latest - before
    return EMPTY if latest == NEVER else total


@kernel
def value_count(arena: Ints, at: int, columns: Ints, c: int, now: int) -> int:
    block, count = arena[at] >> 28, arena[at + 1]
    left = (now - columns[c, C_WIDTH]) // columns[c, C_HOP] * columns[c, C_HOP]
    seen = 0
    for cell in range(block, block + 2 * count, 2):
        if arena[cell + 1] >= left:
            seen += 1
    return seen


@kernel
def read_row(program: Program, state: State, row: Ints, out: Ints) -> None:
    """Every column for the keys of `row`, marks by their precedence."""
    arena, columns, now = state.arena, program.columns, row[INGEST]
    first_complete = state.arena[FIRST_COMPLETE] if state.arena[FIRST_COMPLETE] != UNKNOWN else now
    for e in range(program.entities.shape[0]):
        key = key_of(program, row, e)
        slot = find(state, e, key) if key != ABSENT else -1
        record = state.table[slot, REF] if slot >= 0 else 0
        if record:
            arena[record + TOUCHED] = now
        for a in range(program.entities[e, AGG_FROM], program.entities[e, AGG_TO]):
            block = arena[record + RECORD_HEAD + program.aggregations[a, A_PLACE]] if record else 0
            ttl = program.aggregations[a, A_TTL]
            never = block == 0 or arena[block + LATEST] == NEVER or arena[block + LATEST] < now - ttl
            for c in range(program.aggregations[a, A_COLUMN_FROM], program.aggregations[a, A_COLUMN_TO]):
                op = columns[c, C_OP]
                if key == ABSENT:
                    out[c] = ABSENT
                elif op == SEEN:
                    out[c] = 1 if not never else WARMING if now - ttl < first_complete else NEVER
                elif now - columns[c, C_WIDTH] - columns[c, C_DELAY] < first_complete:
                    out[c] = WARMING
                elif never:
                    out[c] = NEVER
                elif op == DISTINCT:
                    out[c] = value_count(arena, block + columns[c, C_STORE], columns, c, now)
                else:
                    out[c] = tile_value(arena, block + columns[c, C_STORE], columns, c, now)


@kernel
def fold(words: Ints, state: State, rows: Ints, out: Ints, begin: int) -> int:
    """Answer and apply `rows[begin:]` in order; where room runs out, the index of the row to go on from."""
    program = tables(words)
    inputs, count = out.shape[1] - program.columns.shape[0], len(rows)
    for i in range(begin, count):
        row = rows[i]
        if row[EMITS] > 0:
            if state.arena[TOP] + room_needed(program, state) > state.arena.size:
                return i
            if 4 * (state.arena[RECORDS] + program.entities.shape[0]) > 3 * len(state.table):
                return i
        if row[WANTED] >= 0:
            answer = out[row[WANTED]]
            answer[:inputs] = row[row.size - inputs :]
            read_row(program, state, row, answer[inputs:])
        if row[EMITS] > 0:
            apply_row(program, state, row)
        if row[EMITS] != READ_ONLY:
            state.arena[NOW] = max(state.arena[NOW], row[INGEST])
            sweep(program, state, row[INGEST])
    return count


# ---- a record as words, free of where it lies


@kernel
def sort_pairs(words: Ints, begin: int, count: int) -> None:
    """Values of a value store by (value): insertion sort, at most 256."""
    for i in range(1, count):
        value, seen, j = words[begin + 2 * i], words[begin + 2 * i + 1], i
        while j > 0 and words[begin + 2 * j - 2] > value:
            words[begin + 2 * j], words[begin + 2 * j + 1] = words[begin + 2 * j - 2], words[begin + 2 * j - 1]
            j -= 1
        words[begin + 2 * j], words[begin + 2 * j + 1] = value, seen


@kernel
def packed_size(program: Program, state: State, record: int) -> int:
    arena, entity = state.arena, state.arena[record + ENTITY]
    size = 3
    for a in range(program.entities[entity, AGG_FROM], program.entities[entity, AGG_TO]):
        size += 1
        block = arena[record + RECORD_HEAD + program.aggregations[a, A_PLACE]]
        begin = program.aggregations[a, A_STORE_FROM]
        for s in range(begin, program.aggregations[a, A_STORE_TO]):
            size += 1
            if block:
                size += (arena[block + BLOCK_HEAD + 2 * (s - begin) + 1] & 0xFFFFFFFF) * program.stores[s, S_WORDS]
    return size


@kernel
def pack(program: Program, state: State, record: int, now: int, words: Ints) -> int:
    """Write entity, key, expires_us, then per aggregation its latest t and stores (count, cells); returns the length.

    Only what a read at `now` or later can reach, in an order that depends on nothing but the events.
    """
    arena, entity = state.arena, state.arena[record + ENTITY]
    words[0], words[1], words[2] = entity, arena[record + KEY], arena[record + EXPIRES]
    n = 3
    for a in range(program.entities[entity, AGG_FROM], program.entities[entity, AGG_TO]):
        block = arena[record + RECORD_HEAD + program.aggregations[a, A_PLACE]]
        latest = arena[block + LATEST] if block else NEVER
        words[n] = latest if latest >= now - program.aggregations[a, A_TTL] else NEVER
        n += 1
        begin = program.aggregations[a, A_STORE_FROM]
        for s in range(begin, program.aggregations[a, A_STORE_TO]):
            counted_at = n
            words[n] = 0
            n += 1
            if block == 0:
                continue
            at, width = block + BLOCK_HEAD + 2 * (s - begin), program.stores[s, S_WORDS]
            store, capacity, head, count = store_at(arena, at)
            out_of_reach = now - program.stores[s, S_REACH] - program.stores[s, S_HOP]
            values = program.stores[s, S_KIND] == VALUES
            for i in range(count):
                cell = store + around(head + i, capacity) * width
                if arena[cell + 1 if values else cell] > out_of_reach:
                    words[n : n + width] = arena[cell : cell + width]
                    words[counted_at] += 1
                    n += width
            if values:
                sort_pairs(words, counted_at + 1, words[counted_at])
    return n


@kernel
def unpack(program: Program, state: State, words: Ints, now: int) -> None:
    """Put a packed record back. The caller has made sure of room: at most twice its words, and `room_needed`."""
    arena, entity = state.arena, words[0]
    record = record_for(program, state, entity, words[1])
    arena[record + EXPIRES], arena[record + TOUCHED] = words[2], now
    n = 3
    for a in range(program.entities[entity, AGG_FROM], program.entities[entity, AGG_TO]):
        block = allocate(arena, program.aggregations[a, A_CLASS])
        arena[record + RECORD_HEAD + program.aggregations[a, A_PLACE]] = block
        arena[block + LATEST] = words[n]
        n += 1
        begin = program.aggregations[a, A_STORE_FROM]
        for s in range(begin, program.aggregations[a, A_STORE_TO]):
            count, width = words[n], program.stores[s, S_WORDS]
            n += 1
            if count:
                size_class = class_for(count * width)
                store = allocate(arena, size_class)
                arena[store : store + count * width] = words[n : n + count * width]
                at = block + BLOCK_HEAD + 2 * (s - begin)
                arena[at], arena[at + 1] = store << 28 | (1 << size_class) // width, count
                n += count * width


@kernel
def coldest(state: State, sample: int) -> int:
    """The slot touched longest ago among the next `sample` filled ones; -1 where there is none."""
    mask = len(state.table) - 1
    at, found, seen = state.arena[HAND] & mask, -1, 0
    for _ in range(len(state.table)):
        if state.table[at, REF] != 0:
            seen += 1
            if (
                found < 0
                or state.arena[state.table[at, REF] + TOUCHED] < state.arena[state.table[found, REF] + TOUCHED]
            ):
                found = at
            if seen == sample:
                break
        at = (at + 1) & mask
    state.arena[HAND] = at
    return found
