/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle of a replay: what it makes depends on everything it must, and it sees every wrong
 * byte. */
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "tests/harness.h"
#include "workload/tokens.h"

#define TOKENS 100
#define BLOCK 16

struct rig {
	struct replay_device dev;
	struct replay_oracle oracle;
	struct wl_request r;
	uint64_t blocks[TOKENS];
	uint32_t ids[TOKENS / BLOCK + 1];
};

static void rig_open(struct rig *rig, uint64_t token_bytes)
{
	char error[256];

	memset(rig, 0, sizeof(*rig));
	CU_ASSERT_EQUAL_FATAL(
		replay_device_init(&rig->dev, token_bytes, BLOCK, 3, error, sizeof(error)), 0);
	CU_ASSERT_EQUAL_FATAL(replay_oracle_init(&rig->oracle, rig->dev.n_layers * rig->dev.planes,
				      rig->dev.row_bytes),
		0);
	for (unsigned i = 0; i < TOKENS; i++)
		rig->blocks[i] = wl_content_id(WL_SCOPE_GLOBAL, i);
	rig->r.blocks = rig->blocks;
	rig->r.block_tokens = 10;
	rig->r.block_count = 10;
	rig->r.prompt_tokens = TOKENS;
	CU_ASSERT_FATAL(replay_device_take(&rig->dev, rig->ids, TOKENS / BLOCK + 1));
}

static void rig_close(struct rig *rig)
{
	replay_oracle_fini(&rig->oracle);
	replay_device_fini(&rig->dev);
}

static void compute(struct rig *rig, const char *salt)
{
	struct replay_cursor c = replay_cursor_begin(salt);

	replay_compute(&rig->oracle, &rig->dev, &rig->r, rig->ids, &c, TOKENS);
	CU_ASSERT_EQUAL(c.position, TOKENS);
}

static uint64_t verify(struct rig *rig, const char *salt, uint64_t end)
{
	struct replay_cursor c = replay_cursor_begin(salt);

	return replay_verify(&rig->oracle, &rig->dev, &rig->r, rig->ids, &c, end);
}

static uint8_t *byte_of(struct rig *rig, uint32_t row, uint64_t token, uint32_t at)
{
	return replay_device_row(
		       &rig->dev, row, rig->ids[token / BLOCK], (uint32_t)(token % BLOCK)) +
	       at;
}

static const uint64_t sizes[] = {1, 2, 6, 34, 64, 512, 4098, 131072};

static void test_sees_every_byte(void)
{
	for (size_t s = 0; s < KVF_ARRAY_LEN(sizes); s++) {
		struct rig rig;
		uint32_t rows, at;

		rig_open(&rig, sizes[s]);
		rows = rig.dev.n_layers * rig.dev.planes;
		compute(&rig, "s");
		CU_ASSERT_EQUAL(verify(&rig, "s", TOKENS), 0);
		for (uint32_t row = 0; row < rows; row++) {
			for (uint64_t t = 0; t < TOKENS; t += 33) {
				at = (uint32_t)((t * 7 + row) % rig.dev.row_bytes);
				*byte_of(&rig, row, t, at) ^= 1;
				CU_ASSERT_EQUAL(verify(&rig, "s", TOKENS), 1);
				CU_ASSERT_EQUAL(verify(&rig, "s", t), 0);
				*byte_of(&rig, row, t, at) ^= 1;
			}
		}
		at = rig.dev.row_bytes - 1;
		*byte_of(&rig, rows - 1, TOKENS - 1, at) ^= 0x80;
		*byte_of(&rig, 0, 0, 0) ^= 0xff;
		CU_ASSERT_EQUAL(verify(&rig, "s", TOKENS), 2);
		rig_close(&rig);
	}
}

static void test_depends(void)
{
	uint64_t all = TOKENS * 64, wrong;
	struct rig rig;

	rig_open(&rig, 64);
	compute(&rig, "a");
	wrong = verify(&rig, "b", TOKENS);
	CU_ASSERT(wrong > all * 98 / 100); /* another tenant: all but chance */
	/* Another token in the middle: all behind it, nothing before. */
	rig.blocks[5] ^= 1;
	CU_ASSERT_EQUAL(verify(&rig, "a", 50), 0);
	wrong = verify(&rig, "a", TOKENS);
	CU_ASSERT(wrong > all * 48 / 100 && wrong <= all / 2);
	rig.blocks[5] ^= 1;
	CU_ASSERT_EQUAL(verify(&rig, "a", TOKENS), 0);
	/* Rows and tokens that change places. */
	memcpy(byte_of(&rig, 0, 3, 0), byte_of(&rig, 1, 3, 0), rig.dev.row_bytes);
	CU_ASSERT(verify(&rig, "a", TOKENS) > rig.dev.row_bytes / 2);
	compute(&rig, "a");
	memcpy(byte_of(&rig, 2, 3, 0), byte_of(&rig, 2, 4, 0), rig.dev.row_bytes);
	CU_ASSERT(verify(&rig, "a", TOKENS) > rig.dev.row_bytes / 2);
	rig_close(&rig);
}

static void test_in_steps(void)
{
	struct replay_cursor c = replay_cursor_begin(""), whole = replay_cursor_begin("");
	struct rig rig;

	rig_open(&rig, 64);
	for (uint64_t end = 0; end <= TOKENS; end += 7)
		replay_compute(&rig.oracle, &rig.dev, &rig.r, rig.ids, &c, end);
	replay_compute(&rig.oracle, &rig.dev, &rig.r, rig.ids, &c, TOKENS);
	CU_ASSERT_EQUAL(replay_verify(&rig.oracle, &rig.dev, &rig.r, rig.ids, &whole, TOKENS), 0);
	CU_ASSERT_EQUAL(c.hash, whole.hash);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"sees_every_byte", test_sees_every_byte},
		{"depends", test_depends}, {"in_steps", test_in_steps}};

	return kvf_test_main("replay_oracle", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
