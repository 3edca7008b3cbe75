/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMCache's chunk hashes: what a chunk of tokens is called in a store shared with LMCache.
 *
 * Each hash covers the one before it, so a name stands for the whole prefix. The chain takes chunks
 * in order and keeps nothing but the last hash; cutting the tokens into chunks is the caller's. It
 * never allocates and does no I/O.
 */
#ifndef KVF_TOKEN_WIRE_HASH_H
#define KVF_TOKEN_WIRE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kvferry/kvf_status.h"

#define KVF_WIRE_HASH_BYTES 32
#define KVF_WIRE_HASH_TEXT (2 * KVF_WIRE_HASH_BYTES + 1) /* printed, with its NUL */

/* What vLLM hashes in place of an unset PYTHONHASHSEED since August 2026 (sha256 and sha256_cbor
 * only). */
#define KVF_WIRE_VLLM_DEFAULT_SEED "vllm-none-hash"

enum kvf_wire_algo {
	KVF_WIRE_BUILTIN = 0, /* hash() of CPython, 64 bits */
	KVF_WIRE_SHA256 = 1, /* SHA-256 of a pickle, protocol 5 */
	KVF_WIRE_SHA256_CBOR = 2, /* SHA-256 of canonical CBOR */
	KVF_WIRE_XXHASH = 3, /* XXH3-128 of a pickle */
	KVF_WIRE_XXHASH_CBOR = 4,
	KVF_WIRE_BLAKE3 = 5 /* multiprocess mode only, its default */
};
#define KVF_WIRE_ALGOS 6

enum kvf_wire_form {
	KVF_WIRE_IP = 0, /* in-process mode, digests cut to 64 bits */
	KVF_WIRE_IP_DIGEST = 1, /* in-process mode of March to May 2026: whole digests */
	KVF_WIRE_MP = 2, /* multiprocess mode */
	KVF_WIRE_LEGACY = 3, /* up to 0.3.1: chained hex of SHA-256, no seed */
	KVF_WIRE_IP_NONE = 4 /* in-process mode of July 2025 to March 2026; builtin only */
};
#define KVF_WIRE_FORMS 5

enum kvf_wire_hash_kind {
	KVF_WIRE_SIGNED = 0, /* a Python int that may be negative */
	KVF_WIRE_UNSIGNED = 1, /* a Python int of 64 bits */
	KVF_WIRE_BYTES = 2
};

struct kvf_wire_hash {
	uint8_t kind; /* enum kvf_wire_hash_kind */
	uint8_t size; /* of `bytes`, for KVF_WIRE_BYTES */
	uint64_t number;
	uint8_t bytes[KVF_WIRE_HASH_BYTES];
};

struct kvf_wire_config {
	enum kvf_wire_algo algo;
	enum kvf_wire_form form;
	/*
	 * PYTHONHASHSEED of the peers as they have it, as text, or KVF_WIRE_VLLM_DEFAULT_SEED.
	 * NULL: the chain starts as LMCache does without vLLM, at 0 (IP) or at the hash of (0,
	 * (0,), None) (MP).
	 */
	const char *seed;
	unsigned python_minor; /* the peers' Python 3.<minor>; 0: 3.12 or later. Matters to
				  KVF_WIRE_BUILTIN */
};

struct kvf_wire_chain {
	enum kvf_wire_algo algo;
	enum kvf_wire_form form;
	struct kvf_wire_hash last; /* the prefix of the next chunk */
};

/*
 * Starts a chain. KVF_OK, KVF_EINVAL for an unknown or impossible combination or a seed that Python
 * would not take, KVF_ENOTSUP for one whose values differ from process to process. `report` says
 * which field is wrong.
 */
int kvf_wire_chain_init(struct kvf_wire_chain *chain, const struct kvf_wire_config *config,
	struct kvf_report *report);

/* Hash of the next chunk: n > 0 tokens. KVF_OK, or KVF_EINVAL for an empty chunk, which leaves the
 * chain as it was. */
int kvf_wire_chain_next(
	struct kvf_wire_chain *chain, const uint32_t *tokens, size_t n, struct kvf_wire_hash *out);

/*
 * Prints a hash as LMCache prints it: ints as %x with their sign and no padding, bytes as full hex.
 * Returns the length without the NUL, or KVF_ERANGE when `cap` is too small (KVF_WIRE_HASH_TEXT
 * always suffices).
 */
int kvf_wire_hash_print(const struct kvf_wire_hash *hash, char *buf, size_t cap);

/* By LMCache's name, sha256_cbor_64bit being sha256_cbor's older one. KVF_OK or KVF_EINVAL. */
int kvf_wire_algo_parse(const char *name, enum kvf_wire_algo *out);
const char *kvf_wire_algo_name(enum kvf_wire_algo algo); /* never NULL */
const char *kvf_wire_form_name(enum kvf_wire_form form);

/* Why an LMCache next to vLLM would not find chunks named so, in one sentence, or NULL when it
 * would. */
const char *kvf_wire_seed_advice(const struct kvf_wire_config *config);

#endif
