#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvferry in a Python asyncio server: no extension module, no thread, one descriptor in the loop.

    asyncio_host.py [LIBKVFERRY.SO]

Operations become awaitables. kvf_op is never taken apart here: kvf_prep_*() fills it in. Sixteen conversations share
one system prompt; each turn retrieves what was there, "computes" the rest and stores it.
"""
import asyncio
import ctypes as C
import sys

CHUNK, BLOCK, ROW, BLOCKS = 64, 16, 128, 1024  # a token: 64 bfloat16 in K and in V, of one layer
NOW, BFLOAT16, DONE = 1, 2, 1
u8, i32, u32, u64, size_t, ptr = C.c_uint8, C.c_int32, C.c_uint32, C.c_uint64, C.c_size_t, C.c_void_p


def struct(name, *fields):
    return type(name, (C.Structure,), {"_fields_": [f for f in fields]})


Layer = struct("Layer", ("base", ptr * 2), ("device", i32), ("reserved", i32))
Group = struct("Group", ("size", size_t), ("n_layers", u32), ("planes", u32), ("heads", u32), ("head_elems", u32),
               ("dtype", C.c_int), ("block_tokens", u32), ("n_blocks", u32), ("block_stride", u64),
               ("token_stride", u64), ("head_stride", u64), ("layers", C.POINTER(Layer)))
Layout = struct("Layout", ("size", size_t), ("kind", C.c_int), ("payload_order", C.c_int), ("n_groups", u32),
                ("groups", C.POINTER(Group)), ("opaque", u64 * 2))
Identity = struct("Identity", ("size", size_t), ("model", C.c_char_p), ("revision", C.c_char_p), ("world_size", u32),
                  ("rank", u32), ("scale_fingerprint", u64), ("first_rank_only", u32), ("reserved", u32))
OpenParams = struct("OpenParams", ("size", size_t), ("config", ptr), ("identity", Identity),
                    ("layout", C.POINTER(Layout)), ("rest", u8 * 512))  # kvf_open_params_init() knows its size
BlockList = struct("BlockList", ("ids", C.POINTER(u32)), ("n", size_t), ("first_block", size_t))
Blocks = struct("Blocks", ("n_groups", size_t), ("groups", C.POINTER(BlockList)))
Span = struct("Span", ("first_token", size_t), ("n", size_t), ("blocks", C.POINTER(Blocks)))
Fence = struct("Fence", ("kind", u32), ("device", i32), ("word", ptr), ("value", u64), ("handle", ptr))
Completion = struct("Completion", ("op_id", u64), ("user_data", u64), ("kind", u8), ("op", u8), ("level", u8),
                    ("reason", u8), ("status", i32), ("tokens", u32), ("usable", u32), ("need", u32), ("layers", u32),
                    ("ram_tokens", u32), ("flags", u32), ("lease_id", u64), ("reserved", u64))


class Engine:
    """An engine in the running loop: submit() gives a future of the completion."""

    def __init__(self, lib, model, layout, **settings):
        self.lib, self.handle, self.waiting = lib, ptr(), {}
        lib.kvf_strerror.restype = lib.kvf_error_detail.restype = C.c_char_p
        config, params = ptr(), OpenParams()
        self.check(lib.kvf_config_create(C.byref(config), None))
        for key, value in settings.items():
            self.check(lib.kvf_config_set(config, key.encode(), str(value).encode(), None))
        lib.kvf_open_params_init(C.byref(params))
        params.config, params.identity.model, params.layout = config, model, C.pointer(layout)
        self.check(lib.kvf_engine_open(C.byref(self.handle), C.byref(params)))
        lib.kvf_config_destroy(config)
        # Readable while there is work, a completion or a timer that is due: one poll a wake-up.
        self.fd = self.check(lib.kvf_fd(self.handle))
        asyncio.get_running_loop().add_reader(self.fd, self.turn)

    def check(self, rc):
        if rc < 0:
            raise OSError(self.lib.kvf_strerror(rc).decode() + ": " + self.lib.kvf_error_detail(self.handle).decode())
        return rc

    def turn(self):
        done = (Completion * 16)()
        for c in done[:self.check(self.lib.kvf_poll(self.handle, done, 16))]:
            if c.kind == DONE:
                self.waiting.pop(c.op_id).set_result(Completion.from_buffer_copy(c))

    def submit(self, prepare, *args):
        op, op_id = (u64 * 32)(), u64()
        prepare(C.byref(op), *args)
        self.check(self.lib.kvf_submit(self.handle, C.byref(op), 1, C.byref(op_id)))
        future = asyncio.get_running_loop().create_future()
        self.waiting[op_id.value] = future
        return future

    async def close(self):
        self.check(self.lib.kvf_engine_shutdown(self.handle, 0, u64(2**64 - 1)))
        while not self.lib.kvf_engine_idle(self.handle):
            await asyncio.sleep(0)
        asyncio.get_running_loop().remove_reader(self.fd)
        self.check(self.lib.kvf_engine_close(self.handle))


class Cache:
    """The server's paged KV: one layer, K and V apart, in host memory."""

    def __init__(self):
        self.planes = [bytearray(BLOCKS * BLOCK * ROW) for _ in "kv"]
        self.buffers = [(C.c_char * len(p)).from_buffer(p) for p in self.planes]
        self.layer = (Layer * 1)(Layer((ptr * 2)(*[C.addressof(b) for b in self.buffers]), -1, 0))
        self.group = (Group * 1)(Group(C.sizeof(Group), 1, 2, 1, ROW // 2, BFLOAT16, BLOCK, BLOCKS, BLOCK * ROW, ROW,
                                       ROW, self.layer))
        self.layout = Layout(C.sizeof(Layout), 0, 0, 1, self.group)

    def row(self, blocks, at):
        start = (blocks[at // BLOCK] * BLOCK + at % BLOCK) * ROW
        return slice(start, start + ROW)

    def compute(self, blocks, tokens, first):
        for at in range(first, len(tokens)):
            for n, plane in enumerate(self.planes):
                plane[self.row(blocks, at)] = bytes((tokens[at] * 7 + at * 3 + n + i) & 255 for i in range(ROW))

    def wrong(self, blocks, tokens):
        return sum(plane[self.row(blocks, at)] != bytes((tokens[at] * 7 + at * 3 + n + i) & 255 for i in range(ROW))
                   for at in range(len(tokens)) for n, plane in enumerate(self.planes))


async def conversation(engine, cache, number, totals):
    """Four turns; each has the whole conversation so far as its prompt."""
    lib, seq = engine.lib, ptr()
    blocks = [number * (BLOCKS // 16) + i for i in range(BLOCKS // 16)]
    table = (u32 * len(blocks))(*blocks)
    lists = (BlockList * 1)(BlockList(table, len(blocks), 0))
    paged, now, tokens = Blocks(1, lists), Fence(NOW), []
    engine.check(lib.kvf_seq_open(engine.handle, None, C.byref(seq)))
    for turn in range(4):
        new = list(range(256)) if turn == 0 else [1000 * number + 100 * turn + i for i in range(128)]
        tokens += new
        engine.check(lib.kvf_seq_append(seq, (u32 * len(new))(*new), size_t(len(new))))
        for plane in cache.planes:  # other requests had these blocks meanwhile
            plane[cache.row(blocks, 0).start:cache.row(blocks, len(tokens) - 1).stop] = bytes(len(tokens) * ROW)
        hit = await engine.submit(lib.kvf_prep_lookup, seq, size_t(0), u32(0), u64(0))
        span = Span(0, hit.tokens, C.pointer(paged))
        got = await engine.submit(lib.kvf_prep_retrieve, seq, C.byref(span), C.byref(now))
        cache.compute(blocks, tokens, got.tokens)
        totals["prompt"] += len(tokens)
        totals["retrieved"] += got.tokens
        totals["wrong"] += cache.wrong(blocks, tokens)
        span = Span(0, len(tokens), C.pointer(paged))
        engine.check((await engine.submit(lib.kvf_prep_store, seq, C.byref(span), C.byref(now))).status)
    lib.kvf_seq_close(seq)


async def main(path):
    cache, totals = Cache(), {"prompt": 0, "retrieved": 0, "wrong": 0}
    engine = Engine(C.CDLL(path), b"asyncio-example", cache.layout, chunk_size=CHUNK, kvf_pool_slots=256)
    await asyncio.gather(*(conversation(engine, cache, n, totals) for n in range(16)))
    await engine.close()
    print("16 conversations: {prompt} prompt tokens, {retrieved} retrieved, {wrong} wrong rows".format(**totals))
    # The system prompt and all but the newest turn come from the cache, save what conversations compute side by side.
    return 0 if totals["wrong"] == 0 and totals["retrieved"] * 2 > totals["prompt"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "libkvferry.so.0")))
