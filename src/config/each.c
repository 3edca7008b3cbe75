/* SPDX-License-Identifier: Apache-2.0 */
/* Walking over the effective values, for the command. */
#include "config/config.h"
#include "config/state.h"
#include "config/value.h"

/* Shows one value through fn. The buffer is as long as the longest value needs. */
static int show(struct kvf_mem *mem, const struct kvf_key *key, const char *text,
	struct kvf_config_item *item, void (*fn)(const struct kvf_config_item *item, void *arg),
	void *arg)
{
	size_t n;
	char *buf;

	if (!text) {
		item->value = "";
		fn(item, arg);
		return KVF_OK;
	}
	n = kvf_value_redact(key, item->key, text, NULL, 0) + 1;
	buf = kvf_mem_alloc(mem, n);
	if (!buf)
		return KVF_ENOMEM;
	kvf_value_redact(key, item->key, text, buf, n);
	item->value = buf;
	fn(item, arg);
	kvf_mem_free(mem, buf, n);
	return KVF_OK;
}

int kvf_config_each(const struct kvf_config *config,
	void (*fn)(const struct kvf_config_item *item, void *arg), void *arg)
{
	const struct kvf_state *state = config->state;
	size_t n = kvf_schema_count();
	int rc = KVF_OK;

	for (size_t i = 0; i < n && rc == KVF_OK; i++) {
		const struct kvf_key *key = kvf_schema_at(i);
		const struct kvf_slot *slot = &state->slots[i];
		struct kvf_config_item item = {.key = key->name,
			.origin = slot->given ? slot->origin : "default",
			.class = kvf_class_name((enum kvf_key_class)key->class),
			.in_extra = key->place == KVF_PLACE_EXTRA,
			.explicit_ = slot->given};

		if ((key->flags & KVF_KEY_PREFIX) || key->type == KVF_TYPE_MAP)
			continue;
		rc = show(state->mem, key, kvf_state_text(state, i), &item, fn, arg);
	}
	for (size_t i = 0; i < state->n_extras && rc == KVF_OK; i++) {
		const struct kvf_extra *x = &state->extras[i];
		const struct kvf_key *key =
			x->family >= 0 ? kvf_schema_at((size_t)x->family) : NULL;
		struct kvf_config_item item = {.key = x->name,
			.origin = x->slot.origin,
			.class = key ? kvf_class_name((enum kvf_key_class)key->class) : "unknown",
			.in_extra = true,
			.explicit_ = true};

		rc = show(state->mem, key, x->slot.text, &item, fn, arg);
	}
	return rc;
}
