#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Token hit rate of a Mooncake trace under a cache of N chunks: a model that shares no code with kvferry.

A chunk is one 512-token block of the trace. Only full chunks are stored and count as hits; the partial last block of
a prompt is always recomputed. Rate = hit tokens / tokens of all prompts.

Every request, in order of the trace:
  1. hit = the longest prefix of its full chunks that are all resident;
  2. the hit chunks are touched, last one first, so that none of them is evicted to make room for the others of
     this prompt before an older one;
  3. each chunk behind the hit that is not resident is inserted, first one first, and while the cache is full the
     policy's victim goes;
  4. (lru) all resident chunks of the prompt are touched, last one first: the first chunk is now the most recent one
     and the suffix of a prompt is evicted before its prefix.

Step 4 is what makes the difference: without it (chunks left in the order they were inserted) the prefix is evicted
first and the rates at 1000 chunks fall from 4.59 % to 4.57 %. Inserting last chunk first gives the same rates.

Conversation trace, lru: 4.59 % at 1000 chunks, 6.86 % at 3000, 21.93 % at 10000, 33.71 % at 30000, 37.34 % infinite.

The other policies do what LMCache's do: lfu keeps buckets by number of uses, oldest first inside a bucket, a new
chunk has one use; fifo ignores hits; mru evicts what was touched or inserted last, which may be a chunk of the same
prompt.

--window N: step 3 takes N chunks of the prompt at a time. They are in use together: room is made for all of them
before the first one is inserted, and none of them, new or old, is a victim meanwhile. LMCache does the same with the
chunks of one store call, and passes over what cannot be evicted. It hardly matters but for mru, which otherwise
replaces one and the same place with every chunk of a prompt: 0.53 % at 1000 chunks with a window of 1, 2.27 % with 32.

usage: lru_model.py [--policy lru|lfu|fifo|mru] [--window N] [--limit REQUESTS] [--json] TRACE CHUNKS...
"""
import argparse
import json
import sys
from collections import OrderedDict

BLOCK = 512


class Lru:
    def __init__(self):
        self.order = OrderedDict()  # next victim first

    def __contains__(self, chunk):
        return chunk in self.order

    def __len__(self):
        return len(self.order)

    def touch(self, chunk):
        self.order.move_to_end(chunk)

    def insert(self, chunk):
        self.order[chunk] = True

    def evict(self, in_use):
        del self.order[next(chunk for chunk in self.order if chunk not in in_use)]

    def finish(self, chunks):
        for chunk in reversed(chunks):
            if chunk in self.order:
                self.order.move_to_end(chunk)


class Fifo(Lru):
    def touch(self, chunk):
        pass

    def finish(self, chunks):
        pass


class Mru(Lru):
    def evict(self, in_use):
        del self.order[next(chunk for chunk in reversed(self.order) if chunk not in in_use)]

    def finish(self, chunks):
        pass


class Lfu:
    def __init__(self):
        self.uses = {}
        self.buckets = {}  # uses -> chunks, oldest first

    def __contains__(self, chunk):
        return chunk in self.uses

    def __len__(self):
        return len(self.uses)

    def _remove(self, chunk):
        n = self.uses.pop(chunk)
        del self.buckets[n][chunk]
        if not self.buckets[n]:
            del self.buckets[n]
        return n

    def _add(self, chunk, n):
        self.uses[chunk] = n
        self.buckets.setdefault(n, OrderedDict())[chunk] = True

    def touch(self, chunk):
        self._add(chunk, self._remove(chunk) + 1)

    def insert(self, chunk):
        self._add(chunk, 1)

    def evict(self, in_use):
        for uses in sorted(self.buckets):
            for chunk in self.buckets[uses]:
                if chunk not in in_use:
                    self._remove(chunk)
                    return

    def finish(self, chunks):
        pass


POLICIES = {"lru": Lru, "lfu": Lfu, "fifo": Fifo, "mru": Mru}


def run(requests, capacity, policy="lru", window=1):
    cache = POLICIES[policy]()
    hit_tokens = prompt_tokens = stored = evicted = peak = 0
    for request in requests:
        prompt_tokens += request["input_length"]
        chunks = request["hash_ids"][: request["input_length"] // BLOCK]
        hit = 0
        while hit < len(chunks) and chunks[hit] in cache:
            hit += 1
        hit_tokens += hit * BLOCK
        for chunk in reversed(chunks[:hit]):
            cache.touch(chunk)
        for at in range(hit, len(chunks), window):
            in_use = chunks[at : at + window]
            new = [chunk for chunk in dict.fromkeys(in_use) if chunk not in cache]
            while len(cache) + len(new) > capacity:
                cache.evict(in_use)
                evicted += 1
            for chunk in new:
                cache.insert(chunk)
            stored += len(new)
        cache.finish(chunks)
        peak = max(peak, len(cache))
    return {
        "policy": policy,
        "chunks": capacity,
        "requests": len(requests),
        "prompt_tokens": prompt_tokens,
        "hit_tokens": hit_tokens,
        "hit_rate": hit_tokens / prompt_tokens if prompt_tokens else 0.0,
        "stored_chunks": stored,
        "evicted_chunks": evicted,
        "peak_resident_chunks": peak,
    }


def main():
    parser = argparse.ArgumentParser(description="token hit rate of a Mooncake trace under N chunks")
    parser.add_argument("--policy", choices=sorted(POLICIES), default="lru")
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("trace")
    parser.add_argument("chunks", type=int, nargs="+")
    args = parser.parse_args()
    with open(args.trace, encoding="utf-8") as lines:
        requests = [json.loads(line) for line in lines if line.strip()]
    if args.limit:
        requests = requests[: args.limit]
    for chunks in args.chunks:
        if not 1 <= args.window <= chunks:
            parser.error(f"window: {args.window} is not from 1 to chunks, {chunks}")
        result = run(requests, chunks, args.policy, args.window)
        if args.json:
            print(json.dumps(result))
        else:
            print(f"{args.policy} {chunks}: {100 * result['hit_rate']:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
